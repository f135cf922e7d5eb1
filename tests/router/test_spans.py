"""Spans of requests, written by OpenTelemetry's own SDK."""

import sys
from pathlib import Path

import httpx
import pytest

from tests.router.serving import asks, behind, chat, running, said, until
from tests.upstreams import answers, broken, upstream

pytestmark = pytest.mark.spans


def test_a_request_is_a_span_under_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    body = asks("<1>", model="a")
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with behind(answers) as (_, client):
        found = client.post("/v1/chat/completions", json=body, headers={"traceparent": parent})
        assert said(found) == "a answers <1> in full"
        until(lambda: len(kept.get_finished_spans()) == 1)
    (span,) = kept.get_finished_spans()
    assert (span.name, span.context.trace_id) == ("chat a", int("ab" * 16, 16))
    assert span.parent.span_id == int("cd" * 8, 16)
    assert span.attributes["gen_ai.response.model"] == "a"
    # estimated: three letters asked, twenty-one said
    tokens = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    assert [span.attributes[each] for each in tokens] == [1, 5]
    assert "error.type" not in span.attributes
    kept.clear()
    with behind(broken, retries=0) as (_, client):
        assert chat(client, "<2>").status_code == 502
        until(lambda: len(kept.get_finished_spans()) == 1)
    (span,) = kept.get_finished_spans()
    assert span.attributes["error.type"] == "502"


def test_the_extra_starts_the_server_with_an_exporter(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    under = [str(program), "--traces_exporter", "console,otlp"]
    with (
        upstream("a", answers) as a,
        running(tmp_path, under=under, experts=[a.expert()]) as server,
        httpx.Client(base_url=server.url.removesuffix("/v1"), timeout=30) as client,
    ):
        assert said(chat(client, "<3>")) == "a answers <3> in full"
        server.interrupt()
        assert '"name": "chat micronas-router"' in server.process.stdout.read()
