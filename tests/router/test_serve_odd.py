"""Experts that are broken, or lie, in every way there is a name for."""

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from micronas.router.serve.events import EventReader
from micronas.router.serve.protocol import AttemptError
from testing.odd_endpoint import LOST, READABLE, Exchange, Form, OddEndpoint, bomb, piece
from testing.odd_endpoint import serving as serving_odd
from tests.router.serving import asks, chat, said, serving, streamed, until

KEY = "sk-secret/0123456789"
PRICE = {"prompt": 1e6, "completion": 1e6}


@contextmanager
def odd_expert(
    more: dict[str, Form] | None = None, **settings: Any
) -> Iterator[tuple[httpx.Client, OddEndpoint]]:
    endpoint = OddEndpoint(more=more or {})
    with serving_odd(endpoint) as url:
        way = {"base_url": url, "model": "m", "api_key_env": "ODD_KEY"}
        expert = {"name": "odd", "active": 1, "endpoint": way, "price": PRICE}
        usual = {"retries": 0, "failures": 10**6, "deadline": 2}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ODD_KEY", KEY)
            with serving(experts=[expert], **{**usual, **settings}) as client:
                yield client, endpoint


@pytest.fixture(scope="module")
def odd() -> Iterator[tuple[httpx.Client, OddEndpoint]]:
    # long, so that what is odd is told from what is late on a busy machine
    with odd_expert(deadline=60) as found:
        yield found


def text_of(response: httpx.Response, stream: bool) -> str:
    assert response.status_code == 200, response.text
    if not stream:
        return said(response)
    text, errors, ended = streamed(response)
    assert (errors, ended) == ([], True)
    return text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", READABLE)
def test_what_can_be_read_is_handed_on_once(
    form: str, stream: bool, odd: tuple[httpx.Client, OddEndpoint]
) -> None:
    client, endpoint = odd
    name = f"{form}-{stream}"
    response = chat(client, f"<{name} {form}>", stream=stream)
    if form == "parts" and not stream:
        content = response.json()["choices"][0]["message"]["content"]
        assert content == [{"type": "text", "text": f"answer to <{name}>"}]
    elif form != "parts":
        assert text_of(response, stream).startswith(f"answer to <{name}>")
    # it is counted once it has been sent, which the client may read before
    until(lambda: endpoint.answered[name])
    assert endpoint.answered[name] == 1
    if not stream:
        # a dollar a token: no count that cannot be is charged
        assert 1 < float(response.headers["x-micronas-usd"]) < 60


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", sorted({*LOST} - {"number", "drips"}))
def test_what_cannot_be_read_is_one_error(
    form: str, stream: bool, odd: tuple[httpx.Client, OddEndpoint]
) -> None:
    client, _ = odd
    response = chat(client, f"<1 {form}>", stream=stream)
    if response.status_code == 200:
        text, errors, ended = streamed(response)
        assert (text, len(errors), ended) == ("half an ", 1, False)
    else:
        assert response.status_code in (429, 502), response.text
        error = response.json()["error"]
        assert error["code"] in ("rate_limit", "no_answer")
        assert "in time" not in error["message"]
        assert "\n" not in error["message"]
    assert client.get("/healthz").json()["status"] == "ok"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_drips_ends_with_the_deadline(stream: bool) -> None:
    with odd_expert(deadline=1) as (client, _):
        response = chat(client, "<1 drips>", stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline")


@contextmanager
def memory() -> Iterator[Callable[[], int]]:
    """Trace memory; yields what returns the most bytes so far."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.long
@pytest.mark.parametrize("form", ["endless_silence", "endless_event", "endless_line"])
def test_a_stream_that_says_nothing_takes_no_memory(form: str) -> None:
    with odd_expert(deadline=60) as (client, _):
        chat(client, "<1 plain>")
        with memory() as peak:
            assert chat(client, f"<1 {form}>", stream=True).status_code == 502
            assert peak() < 2**24


@pytest.mark.long
def test_an_endless_answer_is_not_kept() -> None:
    """The client has each piece; what was said is only measured."""

    async def talks(exchange: Exchange) -> None:
        await exchange.start_stream()
        for _ in range(300):
            await exchange.write(b"data: " + piece({"content": "x" * 60_000}) + b"\n\n")
        await exchange.write(b"data: " + piece({}, "stop") + b"\n\ndata: [DONE]\n\n")

    with odd_expert({"talks": talks}, deadline=60) as (client, _):
        body = asks("<1 talks>", model="odd", stream=True)
        with memory() as peak, client.stream("POST", "/v1/chat/completions", json=body) as all_:
            received = sum(map(len, all_.iter_raw()))
            assert received > 300 * 60_000
            assert peak() < received / 2


def test_a_packed_answer_takes_no_more_memory_than_a_plain_one() -> None:
    packed = bomb()

    async def explodes(exchange: Exchange) -> None:
        await exchange.send(packed, "200 OK", "Content-Encoding: gzip")

    with odd_expert({"explodes": explodes}, deadline=30) as (client, _), memory() as peak:
        assert chat(client, "<1 explodes>").status_code == 502
        assert peak() < 2**25 + 2**24


def test_an_expert_that_is_away_for_ever_is_asked_again() -> None:
    with odd_expert(retries=1, backoff=0.01) as (client, endpoint):
        endpoint.wish = lambda _, before: ("1", "plain" if before else "limit_for_ever")
        assert said(chat(client, "x")) == "answer to <1>"


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_that_is_echoed_reaches_no_client(
    stream: bool, odd: tuple[httpx.Client, OddEndpoint]
) -> None:
    client, _ = odd
    response = chat(client, "<1 echoes_key>", stream=stream)
    assert "I was given Bearer [ODD_KEY]" in response.text
    assert "0123456789" not in response.text
    refused = chat(client, "<1 refuses_with_key>", stream=stream)
    assert "0123456789" not in refused.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_whose_letters_are_escaped_reaches_no_client(stream: bool) -> None:
    """Found by the fuzzer: seed 7, case 262."""

    async def escapes(exchange: Exchange) -> None:
        usage = json.dumps(KEY).replace("secret", r"s\u0065cret")
        await exchange.answer(usage=usage)

    with odd_expert({"escapes": escapes}, deadline=60) as (client, _):
        response = chat(client, "<1 escapes>", stream=stream)
    assert "[ODD_KEY]" in response.text
    assert "0123456789" not in response.text


def test_an_event_in_crumbs_takes_time_in_proportion() -> None:
    reader = EventReader()
    start = time.process_time()
    for _ in range(100_000):
        reader.feed(b"xxxxxxxx")
    assert reader.feed(b"\n") == []
    for _ in range(50_000):
        reader.feed(b"data\n")
    assert time.process_time() - start < 2
    with pytest.raises(AttemptError, match="an event of more than 1048576 bytes"):
        reader.feed(b"data\n" * 250_000)


def test_choices_without_number_are_no_stream() -> None:
    async def numbers(exchange: Exchange) -> None:
        await exchange.start_stream()
        for index in range(1000):
            value = json.loads(piece({"content": "x"}))
            value["choices"][0]["index"] = index
            await exchange.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        await exchange.write(b"data: [DONE]\n\n")

    with odd_expert({"numbers": numbers}) as (client, _):
        _, errors, ended = streamed(chat(client, "<1 numbers>", stream=True))
        assert (errors[0]["code"], ended) == ("broken_answer", False)
        until(lambda: "micronas_router_working 0.0" in client.get("/metrics").text)
