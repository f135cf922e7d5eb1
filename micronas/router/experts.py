"""Experts: sizes, prices and endpoints of models. Imports neither torch nor httpx."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from micronas.language.endpoints import BaseUrl, Price
from micronas.settings import Settings, read_settings

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([KMBT]?)\s*", re.IGNORECASE)


def parse_parameters(text: object) -> float:
    """Read a number of parameters: ``"7B"``, ``"270M"``, or a plain number.

    Raises ValueError if it is not from 0.001 to 10^15, or has another unit than K, M, B or T.
    """
    match = _NUMBER.fullmatch(str(text)) if not isinstance(text, bool) else None
    value = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    if not 1e-3 <= value <= 1e15:
        raise ValueError("parameters must be a positive number such as 7B, 270M or 7e9")
    return value


Parameters = Annotated[float, BeforeValidator(parse_parameters)]


class Timeouts(Settings):
    """Time limits of one attempt at an expert, in seconds."""

    connect: float = Field(default=5.0, gt=0)
    """Time until the connection."""
    first_byte: float = Field(default=60.0, gt=0)
    """Time until the first piece of an answer with content; without a stream, until the whole
    answer, which servers then send at once."""
    idle: float = Field(default=30.0, gt=0)
    """Time between two pieces of a stream."""


class ExpertEndpoint(Settings):
    """An OpenAI-compatible chat endpoint."""

    base_url: BaseUrl
    """Address before ``/chat/completions``."""
    model: str = Field(min_length=1)
    """Id of the model at the endpoint."""
    api_key_env: str | None = None
    """Environment variable of the key; None for a server without keys."""
    timeouts: Timeouts | None = None
    """Time limits in place of the server's."""
    usage: bool = True
    """Ask streams to end with their count of tokens (``stream_options``); otherwise the cost of a
    stream is estimated."""


class Expert(Settings):
    """A model that prompts can be sent to."""

    name: str = Field(min_length=1, max_length=200)
    """Name in scores, mappings and requests."""
    active: Parameters
    """Parameters used for one token, which an average budget counts."""
    total: Parameters = Field(default=None, validate_default=True)
    """Parameters to host, which a cumulative budget counts. By default the active ones, which is
    right unless the model is a mixture of experts."""
    price: Price | None = None
    """Price of calls, if they are charged."""
    context: int | None = Field(default=None, ge=1)
    """Tokens of the context window; longer requests are sent to others first."""
    tools: bool = True
    """It can call tools; requests with those go to such experts only."""
    vision: bool = True
    """It can see images, likewise."""
    endpoint: ExpertEndpoint | None = None
    """Endpoint; not needed to fit and map."""

    @field_validator("total", mode="before")
    @classmethod
    def _active_by_default(cls, value: Any, info: ValidationInfo) -> Any:
        # a wrong `active` is the only error to report
        return info.data.get("active", 1.0) if value is None else value

    @model_validator(mode="after")
    def _is_consistent(self) -> "Expert":
        if self.total < self.active:
            raise ValueError("total parameters must be at least the active ones")
        return self


def _of_different_names(experts: tuple[Expert, ...]) -> tuple[Expert, ...]:
    often = [name for name, times in Counter(each.name for each in experts).items() if times > 1]
    if often:
        raise ValueError(f"experts must have different names; {often[0]!r} occurs twice")
    return experts


Experts = Annotated[tuple[Expert, ...], Field(min_length=1), AfterValidator(_of_different_names)]


class _ExpertsFile(Settings):
    experts: Experts


def read_experts(path: Path) -> tuple[Expert, ...]:
    """Read experts from a YAML file with the key ``experts``, in its order.

    Raises ConfigError if the file cannot be read, a name occurs twice, or a number is invalid.
    """
    return read_settings(path, _ExpertsFile).experts
