"""The server between a real client and real, mostly unreliable, upstreams."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from micronas.router.decision import GENERAL, RoutingDecision
from tests.router.serving import asks, behind, chat, said, serving, streamed, until
from tests.upstreams import (
    Behaviour,
    Call,
    answers,
    broken,
    cuts,
    event,
    hangs,
    in_turn,
    limited,
    slowly,
    upstream,
    upstreams,
    whole,
)


@dataclass
class ByWord:
    """A routing one can foresee: the first word of a prompt is its category and its expert."""

    second: Sequence[str] = ()

    def route(self, prompts: Sequence[str]) -> list[RoutingDecision]:
        words = [prompt.split()[0] for prompt in prompts]
        return [RoutingDecision(word, 0.9, 0.25, word, 7e9, 0.5, f"says {word}") for word in words]

    def ranking(self, category: str) -> Sequence[str]:
        return [category, *self.second]


def test_a_prompt_goes_where_the_router_says() -> None:
    with behind(dict(a=answers, b=answers), ByWord()) as ((a, b), client):
        response = chat(client, "b please <1>", temperature=0.5)
        assert said(response) == "b answers <1> in full"
        assert response.json()["model"] == "b"
        assert (a.requests, b.requests) == (0, 1)
        assert b.bodies[0]["model"] == "b-model"
        assert b.bodies[0]["temperature"] == 0.5
        assert b.bodies[0]["path"] == "/v1/chat/completions"
        headers = response.headers
        assert headers["x-micronas-category"] == "b"
        assert headers["x-micronas-uncertainty"] == "0.250"
        assert headers["x-micronas-expert"] == "b"
        assert headers["x-micronas-active-parameters"] == "7000000000"
        assert headers["x-micronas-attempts"] == "1"
        assert headers["x-micronas-reason"] == "says b"
        assert "x-micronas-usd" not in headers
        assert len(headers["x-request-id"]) == 32

        blank = chat(client, " ")  # the first word of none is an error
        assert said(blank) == "a answers <> in full"
        assert blank.headers["x-micronas-reason"] == "the router failed"

        direct = chat(client, "b please <2>", model="a")
        assert said(direct) == "a answers <2> in full"
        assert direct.headers["x-micronas-category"] == "direct"


def test_a_stream_is_passed_on_piece_by_piece() -> None:
    body = asks("x", model="a", stream=True)
    with behind(slowly) as (_, client):
        times = []
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-micronas-expert"] == "a"
            for _ in response.iter_bytes():
                times.append(time.monotonic())
        assert times[-1] - times[0] > 0.3  # not kept until the end


def test_the_price_is_in_the_headers_and_the_metrics() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    price = {"prompt": 2.0, "completion": 10.0}
    with behind(lambda call: call.answer("x", usage=usage), expert=dict(price=price)) as (
        _,
        client,
    ):
        assert chat(client, "x").headers["x-micronas-usd"] == "0.00700000"
        assert streamed(chat(client, "x", stream=True))[2]
        # the last request is counted after its last byte
        ends = f'category="{GENERAL}",end="200",expert="a"}} 2.0'
        until(lambda: ends in client.get("/metrics").text)
        figures = client.get("/metrics").text
        assert 'micronas_router_usd_total{category="general",expert="a",key=""} 0.014' in figures
        labels = 'category="general",expert="a",key="",kind="prompt"'
        assert f"micronas_router_tokens_total{{{labels}}} 2000.0" in figures
        assert 'micronas_router_requests_total{category="direct"' not in figures


def says(stream: bytes, body: bytes) -> Behaviour:
    def behaviour(call: Call) -> None:
        if call.stream:
            call.start_stream()
            call.write(stream)
        else:
            call.send(200, body)

    return behaviour


BAD: dict[str, Behaviour] = {
    "limited": limited,
    "broken": broken,
    "hangs": hangs,
    "garbage": says(b"data: <html>\n\ndata: [DONE]\n\n", b"<html>it works!</html>"),
    "other JSON": says(
        b'data: {"choices": [{"index": [], "delta": {"content": "x"}}]}\n\n',
        b'{"choices": [{"text": "of another API"}]}',
    ),
    "nothing": says(b"data: [DONE]\n\n", b""),
    "only a role": says(
        event({"choices": [{"index": 0, "delta": {}}]})
        + event({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}),
        b'{"choices": []}',
    ),
    "an error": says(event({"error": {"message": "overloaded"}}), b'{"error": "overloaded"}'),
    "forbidden": lambda call: call.send(401, b'{"error": "Incorrect API key: sk-secret"}'),
    "moved": lambda call: call.send(302, b"", Location="http://127.0.0.1:9/"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("bad", BAD)
def test_another_expert_steps_in_before_the_first_word(bad: str, stream: bool) -> None:
    with behind(dict(a=BAD[bad], b=answers), ByWord(), timeouts={"first_byte": 1.5}, retries=0) as (
        (a, _),
        client,
    ):
        response = chat(client, "a <1>", stream=stream)
        found = streamed(response) if stream else (said(response), [], True)
        assert found == ("b answers <1> in full", [], True)
        assert response.headers["x-micronas-category"] == "a"
        assert response.headers["x-micronas-expert"] == "b"
        assert response.headers["x-micronas-attempts"] == "2"
        assert response.headers["x-micronas-reason"] == "fallback from a; says a"
        assert a.requests == 1
        until(lambda: 'fallbacks_total{chosen="a",expert="b"} 1.0' in client.get("/metrics").text)
        alone = chat(client, "<2>", stream=stream, model="a")
        found = alone.status_code, alone.json()["error"]["code"], alone.headers.get("retry-after")
        assert found == ((429, "rate_limit", "1") if bad == "limited" else (502, "no_answer", None))
        assert "sk-secret" not in alone.text


def test_who_comes_next_is_the_routers_ranking() -> None:
    with (
        upstreams(a=broken, b=answers, c=answers) as servers,
        serving(ByWord(second=["c", "b"]), experts=[s.expert() for s in servers]) as client,
    ):
        assert said(chat(client, "a <1>")) == "c answers <1> in full"
        # a router that names an expert that is not served, or fails, loses no request
        gone = chat(client, "z <2>")
        assert said(gone) == "c answers <2> in full"
        assert said(chat(client, " ")).endswith("in full")


def test_an_expert_that_recovers_is_asked_again_first() -> None:
    flaky = in_turn(broken, limited, answers)
    with behind(flaky, retries=2) as (_, client):
        response = chat(client, "<1>")
        assert said(response) == "a answers <1> in full"
        assert response.headers["x-micronas-attempts"] == "3"


def test_a_cut_stream_ends_in_one_error_and_no_second_answer() -> None:
    with behind(dict(a=cuts, b=answers), fixed="a") as ((a, b), client):
        response = chat(client, "<1>", stream=True)
        text, errors, ended = streamed(response)
        assert text == "half an "
        assert [each["code"] for each in errors] == ["broken_answer"]
        assert errors[0]["message"] == "expert 'a' broke off: a stream that was cut"
        assert not ended
        assert (a.requests, b.requests) == (1, 0)
        until(lambda: 'end="broken"' in client.get("/metrics").text)


def test_an_answer_in_one_piece_is_no_stream() -> None:
    def whole_only(call: Call) -> None:
        call.send(200, whole(call.text), Content_Type="application/json")

    with behind(whole_only, retries=0) as (_, client):
        error = chat(client, "<1>", stream=True).json()["error"]
        assert "an answer in one piece, not the stream asked for" in error["message"]
        assert said(chat(client, "<1>")) == "a answers <1> in full"


def test_a_stream_that_stops_is_given_up() -> None:
    def stops(call: Call) -> None:
        call.start_stream()
        call.piece("so ")
        call.wait_until_gone()

    with behind(stops, timeouts={"idle": 0.3}) as (a, client):
        text, errors, ended = streamed(chat(client, "<1>", stream=True))
        assert (text, ended) == ("so ", False)
        assert errors[0]["message"] == "expert 'a' broke off: a stream that stopped"
        assert a.ended.wait(5)  # it was let go


def test_characters_split_between_pieces_of_the_network_survive() -> None:
    text = "caf\u00e9 \u65e5\u672c \U0001f600 \u2028 end"

    def split(call: Call) -> bool:
        call.start_stream()
        value = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
        for byte in b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\r\n\r\n":
            call.write(bytes([byte]))
        return True  # and no [DONE]: the choice has ended all the same

    with behind(split) as (_, client):
        assert streamed(chat(client, "<1>", stream=True)) == (text, [], True)


def test_refusals_of_the_request_are_passed_on_without_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_KEY", "sk-very-secret")

    def refuses(call: Call) -> None:
        message = "context too long\r\nfor sk-very-secret"
        call.send(422, json.dumps({"error": {"message": message}}).encode())

    with (
        upstreams(a=refuses, b=answers) as (a, b),
        serving(
            experts=[a.expert(endpoint={"api_key_env": "A_KEY"}), b.expert()], fixed="a"
        ) as client,
    ):
        response = chat(client, "<1>")
        assert response.status_code == 422
        assert (
            response.json()["error"]["message"]
            == "expert 'a' refuses the request: context too long for [A_KEY]"
        )
        assert (a.requests, b.requests) == (1, 0)
        assert a.authorizations == {"Bearer sk-very-secret"}


def test_names_of_any_kind_are_safe_in_headers() -> None:
    name = "\u65e5\u672c\r\nSet-Cookie: x=1"
    with upstream("a", answers) as a, serving(experts=[{**a.expert(), "name": name}]) as client:
        response = chat(client, "<1>")
        assert said(response) == "a answers <1> in full"
        assert "set-cookie" not in response.headers
        assert response.headers["x-micronas-expert"] == r"\u65e5\u672c\r\nSet-Cookie: x=1"
