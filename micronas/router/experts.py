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
    """Time limits of one attempt at an expert, in seconds.

    Attributes
    ----------
    connect
        Time until the connection.
    first_byte
        Time until the first piece of an answer with content; without a stream, until the whole
        answer, which servers then send at once.
    idle
        Time between two pieces of a stream.
    """

    connect: float = Field(default=5.0, gt=0)
    first_byte: float = Field(default=60.0, gt=0)
    idle: float = Field(default=30.0, gt=0)


class ExpertEndpoint(Settings):
    """An OpenAI-compatible chat endpoint.

    Attributes
    ----------
    base_url
        Address before ``/chat/completions``.
    model
        Id of the model at the endpoint.
    api_key_env
        Environment variable of the key; None for a server without keys.
    timeouts
        Time limits in place of the server's.
    usage
        Ask streams to end with their count of tokens (``stream_options``); otherwise the cost of a
        stream is estimated.
    """

    base_url: BaseUrl
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    timeouts: Timeouts | None = None
    usage: bool = True


class Expert(Settings):
    """A model that prompts can be sent to.

    Attributes
    ----------
    name
        Name in scores, mappings and requests.
    active
        Parameters used for one token, which an average budget counts.
    total
        Parameters to host, which a cumulative budget counts. By default the active ones, which is
        right unless the model is a mixture of experts.
    price
        Price of calls, if they are charged.
    context
        Tokens of the context window; longer requests are sent to others first.
    tools, vision
        The expert can call tools, and see images; requests with those go to such experts only.
    endpoint
        Endpoint; not needed to fit and map.
    """

    name: str = Field(min_length=1, max_length=200)
    active: Parameters
    total: Parameters = Field(default=None, validate_default=True)
    price: Price | None = None
    context: int | None = Field(default=None, ge=1)
    tools: bool = True
    vision: bool = True
    endpoint: ExpertEndpoint | None = None

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
