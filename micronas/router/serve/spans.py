"""Spans of OpenTelemetry's convention for generative AI, where its API is installed."""

import time
from importlib.util import find_spec

from micronas.router.serve.limits import Booking
from micronas.router.serve.protocol import Ask

_INSTALLED = find_spec("opentelemetry") is not None
_OPERATIONS = {"embeddings": "embeddings", "completions": "text_completion"}


def record(ask: Ask, expert: str, booking: Booking, *, end: str, seconds: float) -> None:
    """Write the span of a finished request, as a child of the client's ``traceparent``."""
    if not _INSTALLED:
        return
    from opentelemetry import propagate, trace

    operation, now = _OPERATIONS.get(ask.kind, "chat"), time.time_ns()
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "micronas",
        "gen_ai.request.model": ask.model,
        "gen_ai.response.model": expert,
        "gen_ai.usage.input_tokens": booking.prompt,
        "gen_ai.usage.output_tokens": booking.completion,
        **({} if end == "200" else {"error.type": end}),
    }
    trace.get_tracer("micronas.router").start_span(
        f"{operation} {ask.model}",
        context=propagate.extract(ask.headers),
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
        start_time=now - int(seconds * 1e9),
    ).end(now)
