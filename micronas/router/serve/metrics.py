"""Metrics for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from micronas.router.control import Controller

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "micronas_router_requests",
            "Requests by the expert that was asked last and by how they ended: an HTTP status, "
            "broken (an error after the first byte) or gone (the client left).",
            ("expert", "category", "end"),
            registry=registry,
        )
        self.attempts = Counter(
            "micronas_router_attempts",
            "Attempts at an expert, by what came of them.",
            ("expert", "outcome"),
            registry=registry,
        )
        self.fallbacks = Counter(
            "micronas_router_fallbacks",
            "Answers by another expert than the one that was chosen.",
            ("chosen", "expert"),
            registry=registry,
        )
        self.tokens = Counter(
            "micronas_router_tokens",
            "Tokens of answered requests; estimated where an expert counts none.",
            ("expert", "kind"),
            registry=registry,
        )
        self.usd = Counter(
            "micronas_router_usd", "US dollars spent on them.", ("expert",), registry=registry
        )
        seconds = Histogram(
            "micronas_router_seconds",
            "From a request's arrival to a point of its life: routed, first_byte or end.",
            ("until",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.until = {each: seconds.labels(each) for each in ("routed", "first_byte", "end")}
        self.working = Gauge("micronas_router_working", "Requests in work.", registry=registry)
        self.waiting = Gauge(
            "micronas_router_waiting", "Requests that wait for a slot.", registry=registry
        )

    def watch(self, controller: Controller) -> None:
        """Show the state of the budget, as it is whenever figures are asked for."""
        for name, text, read in (
            ("budget", "Active parameters a routed request may have on average.", "budget"),
            ("average", "Active parameters of routed requests so far, on average.", "average"),
            ("target", "Budget of the mapping that routes the next request.", "target"),
        ):
            gauge = Gauge(f"micronas_router_active_{name}", text, registry=self._registry)
            gauge.set_function(lambda read=read: getattr(controller, read))  # type: ignore[misc]

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)
