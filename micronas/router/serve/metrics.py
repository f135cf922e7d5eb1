"""Metrics for Prometheus."""

import math
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from micronas.router.control import Controller

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Metrics of one server, in their own registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        self.requests = counter(
            "micronas_router_requests",
            "Requests by the expert that was asked last and by their end: an HTTP status, "
            "broken (an error after the first byte) or gone (the client left).",
            ("expert", "category", "end"),
        )
        self.attempts = counter(
            "micronas_router_attempts",
            "Attempts at an expert, by outcome.",
            ("expert", "outcome"),
        )
        self.fallbacks = counter(
            "micronas_router_fallbacks",
            "Answers by another expert than the one that was chosen.",
            ("chosen", "expert"),
        )
        self.tokens = counter(
            "micronas_router_tokens",
            "Tokens of all calls, also of those that broke off; estimated where an expert counts "
            "none.",
            ("key", "expert", "category", "kind"),
        )
        self.usd = counter(
            "micronas_router_usd",
            "US dollars spent on all calls.",
            ("key", "expert", "category"),
        )
        seconds = Histogram(
            "micronas_router_seconds",
            "Time from a request's arrival until it is routed, its first_byte or its end.",
            ("until",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.until = {each: seconds.labels(each) for each in ("routed", "first_byte", "end")}
        self.working = Gauge("micronas_router_working", "Requests in work.", registry=registry)
        self.waiting = Gauge(
            "micronas_router_waiting", "Requests that wait for a slot.", registry=registry
        )

    def watch(self, controller: Callable[[], Controller | None]) -> None:
        """Add gauges of the budget, read whenever metrics are requested; NaN without a budget."""

        def figure(name: str) -> float:
            return float(getattr(controller(), name, math.nan))

        figures = {
            "budget": "Active parameters that a routed request may have on average.",
            "average": "Active parameters of routed requests so far, on average.",
            "target": "Budget of the mapping that routes the next request.",
        }
        for name, text in figures.items():
            gauge = Gauge(f"micronas_router_active_{name}", text, registry=self._registry)
            gauge.set_function(partial(figure, name))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
