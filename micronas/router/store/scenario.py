"""A simulation as a person writes it: sizes and bandwidths with units, a trace or its shape."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from micronas.errors import ConfigError
from micronas.quantities import format_bytes, parse, parse_bytes
from micronas.router.store.lru import PolicyName
from micronas.router.store.simulate import Level, Simulation, simulate
from micronas.router.store.trace import read_trace, zipf_trace
from micronas.settings import Settings, read_mapping
from micronas.text import table

POLICIES: tuple[PolicyName, ...] = ("lru", "belady")


def parse_bandwidth(text: object) -> float:
    """Read bytes a second, such as ``20 GB/s``.

    Raises
    ------
    ConfigError
        If it is not a positive size and ``/s``.
    """
    amount, slash, unit = str(text).rpartition("/")
    if not slash or unit.strip().lower() != "s":
        raise ConfigError(f"a bandwidth must be bytes a second, but got {text!r}; write 2 GB/s")
    return parse(amount, "bytes")


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Bandwidth = Annotated[float, BeforeValidator(parse_bandwidth)]
Milliseconds = Annotated[float, BeforeValidator(lambda value: parse(value, "milliseconds"))]


class Scenario(Settings):
    """Options of `micronas router simulate`; either of trace and zipf, of size and sizes."""

    trace: Path | None = None
    """A recorded trace (`read_trace`)."""
    zipf: float | None = Field(None, ge=0)
    """Exponent of a drawn trace (`zipf_trace`)."""
    experts: int = Field(50, ge=1)
    """Experts of a drawn trace, where sizes names none."""
    requests: int = Field(10_000, ge=1)
    """Requests of a drawn trace."""
    seed: int = 0
    size: Bytes | None = None
    """Bytes of every expert."""
    sizes: Path | None = None
    """YAML of expert: size, the most popular first for a drawn trace."""
    host: Bytes
    device: Bytes | None = None
    disk_bw: Bandwidth
    """From the disk to the host's memory."""
    host_bw: Bandwidth | None = None
    """From the host's memory to the device's."""
    batch: int = Field(1, ge=1)
    patience: int = Field(16, ge=0)
    pin: tuple[str, ...] = ()
    """Experts that stay on the top tier; not drawn."""
    run: Milliseconds | None = None
    """Time of one request on an expert."""
    warmup: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_of_each(self) -> "Scenario":
        if (self.trace is None) == (self.zipf is None):
            raise ValueError("requests must come from either a trace or zipf")
        if (self.size is None) == (self.sizes is None):
            raise ValueError("bytes must come from either size or sizes")
        if (self.device is None) != (self.host_bw is None):
            raise ValueError("device and host_bw must be given together")
        return self

    def simulate(self) -> list["Simulated"]:
        """Simulate every order of requests with every policy; arrival order and LRU come first.

        Raises
        ------
        ConfigError, DataError
            As `read_trace`, `zipf_trace` and `micronas.router.store.simulate` do.
        """
        given = self._given_sizes()
        trace = self._trace(given)
        sizes = given or dict.fromkeys([*trace, *self.pin], self.size or 0)
        levels = [Level("host", self.host, self.disk_bw)]
        if self.device is not None and self.host_bw is not None:
            levels.append(Level("device", self.device, self.host_bw))
        outcomes = []
        for batch in dict.fromkeys([1, self.batch]):
            for policy in POLICIES:
                result = simulate(
                    trace,
                    sizes,
                    levels=levels,
                    policy=policy,
                    batch=batch,
                    patience=self.patience,
                    run_seconds=(self.run or 0.0) / 1e3,
                    pinned=self.pin,
                    warmup=self.warmup,
                )
                outcomes.append(Simulated(batch, policy, result))
        return outcomes

    def _given_sizes(self) -> dict[str, int]:
        if self.sizes is None:
            return {}
        values, _ = read_mapping(self.sizes)
        if not values:
            raise ConfigError(f"{self.sizes} must give at least one expert's size, but is empty")
        try:
            return {str(name): parse_bytes(value) for name, value in values.items()}
        except ConfigError as error:
            raise ConfigError(f"{self.sizes}: {error}") from error

    def _trace(self, given: Mapping[str, int]) -> list[str]:
        if self.trace is not None:
            return read_trace(self.trace)
        drawn = given or [f"expert{number}" for number in range(1, self.experts + 1)]
        names = [name for name in drawn if name not in self.pin]
        return zipf_trace(names, self.requests, exponent=self.zipf or 0.0, seed=self.seed)


@dataclass(frozen=True)
class Simulated:
    """One simulation and what it differs from the others in."""

    batch: int
    policy: PolicyName
    result: Simulation

    def values(self) -> dict[str, Any]:
        """Return all of it as JSON would have it."""
        return {
            "batch": self.batch,
            "policy": self.policy,
            "requests": self.result.requests,
            "lookups": self.result.lookups,
            "hit_rates": self.result.hit_rates,
            "tiers": {name: asdict(counts) for name, counts in self.result.tiers.items()},
            "seconds_per_request": self.result.seconds_per_request,
            "switch_share": self.result.switch_share,
        }


def outcomes_table(outcomes: Sequence[Simulated]) -> str:
    """Return a table for a terminal, one line per simulation."""
    tiers = list(outcomes[0].result.tiers)
    header = ["order", "policy", *(f"{name} hits" for name in tiers)]
    header += [*(f"into {name}" for name in tiers), "ms a request", "moving weights"]
    rows = [
        [
            "arrival" if each.batch == 1 else f"grouped, {each.batch} waiting",
            each.policy,
            *(f"{100 * rate:.1f} %" for rate in each.result.hit_rates.values()),
            *(format_bytes(counts.bytes) for counts in each.result.tiers.values()),
            f"{1e3 * each.result.seconds_per_request:.1f}",
            f"{100 * each.result.switch_share:.0f} %",
        ]
        for each in outcomes
    ]
    return table(header, rows)
