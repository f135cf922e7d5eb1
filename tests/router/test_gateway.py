"""Each feature that the documentation's table of gateways says yes to, by the ``openai`` client."""

import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from micronas.router.decision import GENERAL, RoutingDecision
from micronas.router.embedding import Embedding
from micronas.router.fit import FitSettings, fit
from micronas.router.policy import Router
from micronas.router.serve.protocol import dump
from tests.router import lazy_openai as openai
from tests.router.serving import asks, behind, figures, running, serving, world
from tests.router.world import EXPERTS, prompt, table
from tests.upstreams import Call, answers, broken, event, in_turn, upstreams

JSON = {"id": "x", "object": "list", "model": "m"}


class ByTopic:
    """A routing one can foresee: a prompt goes to the expert it names, others are general."""

    def route(self, prompts: Sequence[str]) -> list[RoutingDecision]:
        found = []
        for text in prompts:
            name = next((each for each in ("small", "large") if each in text), GENERAL)
            expert = "small" if name == GENERAL else name
            found.append(RoutingDecision(name, 0.9, 0.1, expert, 1e9, 0.5, f"says {name}"))
        return found

    def ranking(self, category: str) -> Sequence[str]:
        return ["large", "middle", "small"]


def connected(http: httpx.Client, key: str = "none") -> Any:
    """The ``openai`` client of a server."""
    url = f"{http.base_url}/v1"
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60)


