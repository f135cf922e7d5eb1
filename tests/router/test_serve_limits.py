"""Limits that hold: whoever breaks off, whatever an upstream counts, however many ask at once."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from micronas.router.serve.clients import Clients
from micronas.router.serve.limits import Ledger, Limits
from micronas.router.serve.protocol import ApiError, parse_ask
from tests.router.serving import (
    asks,
    at_once,
    behind,
    chat,
    leave,
    said,
    serving,
    streamed,
    until,
    with_key,
)
from tests.upstreams import Behaviour, Call, after, answers, broken, cuts, upstreams

KEYS = "CLIENT_KEYS"


def words(count: int, *, pause: float = 0.0, usage: int | None = None) -> Behaviour:
    """An upstream that says so many words of four letters, a token each, and reports `usage`."""
    told = {} if usage is None else {"usage": {"prompt_tokens": 7, "completion_tokens": usage}}
    return lambda call: call.answer(*["abc "] * count, pause=pause, **told)


def rows(client: httpx.Client, **wanted: str) -> list[dict[str, Any]]:
    found = client.get("/v1/usage").json()["data"]
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def completion_tokens(client: httpx.Client) -> int:
    return sum(row["completion_tokens"] for row in rows(client))


def leave_after(client: httpx.Client, pieces: int, text: str = "x") -> None:
    """Read so many pieces of a stream, then hang up."""
    body = asks(text, model="a", stream=True)
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        for number, line in enumerate(response.iter_lines()):
            if line and number >= 2 * pieces:
                return


def test_streams_that_are_closed_early_are_counted_and_limited() -> None:
    limits = {"tokens_per_minute": 400}
    with behind(
        words(1000, pause=0.002), expert=dict(price={"completion": 1e6}), limits=limits
    ) as (_, client):
        leave_after(client, 300)
        until(lambda: completion_tokens(client) >= 300)
        leave_after(client, 200)
        until(lambda: completion_tokens(client) >= 500)
        refused = chat(client, "x", stream=True)
        assert refused.json()["error"]["code"] == "key_limit"
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        (row,) = rows(client, model="a")
        assert row["requests"] == 2
        assert row["usd"] == row["completion_tokens"]
        assert "micronas_router_tokens_total" in client.get("/metrics").text


def test_cut_upstreams_and_abandoned_answers_are_counted() -> None:
    slow = after(1.0, words(50))
    turns = iter([words(50), slow])
    with behind(dict(a=lambda call: next(turns)(call), b=cuts, c=broken), fixed="a", retries=0) as (
        (a, _, _c),
        client,
    ):
        said(chat(client, "x", model="a"))
        assert completion_tokens(client) == 50
        # nobody knows how long it would have been: as long as the answers before it
        leave(client, a, requests=2)
        until(lambda: completion_tokens(client) == 100)
        assert streamed(chat(client, "x", model="b", stream=True))[1][0]["code"] == "broken_answer"
        (row,) = rows(client, model="b")
        assert (row["prompt_tokens"], row["completion_tokens"]) == (1, 2)
        # an answer of status 500 is nobody's work
        assert chat(client, "x", model="c").status_code == 502
        assert rows(client, model="c") == []


@pytest.mark.parametrize("stream", [False, True])
def test_as_many_tokens_count_as_the_upstream_says_unless_it_says_too_few(stream: bool) -> None:
    with behind(dict(a=words(400, usage=5000), b=words(400, usage=20)), fixed="a") as (
        (a, _),
        client,
    ):
        for name in "ab":
            response = chat(client, "x", model=name, stream=stream)
            assert response.status_code == 200
            # the client did not ask for the count
            assert not stream or '"usage"' not in response.text
        until(lambda: len(rows(client)) == 2)
        assert rows(client, model="a")[0]["completion_tokens"] == 5000
        assert rows(client, model="b")[0]["completion_tokens"] == 400
    assert not stream or a.bodies[0]["stream_options"] == {"include_usage": True}


def test_estimates_learn_from_what_an_upstream_reports() -> None:
    # three tokens a word, where four letters are taken for one
    with behind(words(100, pause=0.002, usage=300)) as (_, client):
        streamed(chat(client, "x", stream=True))
        until(lambda: completion_tokens(client) == 300)
        leave_after(client, 50)
        until(lambda: sum(row["requests"] for row in rows(client)) == 2)
        assert 300 + 3 * 50 <= completion_tokens(client) <= 300 + 3 * 75


def test_a_long_text_after_an_image_is_not_taken_for_hundreds_of_images() -> None:
    told = iter([{"usage": {"prompt_tokens": 1000, "completion_tokens": 1}}, {}])
    with behind(lambda call: call.answer("a", **next(told))) as (_, client):
        for text in ("what is this", 4000 * "x"):
            said(chat(client, text))
        assert sum(row["prompt_tokens"] for row in rows(client)) == 1000 + (4 * 1000 + 1000)


@pytest.mark.parametrize("stream", [False, True])
def test_sixty_requests_at_once_do_not_pass_a_limit_of_one(stream: bool) -> None:
    with behind(after(0.3, answers), limits={"tokens_per_minute": 1}) as (a, client):
        found = at_once(client, 60, stream=stream)
        assert sorted(each.status_code for each in found) == [200] + [429] * 59
        assert a.requests == 1


def test_a_stream_ends_where_it_takes_more_than_it_reserved_and_nothing_is_left() -> None:
    with behind(words(20_000), limits={"tokens_per_minute": 500}) as (_, client):
        text, errors, ended = streamed(chat(client, "x", stream=True))
        # an answer of unknown length reserves 1,024 tokens
        assert 4 * 1000 < len(text) < 4 * 1100
        assert (errors[0]["code"], ended) == ("key_limit", False)
        # one that says its length reserves just that
        text, errors, ended = streamed(chat(client, "x", stream=True, max_tokens=10))
        assert errors or not ended


def test_dollars_of_a_day_and_of_a_request_are_kept() -> None:
    price = {"prompt": 0.0, "completion": 1e4}  # a cent a token
    with (
        upstreams(dear=words(20, usage=20), free=words(20)) as (dear, free),
        serving(
            experts=[dear.expert(price=price), free.expert()],
            fixed="dear",
            limits={"usd_per_day": 0.5, "usd_per_request": 0.3},
        ) as client,
    ):
        # who could cost too much is not asked; who costs nothing is
        assert chat(client, "x", max_tokens=31).headers["x-micronas-expert"] == "free"
        refused = chat(client, "x", model="dear", max_tokens=31)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "too_dear")
        for _ in range(3):
            answer = chat(client, "x", model="dear", max_tokens=20)
            assert float(answer.headers["x-micronas-usd"]) == 0.2
        spent = chat(client, "x", model="dear", max_tokens=20)
        assert (spent.status_code, spent.json()["error"]["code"]) == (429, "key_limit")
        assert chat(client, "x", max_tokens=20).headers["x-micronas-expert"] == "free"
        assert rows(client, model="dear")[0]["usd"] == pytest.approx(0.6)


def test_dollars_are_reserved_before_a_request_starts() -> None:
    price = {"completion": 1e4}
    with behind(
        after(0.3, words(20, usage=20)), expert=dict(price=price), limits={"usd_per_day": 0.5}
    ) as (a, client):
        found = at_once(client, 40, max_tokens=20)
        # 0.2 each: the third begins while 0.1 is left, and is the one beyond
        assert sum(each.status_code == 200 for each in found) == 3
        assert a.requests == 3


def slow_streams(client: httpx.Client, count: int) -> list[Any]:
    """Open streams and keep them open."""
    body = asks("x", model="a", stream=True)
    request = client.build_request("POST", "/v1/chat/completions", json=body)
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda _: client.send(request, stream=True), range(count)))


def test_a_removed_key_leaves_the_names_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for keys in ("one, two", ", two"):
        monkeypatch.setenv(KEYS, keys)
        names.append(Clients(KEYS, [], Limits()).of("bearer two").name)
    assert names == ["key 2", "key 2"]


def test_what_was_spent_without_a_limit_is_no_debt_under_a_later_one() -> None:
    limits = Limits()
    ledger = Ledger(lambda name: limits, lambda *row: None)
    ask = parse_ask(b'{"model": "m", "messages": [{"role": "user"}]}')
    for _ in range(100):
        ledger.admit(ask).close()
    limits = Limits(requests_per_minute=2)
    ledger.admit(ask).close()
    ledger.admit(ask).close()
    with pytest.raises(ApiError, match="2 requests a minute") as refused:
        ledger.admit(ask)
    assert refused.value.wait == pytest.approx(30, abs=1)


def test_slow_streams_of_one_key_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS, "first,second,third")
    with (
        behind(words(40, pause=0.1), keys_env=KEYS, concurrency=8, patience=1) as (_, server),
        with_key(server.base_url, "first") as first,
        with_key(server.base_url, "second") as second,
        with_key(server.base_url, "third") as third,
    ):
        opened = slow_streams(first, 12)
        assert sorted(each.status_code for each in opened) == [200] * 4 + [503] * 8
        for other in (second, third):
            start = time.monotonic()
            opened.append(slow_streams(other, 1)[0])
            assert opened[-1].status_code == 200
            assert time.monotonic() - start < 1
        for each in opened:
            each.close()


def test_a_key_may_have_so_many_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS, "first,second")
    with (
        behind(after(1.0, answers), keys_env=KEYS, limits={"requests_at_once": 3}) as (_, server),
        with_key(server.base_url, "first") as first,
    ):
        found = at_once(first, 20)
        assert sorted(each.status_code for each in found) == [200] * 3 + [429] * 17
        assert said(chat(first, "<1>")) == "a answers <1> in full"


def poisoned(call: Call) -> bool | None:
    if "poison" in call.body["messages"][-1]["content"]:
        broken(call)
        return False
    return answers(call)


def test_an_expert_rests_by_its_failures_across_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS, "first,second")
    with (
        behind(dict(a=poisoned, b=answers), fixed="a", keys_env=KEYS) as (_, server),
        with_key(server.base_url, "first") as first,
        with_key(server.base_url, "second") as second,
    ):
        for _ in range(4):
            chat(first, "poison")
        assert said(chat(second, "<1>")) == "a answers <1> in full"
        # that it answered another one is news
        assert said(chat(first, "<2>")) == "a answers <2> in full"
        for client in (first, second):
            for _ in range(2):
                chat(client, "poison")
        assert said(chat(second, "<3>")) == "b answers <3> in full"


def test_the_last_expert_does_not_rest() -> None:
    with behind(poisoned, failures=2, retries=0) as (_, client):
        for _ in range(3):
            assert chat(client, "poison").status_code == 502
        assert said(chat(client, "<1>")) == "a answers <1> in full"
        assert client.get("/healthz").json()["cooling"] == {}


KEY = "sk-proj-0123456789abcdef"
SPELT = {
    "plain": KEY,
    "hex": KEY.encode().hex(),
    "HEX": KEY.encode().hex().upper(),
    "quoted": "".join(f"%{each:02X}" for each in KEY.encode()),
    "url": quote(KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "within base64": base64.b64encode(f"it is {KEY}, keep it".encode()).decode(),
}


@pytest.mark.parametrize("form", SPELT)
@pytest.mark.parametrize("stream", [False, True])
def test_a_key_does_not_come_back_letter_by_letter_or_packed(
    form: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    text = f"so it is {SPELT[form]} and so on, s"

    with behind(
        lambda call: call.answer(*text), expert=dict(endpoint={"api_key_env": "UPSTREAM_KEY"})
    ) as (_, client):
        response = chat(client, "x", stream=stream)
    got = streamed(response)[0] if stream else said(response)
    longest = max(range(len(text)), key=lambda size: size if SPELT[form][:size] in got else 0)
    assert "[UPSTREAM_KEY]" in got
    assert longest < len(SPELT[form])
    assert KEY not in got
    if form != "within base64":
        assert got == "so it is [UPSTREAM_KEY] and so on, s"


def test_the_longest_answer_that_a_request_allows() -> None:
    ask = parse_ask(b'{"model": "a", "messages": [{"role": "user", "content": "x"}]}')
    assert (ask.asked_tokens, ask.most) == (1, None)
    several = {"model": "a", "prompt": ["x", "y"], "n": 3, "max_tokens": 5}
    assert parse_ask(json.dumps(several).encode(), "completions").most == 30
    tokens = {"model": "a", "prompt": [[1, 2, 3], [4]]}
    assert parse_ask(json.dumps(tokens).encode(), "completions").asked_tokens == 4


def test_an_answer_of_any_length_is_reserved_and_released_whole() -> None:
    with behind(answers, limits={"requests_at_once": 1}) as (_, client):
        for number in range(2):  # a request that fails would keep its place
            assert said(chat(client, f"<{number}>", max_tokens=10**400))
    ledger = Ledger(lambda name: Limits(tokens_per_minute=1000), lambda *spent: None)

    def booked(most: int) -> Any:
        body = {"model": "a", "prompt": "x", "max_tokens": most}
        return ledger.admit(parse_ask(json.dumps(body).encode(), "completions"))

    small, huge = booked(500), booked(10**30)
    for each in (huge, small):
        each.close()
    # had the sum lost the small one, its release would leave 500 tokens more than there are
    booked(1000)
    with pytest.raises(ApiError, match="none is left"):
        booked(1)


def test_a_request_of_95000_messages_is_refused_before_it_is_read() -> None:
    """JSON is read without giving other threads a turn: half a second and more of the loop."""
    with behind(answers) as (a, client):
        for count, status in ((95_000, 400), (10_000, 200)):
            messages = [{"role": "user", "content": '"role"'}] * count
            body = {"model": "a", "messages": messages}
            assert len(json.dumps(body)) < 4_000_000
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code == status
            assert ("at most 10000" in answer.text) == (status == 400)
        assert a.requests == 1
    long = json.dumps({"messages": [{"role": "user", "content": "x"}] * 95_000}).encode()
    start = time.thread_time()
    with pytest.raises(ApiError, match="at most 10000"):
        parse_ask(long)
    assert time.thread_time() - start < 0.05
