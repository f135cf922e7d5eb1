"""What a board holds and how fast it is, read from YAML: shipped ones and a user's own."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from micronas import config, resources
from micronas.config import Settings, nearest
from micronas.graph.counts import FEATURES
from micronas.hardware.latency import CONSTANT, LinearLatency

OTHER = "other"
"""Stands for every space without a latency model of its own."""


def _check_terms(coefficients: dict[str, float]) -> dict[str, float]:
    for term, milliseconds in coefficients.items():
        if term not in (CONSTANT, *FEATURES):
            raise ValueError(f"unknown term {term!r}; {nearest(term, (CONSTANT, *FEATURES))}")
        if not math.isfinite(milliseconds) or milliseconds < 0:
            raise ValueError(f"{term} must be a number of ms that is not negative")
    return coefficients


class Percent(Settings):
    """Absolute relative errors over networks, in percent."""

    mean: float
    worst: float


class LatencyModel(Settings):
    """A linear latency model, how well it fits and where it comes from."""

    coefficients: Annotated[dict[str, float], Field(min_length=1), AfterValidator(_check_terms)]
    """Milliseconds per unit of each count; ``constant`` is an intercept in ms."""
    networks: PositiveInt
    """How many measured networks it was fitted to."""
    in_sample_percent: Percent | None = None
    leave_one_out_percent: Percent | None = None
    """Each network predicted without itself; None where there are too few."""
    r2: float | None = None
    source: str


class Reserved(Settings):
    """What the interpreter and the firmware need beside arena and model, in bytes."""

    sram_bytes: Annotated[int, Field(ge=0)]
    flash_bytes: Annotated[int, Field(ge=0)]


class Board(Settings):
    """A microcontroller board."""

    name: str
    title: str
    core: str
    sram_bytes: PositiveInt
    flash_bytes: PositiveInt
    clock_hz: PositiveInt
    reserved: Reserved
    power_mw: PositiveFloat | None = None
    """While it computes; None where it was not measured."""
    source: str
    """Where sizes, clock and power come from."""
    latency: Annotated[dict[str, LatencyModel], Field(min_length=1)]
    use: dict[str, str]
    """Which latency model serves which search space; ``other`` serves the rest."""

    @model_validator(mode="after")
    def _check_use(self) -> "Board":
        if OTHER not in self.use:
            raise ValueError(f"use must name a latency model for {OTHER!r}")
        for space, model in self.use.items():
            if model not in self.latency:
                raise ValueError(f"use.{space}: unknown model; {nearest(model, self.latency)}")
        if self.reserved.sram_bytes >= self.sram_bytes:
            raise ValueError("reserved.sram_bytes must be less than sram_bytes")
        if self.reserved.flash_bytes >= self.flash_bytes:
            raise ValueError("reserved.flash_bytes must be less than flash_bytes")
        return self

    @classmethod
    def load(cls, name: str | Path) -> "Board":
        """Load a shipped board by its name, or a user's own from a YAML file.

        Raises
        ------
        ConfigError
            If there is no such board, or the file is not valid; names line, key and nearest name.
        """
        return config.read(resources.find("latency_models", name), cls)

    @property
    def arena_bytes(self) -> int:
        """SRAM left for the arena."""
        return self.sram_bytes - self.reserved.sram_bytes

    @property
    def model_bytes(self) -> int:
        """Flash left for the model file."""
        return self.flash_bytes - self.reserved.flash_bytes

    def latency_model(self, space: str | None = None) -> LatencyModel:
        """Return the model for a search space, or the one for any network."""
        return self.latency[self.use.get(space or OTHER, self.use[OTHER])]

    def latency_ms(self, features: Mapping[str, Any], *, space: str | None = None) -> Any:
        """Predict the latency of one inference in ms.

        Parameters
        ----------
        features
            Counts by name: numbers, or tensors, which keep their gradient.
        space
            Name of the search space the network is from, such as ``kws``.
        """
        return LinearLatency(self.latency_model(space).coefficients).predict(features)

    def energy_mj(self, latency_ms: Any) -> Any:
        """Return the energy of one inference in mJ, or None where the power is not known."""
        return None if self.power_mw is None else latency_ms * (self.power_mw / 1000)

    def view(self) -> dict[str, Any]:
        """Return what ``micronas boards --json`` prints of a board."""
        return {
            "name": self.name,
            "title": self.title,
            "core": self.core,
            "sram_bytes": self.sram_bytes,
            "flash_bytes": self.flash_bytes,
            "clock_hz": self.clock_hz,
            "reserved": self.reserved.model_dump(),
            "power_mw": self.power_mw,
            "latency": _view(self.latency_model()),
            "latency_by_space": {
                space: _view(self.latency[model])
                for space, model in self.use.items()
                if space != OTHER
            },
        }


def available() -> list[str]:
    """Return the names of the boards that ship with micronas."""
    return resources.names("latency_models")


def _view(model: LatencyModel) -> dict[str, Any]:
    left_out = model.leave_one_out_percent
    return {
        "terms": model.coefficients,
        "networks": model.networks,
        "leave_one_out_percent": left_out.mean if left_out else None,
        "leave_one_out_worst_percent": left_out.worst if left_out else None,
        "source": model.source,
    }