@contextmanager
def gateway(*args: Any, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """As `behind`, with the ``openai`` client."""
    with behind(*args, **settings) as (servers, http), connected(http) as client:
        yield servers, client


def says(client: Any, *texts: str, **more: Any) -> Any:
    """Send a conversation in which the user said these texts, and return the raw response."""
    messages: list[Any] = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
    return client.chat.completions.with_raw_response.create(
        messages=messages[:-1], **{"model": "micronas-router", **more}
    )


def complains(code: int, text: str) -> Any:
    def behaviour(call: Call) -> None:
        call.send(code, f'{{"error": {{"message": "{text}"}}}}'.encode())

    return behaviour


def test_a_prompt_goes_to_the_expert_of_its_category_and_the_unfamiliar_to_general(
    router: Router,
) -> None:
    mapped = {row["category"]: row["expert"] for row in router.mapping()}
    asked = [(name, prompt(name, random.Random(7))) for name in mapped if name != GENERAL]
    asked.append((GENERAL, "7" * 300))
    with (
        world() as experts,
        serving(router, experts=experts, control=False) as http,
        connected(http) as client,
    ):
        for category, text in asked:
            headers = says(client, text).headers
            assert headers["x-micronas-category"] == category
            assert headers["x-micronas-expert"] == mapped[category]


def test_a_follow_up_is_routed_by_the_conversation() -> None:
    with gateway(dict(small=answers, large=answers), ByTopic()) as (_, client):
        assert says(client, "and in French?").headers["x-micronas-expert"] == "small"
        later = says(client, "a large question", "and in French?")
        assert later.headers["x-micronas-expert"] == "large"
        assert later.headers["x-micronas-reason"].startswith("earlier in the conversation: says")
        # a new topic is the newest message's
        assert says(client, "large", "small now").headers["x-micronas-expert"] == "small"


def test_a_conversation_stays_with_its_expert() -> None:
    served = dict(small=in_turn(broken, answers), large=answers)
    with gateway(served, ByTopic(), sticky=60) as (_, client):
        # the small one fails and the large one steps in: what follows stays with it
        assert says(client, "small <1>").headers["x-micronas-expert"] == "large"
        later = says(client, "small <1>", "small again")
        assert later.headers["x-micronas-expert"] == "large"
        assert "the conversation stays with it" in later.headers["x-micronas-reason"]
        assert says(client, "small <2>", "small again").headers["x-micronas-expert"] == "small"


def test_a_prompt_too_long_for_one_expert_goes_to_another() -> None:
    long = complains(400, "This model's maximum context length is 10 tokens")
    with gateway(dict(small=long, large=answers), ByTopic(), failures=1) as (_, client):
        answer = says(client, "small <1>")
        assert answer.headers["x-micronas-expert"] == "large"
        # it is no failure of the expert, which would cool down after one
        assert says(client, "small <2>").headers["x-micronas-attempts"] == "2"
        with pytest.raises(openai.BadRequestError) as caught:
            says(client, "x", model="small")
        assert caught.value.code == "context_length_exceeded"


def test_who_has_no_room_tools_or_eyes_is_not_asked() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    seen: Any = [{"role": "user", "content": [{"type": "text", "text": "small"}, image]}]
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with upstreams(small=answers, large=answers) as (small, large):
        experts = [small.expert(context=100, tools=False, vision=False), large.expert(vision=False)]
        with serving(ByTopic(), experts=experts) as http, connected(http) as client:
            assert says(client, "small").headers["x-micronas-expert"] == "small"
            assert says(client, "small " * 200).headers["x-micronas-expert"] == "large"
            assert says(client, "small", max_tokens=99).headers["x-micronas-expert"] == "large"
            assert says(client, "small", tools=[tool]).headers["x-micronas-expert"] == "large"
            with pytest.raises(openai.BadRequestError, match="none that is served has it"):
                client.chat.completions.create(model="micronas-router", messages=seen)


def test_completions_are_routed_and_streamed() -> None:
    def completes(call: Call) -> bool:
        text = f"{call.name} completes"
        value = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        if call.stream:
            call.start_stream()
            for word in ("so ", "on"):
                part = {**choice, "text": word, "finish_reason": None}
                call.write(event({**value, "choices": [part]}))
            call.write(event({**value, "choices": [{**choice, "text": ""}]}))
            call.write(b"data: [DONE]\n\n")
        else:
            call.send(200, dump({**value, "choices": [choice]}))
        return True

    with gateway(dict(small=broken, large=completes), ByTopic()) as ((_, large), client):
        done = client.completions.create(model="micronas-router", prompt="small talk")
        assert (done.choices[0].text, done.model) == ("large completes", "large")
        assert large.bodies[0]["path"] == "/v1/completions"
        pieces = client.completions.create(model="large", prompt=["x"], stream=True)
        assert "".join(each.choices[0].text for each in pieces) == "so on"


def test_embeddings_are_those_of_the_expert_that_is_named() -> None:
    def embeds(call: Call) -> bool:
        row = {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        call.send(200, dump({**JSON, "data": [row], "usage": usage}))
        return True

    with gateway(dict(small=embeds)) as ((server,), client):
        found = client.embeddings.create(model="small", input="x", encoding_format="float")
        assert found.data[0].embedding == [0.5, 1.0]
        assert server.bodies[0]["path"] == "/v1/embeddings"
        with pytest.raises(openai.BadRequestError, match="name the expert as model, one of small"):
            client.embeddings.create(model="micronas-router", input="x")


def test_models_are_known_by_name() -> None:
    with gateway({"a/b": answers}) as (_, client):
        assert client.models.retrieve("a/b").id == "a/b"
        assert [each.id for each in client.models.list()] == ["micronas-router", "a/b"]
        with pytest.raises(openai.NotFoundError, match="'c' is not served"):
            client.models.retrieve("c")


def responds(call: Call) -> bool:
    """The Responses API, which has events with names and no end mark."""
    text = {"type": "output_text", "text": "to be sure", "annotations": []}
    said = {"id": "msg", "type": "message", "role": "assistant", "status": "completed"}
    usage = {"input_tokens": 40, "output_tokens": 30, "total_tokens": 70}
    more = {"input_tokens_details": {"cached_tokens": 0}}
    more["output_tokens_details"] = {"reasoning_tokens": 0}
    whole: dict[str, Any] = {"id": "r", "object": "response", "created_at": 1, "model": "m"}
    whole |= {"status": "completed", "output": [{**said, "content": [text]}], "tools": []}
    whole |= {"usage": {**usage, **more}, "parallel_tool_calls": True}
    if not call.stream:
        call.send(200, json.dumps(whole).encode())
        return True
    call.start_stream()
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", **place, "delta": "to be"},
        {"type": "response.output_text.delta", **place, "delta": " sure"},
        {"type": "response.completed", "response": whole},
    ]
    for number, each in enumerate(events):
        call.write(f"event: {each['type']}\n".encode() + event({**each, "sequence_number": number}))
    return True


def test_the_responses_api_is_routed_streamed_and_counted() -> None:
    content = [{"type": "input_text", "text": "a large one"}]
    body: dict[str, Any] = {"model": "micronas-router", "instructions": "Be brief."}
    body["input"] = [{"role": "user", "content": content}]
    with (
        behind(dict(small=answers, large=responds), ByTopic()) as (servers, http),
        connected(http) as client,
    ):
        whole = client.responses.create(**body)
        assert (whole.output_text, whole.model) == ("to be sure", "large")
        events = list(client.responses.create(**body, stream=True))
        deltas = [each.delta for each in events if each.type == "response.output_text.delta"]
        assert deltas == ["to be", " sure"]
        assert events[-1].response.model == "large"
        assert servers[1].bodies[-1]["path"] == "/v1/responses"
        assert "stream_options" not in servers[1].bodies[-1]
        (row,) = http.get("/v1/usage").json()["data"]
        assert (row["requests"], row["prompt_tokens"], row["completion_tokens"]) == (2, 80, 60)
        with pytest.raises(openai.BadRequestError, match="kept by one expert"):
            client.responses.create(**body, previous_response_id="r")
        with pytest.raises(openai.BadRequestError, match="input must be a text"):
            client.responses.create(model="micronas-router", input=[])


def test_a_stream_of_responses_that_is_cut_is_no_answer() -> None:
    def cut(call: Call) -> None:
        call.handler.close_connection = True
        call.start_stream()
        call.write(event({"type": "response.output_text.delta", "item_id": "m", "delta": "to"}))

    with behind(dict(small=cut)) as (_, client):
        body = {"model": "small", "input": "x", "stream": True}
        text = client.post("/v1/responses", json=body).text
    assert text.startswith("event: response.output_text.delta\ndata: ")
    assert 'event: error\ndata: {"message":"expert \'small\' broke off' in text


def test_a_trace_is_passed_on() -> None:
    seen: list[tuple[str | None, str | None]] = []

    def traced(call: Call) -> bool | None:
        headers = call.handler.headers
        seen.append((headers["traceparent"], headers["tracestate"]))
        return answers(call)

    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with gateway(traced) as (_, client):
        headers = {"traceparent": parent, "tracestate": "vendor=1"}
        for sent in (headers, {"traceparent": "nonsense", "tracestate": "vendor=1"}):
            says(client, "x", extra_headers=sent)
    assert seen == [(parent, "vendor=1"), (None, None)]


def test_each_key_has_limits_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", "first,second")
    with behind(answers, keys_env="KEYS", limits={"requests_per_minute": 2}) as (_, http):
        first, second = (connected(http, key) for key in ("first", "second"))
        for _ in range(2):
            says(first, "x")
        with pytest.raises(openai.RateLimitError) as caught:
            says(first, "x")
        assert caught.value.code == "key_limit"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30
        says(second, "x")


def test_a_broken_expert_is_not_asked_twice_in_a_row_and_dear_ones_come_last(
    router: Router,
) -> None:
    asked: list[str] = []

    def noted(call: Call) -> None:
        asked.append(call.name)
        broken(call)

    with (
        world(noted) as experts,
        serving(router, experts=experts, failures=9) as http,
        connected(http) as client,
        pytest.raises(openai.InternalServerError, match="no expert answered"),
    ):
        says(client, prompt("words", random.Random(3)))
    # large is the best at words, and beyond the budget of 12B
    assert asked == ["small", "reckoner", "large"] * 2


def test_the_budget_is_kept_and_shown(router: Router) -> None:
    with world() as experts, serving(router, experts=experts) as http, connected(http) as client:
        for number in range(60):
            says(client, prompt("code", random.Random(number)))
        found = figures(http)
    # code alone would take 30 B each time; ten budgets are the tolerance
    assert float(found["micronas_router_active_budget"]) == 12e9
    assert float(found["micronas_router_active_average"]) < 17e9
    assert float(found["micronas_router_active_target"]) < 12e9


def contention() -> float:
    """Time on the clock over time of the processor: how many want this one at once."""
    clock, processor = time.perf_counter(), time.process_time()
    while time.process_time() < processor + 0.05:
        pass
    return (time.perf_counter() - clock) / 0.05


@pytest.mark.long
def test_three_huge_prompts_do_not_keep_a_short_one_waiting(tmp_path: Path) -> None:
    router = fit(table(240), EXPERTS, settings=FitSettings(embedding=Embedding(kind="auto")))
    router.save(tmp_path / "fitted")
    huge = ("a long story of 3.9 million letters " * 120_000)[:3_900_000]

    long, short = (dump(asks(text)) for text in (huge, "short"))
    with (
        world() as experts,
        running(tmp_path, experts=experts, router="fitted", largest_body="8 MB") as server,
    ):

        def ask(content: bytes) -> float:
            with httpx.Client(timeout=60, headers={"Content-Type": "application/json"}) as client:
                start = time.perf_counter()
                found = client.post(f"{server.url}/chat/completions", content=content)
            assert found.status_code == 200
            return time.perf_counter() - start

        ask(long)
        alone = statistics.median(ask(short) for _ in range(5))
        delays = []
        for _ in range(5):
            with ThreadPoolExecutor(3) as threads:
                for _ in range(3):
                    threads.submit(ask, long)
                time.sleep(0.02)
                delays.append((ask(short) - alone) / contention())
    # senders take part in the processor's time, and other programs may: so the least of five
    assert min(delays) < 0.1
