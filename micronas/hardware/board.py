"""Boards, shipped or a user's own, read from YAML: memory sizes, clock, latency models."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, PositiveInt, model_validator

from micronas import resources
from micronas.errors import ConfigError
from micronas.files import write_atomically
from micronas.hardware.estimates import completed
from micronas.hardware.features import CYCLES, FEATURES, INSTRUCTIONS, OTHER_INSTRUCTIONS
from micronas.hardware.forms import FORMS, Form
from micronas.hardware.latency import CONSTANT, LinearLatency
from micronas.hardware.names import board_file, is_name, names_of
from micronas.hardware.targets import DEFAULT, MICRONAS, TFLM, Choice, Target, choose, named
from micronas.quantities import SLOWEST_HZ, format_bytes
from micronas.settings import Settings, nearest, read_mapping, read_settings
from micronas.text import html_table

Status = Literal[
    "validated", "prior, not validated", "estimate, not measured", "timed on a host, not the board"
]
VALIDATED_FROM = 5
"""Least number of networks; with fewer, at most three points judge the fit."""


def _check_terms(coefficients: dict[str, float]) -> dict[str, float]:
    for term, milliseconds in coefficients.items():
        if term not in (CONSTANT, *FEATURES):
            raise ValueError(f"unknown term {term!r}; {nearest(term, (CONSTANT, *FEATURES))}")
        if not math.isfinite(milliseconds) or milliseconds < 0:
            raise ValueError(f"{term} must be a number of ms that is not negative")
    if not any(coefficients.values()):
        raise ValueError("one term must be above 0; any network would fit otherwise")
    return coefficients


def _check_clock(hertz: int) -> int:
    if hertz < SLOWEST_HZ:
        raise ValueError(f"a clock must be at least 1 MHz, but is {hertz} Hz; write 80 MHz")
    return hertz


def _check_engine(name: str | None) -> str | None:
    return None if name in (None, TFLM) else named(str(name)).name


_HEADER = """\
# A board. Coefficients are milliseconds per unit of a feature, so 1.0e-05 is 10 ms per million;
# "constant" is in ms. `form` names the latency model to use.
"""


class Percent(Settings):
    """Absolute relative errors over networks, in percent."""

    mean: float
    worst: float


class LatencyModel(Settings):
    """A linear latency model, its errors and its source."""

    form: Form | Literal["cycles"]
    """Form of the model; ``cycles`` is an engine's, which no board's file holds."""
    spaces: tuple[str, ...] = ()
    """Search spaces it is for; empty if it is for any network."""
    coefficients: Annotated[dict[str, float], Field(min_length=1), AfterValidator(_check_terms)]
    """Milliseconds per unit of each feature; ``constant`` is an intercept in ms."""
    networks: PositiveInt
    """Number of measured networks it was fitted to."""
    in_sample_percent: Percent | None = None
    leave_one_out_percent: Percent | None = None
    """Errors of networks left out of the fit; None where there are too few."""
    r2: float | None = None
    status: Status = "prior, not validated"
    within: tuple[float, float] | None = None
    """Range of measured boards over such estimates, as factors; None where this was measured."""
    source: str
    """Measurements, and their publisher."""

    @property
    def ms_per_instruction(self) -> float | None:
        """Milliseconds per instruction of an operator without a count; None if never fitted."""
        for term in (INSTRUCTIONS, OTHER_INSTRUCTIONS):
            if term in self.coefficients:
                return self.coefficients[term]
        return None

    @property
    def prices_all(self) -> bool:
        """Whether operators without a count cost something."""
        return not self.coefficients.keys().isdisjoint((INSTRUCTIONS, OTHER_INSTRUCTIONS, CYCLES))


class Reserved(Settings):
    """Bytes that interpreter and firmware need beside arena and model."""

    sram_bytes: Annotated[int, Field(ge=0)]
    flash_bytes: Annotated[int, Field(ge=0)]


def reserve(target: Target) -> Reserved:
    """Return the memory of a keyword spotter's firmware, and of an interpreter where one runs.

    Source: MicroNets (arXiv 2010.11267), figure 2: firmware 4 + 38 KB, interpreter 4 + 37 KB.
    """
    interpreter = (4_000, 37_000) if target.reads_file else (0, 0)
    return Reserved(sram_bytes=4_000 + interpreter[0], flash_bytes=38_000 + interpreter[1])


class Board(Settings):
    """A microcontroller board."""

    name: str
    title: str
    core: str
    like: str | None = None
    """Measured board in place of `latency`, whose models are scaled by clock and core: see
    `hardware.estimates`. Other keys that this file lacks are taken from it."""
    sram_bytes: PositiveInt
    """Whole SRAM; as ``sram`` with a unit, like ``264 KB``."""
    flash_bytes: PositiveInt
    """Whole flash; as ``flash`` with a unit."""
    clock_hz: Annotated[PositiveInt, AfterValidator(_check_clock)]
    """Clock of the core; as ``clock`` with a unit, like ``133 MHz``."""
    measured_hz: PositiveInt | None = None
    """Clock at which `latency` was measured; another `clock_hz` makes it an estimate."""
    reserved: Reserved
    power_mw: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Power while it computes; None where it was not measured."""
    source: str
    """Source of sizes, clock and power."""
    kernels: str
    """Library that ran the measured networks; `targets.choose` finds its target."""
    engine: Annotated[str | None, AfterValidator(_check_engine)] = None
    """``micronas`` runs the network as generated C, without an interpreter; ``tflm``, the default,
    runs it by `kernels`."""
    compiler: str | None = None
    form: Form
    """Form of the latency model to use by default."""
    latency: Annotated[tuple[LatencyModel, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        try:
            found = completed(values, cls._described)
        except ConfigError as error:
            raise ValueError(str(error)) from error  # the file's name is added to it
        is_usual = found.get("reserved") == reserve(DEFAULT).model_dump()
        if "reserved" not in values and is_usual and found.get("engine") == MICRONAS.name:
            found["reserved"] = reserve(MICRONAS)  # what it is like runs an interpreter
        return found

    @classmethod
    def _described(cls, path: Path) -> dict[str, Any]:
        return read_settings(path, cls).model_dump(exclude_none=True)

    @model_validator(mode="after")
    def _check(self) -> "Board":
        if not any(model.form == self.form and not model.spaces for model in self.latency):
            raise ValueError(
                f"form: latency must hold a model of the form {self.form!r} for any network"
            )
        for key in ("sram_bytes", "flash_bytes"):
            kept, whole = getattr(self.reserved, key), getattr(self, key)
            if kept >= whole:
                raise ValueError(
                    f"reserved.{key} must be less than {key}: {kept:,} of {whole:,}; write "
                    "`reserved: {sram_bytes: ..., flash_bytes: ...}`, what other code needs"
                )
        return self

    @classmethod
    def load(cls, name: str | Path) -> "Board":
        """Load a shipped board by one of its names or a chip's, or a user's own from a YAML file.

        Raises ConfigError, which names line, key and nearest name, if there is no such board or the
        file is not valid.
        """
        return read_settings(board_file(name), cls)

    def save(self, path: str | Path) -> None:
        """Write the YAML file that `load` reads; raise ConfigError where that is not possible."""
        text = _HEADER + yaml.safe_dump(
            self.model_dump(mode="json", exclude_none=True), sort_keys=False, width=98
        )
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise ConfigError(
                f"a board's file must be writable: {error}; choose another"
            ) from error

    @property
    def arena_bytes(self) -> int:
        """SRAM left for the arena."""
        return self.sram_bytes - self.reserved.sram_bytes

    @property
    def model_bytes(self) -> int:
        """Flash left for the model file."""
        return self.flash_bytes - self.reserved.flash_bytes

    @property
    def arena(self) -> Choice:
        """Target of the board's engine, or of its kernels and core, and its assumptions."""
        return choose(self.engine or self.kernels, self.core)

    @property
    def target(self) -> Target:
        """Target of the board."""
        return self.arena.target

    @property
    def forms(self) -> tuple[Form, ...]:
        """Forms of the board's latency models."""
        return tuple(form for form in FORMS if any(m.form == form for m in self.latency))

    def using(self, form: Form | None, *, engine: str | None = None) -> "Board":
        """Return the board with another latency model or engine as its own; None keeps it.

        A usual reserve becomes that of the engine; ``tflm`` is that of kernels and core. Raises
        ConfigError if there is no model of that form for any network, or no such engine.
        """
        if engine is not None:
            chosen = self.model_copy(update={"engine": _check_engine(engine)})
            if self.reserved == reserve(self.target):
                chosen = chosen.model_copy(update={"reserved": reserve(chosen.target)})
            return chosen.using(form)
        if form is None or form == self.form:
            return self
        if not any(model.form == form and not model.spaces for model in self.latency):
            raise ConfigError(
                f"a latency form must be one {self.name} was measured for, but got {form!r}; "
                f"choose {' or '.join(self.forms)}"
            )
        return self.model_copy(update={"form": form})

    def latency_model(self, space: str | None = None) -> LatencyModel:
        """Return the model of the board's form for a space or any network, or its engine's own.

        A board that was measured with its engine needs no model of the engine.
        """
        found = self.measured_model(space)
        if self.kernels == self.target.name:
            return found
        by_instruction = next((m for m in self.latency if m.form == INSTRUCTIONS), found)
        timed = self.target.timed(by_instruction.ms_per_instruction, self.clock_hz)
        if timed is None:
            return found
        return LatencyModel(
            form="cycles",
            coefficients=timed,
            networks=found.networks,
            status="estimate, not measured",
            source=f"{self.target.title}: modelled cycles, with the waits of {found.source}",
        )

    def measured_model(self, space: str | None = None) -> LatencyModel:
        """Return the model fitted to measurements, of the board's form for a space or any."""
        models = [model for model in self.latency if model.form == self.form]
        own = [model for model in models if space in model.spaces]
        return next(iter(own), None) or next(model for model in models if not model.spaces)

    def latency_ms(self, features: Mapping[str, Any], *, space: str | None = None) -> Any:
        """Predict the ms of one inference of a network of a space, such as ``kws``.

        Features (`hardware.features`) are numbers, or tensors, which keep their gradient.
        """
        return LinearLatency(self.latency_model(space).coefficients).predict(features)

    def energy_mj(self, latency_ms: Any) -> Any:
        """Return the energy of one inference in mJ, or None where the power is not known."""
        return None if self.power_mw is None else latency_ms * (self.power_mw / 1000)

    def _repr_html_(self) -> str:
        latency = self.latency_model()
        rows = [
            ("core", f"{self.core}, {self.clock_hz / 1e6:g} MHz"),
            ("SRAM", format_bytes(self.sram_bytes)),
            ("flash", format_bytes(self.flash_bytes)),
            ("latency by", f"{latency.form} ({latency.status})"),
            ("measured with", self.kernels),
        ]
        return html_table((), rows, title=self.title)

    def view(self) -> dict[str, Any]:
        """Return what ``micronas boards --json`` prints of a board."""
        return {
            "name": self.name,
            "names": names_of(self.name),
            "title": self.title,
            "core": self.core,
            "like": self.like,
            "sram_bytes": self.sram_bytes,
            "flash_bytes": self.flash_bytes,
            "clock_hz": self.clock_hz,
            "reserved": self.reserved.model_dump(),
            "power_mw": self.power_mw,
            "kernels": self.kernels,
            "engine": self.engine or TFLM,
            "arena_is_upper_bound": self.arena.is_upper_bound,
            "arena_assumes": self.arena.assumes,
            "code_assumes": self.arena.code_assumes,
            "compiler": self.compiler,
            "source": self.source,
            "latency": _view(self.latency_model()),
            "latency_forms": [_view(model) for model in self.latency],
        }


def available() -> list[str]:
    """Return the names of the boards that ship with micronas."""
    return resources.names("latency_models")


def is_board(path: Path) -> bool:
    """Return whether a path is a shipped board's name, or YAML of a board, valid or not."""
    if not path.is_file():
        return is_name(str(path))
    if path.suffix not in (".yaml", ".yml"):
        return False
    values, _ = read_mapping(path)
    return not values.keys().isdisjoint(("like", "sram_bytes", "latency", "clock_hz"))


def _view(model: LatencyModel) -> dict[str, Any]:
    left_out = model.leave_one_out_percent
    return {
        "form": model.form,
        "spaces": list(model.spaces),
        "terms": model.coefficients,
        "networks": model.networks,
        "leave_one_out_percent": left_out.mean if left_out else None,
        "leave_one_out_worst_percent": left_out.worst if left_out else None,
        "r2": model.r2,
        "status": model.status,
        "within": model.within,
        "source": model.source,
    }
