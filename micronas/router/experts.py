"""Experts: what each model costs, and how it is called. Imports neither torch nor httpx."""

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
    """Read a number of parameters: ``"7B"``, ``"270M"``, or a bare number of single ones.

    Raises
    ------
    ValueError
        If it is not from 0.001 to 10^15, or has another unit than K, M, B or T.
    """
    match = _NUMBER.fullmatch(str(text)) if not isinstance(text, bool) else None
    value = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    if not 1e-3 <= value <= 1e15:
        raise ValueError("parameters must be a positive number such as 7B, 270M or 7e9")
    return value


Parameters = Annotated[float, BeforeValidator(parse_parameters)]


class Timeouts(Settings):
    """Seconds one attempt at an expert may take.

    Attributes
    ----------
    connect
        Until there is a connection.
    first_byte
        Until the first piece of an answer that says something; where the client wants no stream,
        until the whole answer, as servers then send it at once.
    idle
        Between two pieces of a stream.
    """

    connect: float = Field(default=5.0, gt=0)
    first_byte: float = Field(default=60.0, gt=0)
    idle: float = Field(default=30.0, gt=0)


class ExpertEndpoint(Settings):
    """An OpenAI-compatible chat endpoint.

    Attributes
    ----------
    base_url
        Address up to and without ``/chat/completions``.
    model
        The model's id at the endpoint.
    api_key_env
        Environment variable that holds the key; None for a server that wants none.
    timeouts
        In place of the server's own.
    usage
        Whether streams are asked to end with their count of tokens (``stream_options``); without
        it what a stream costs is estimated.
    """

    base_url: BaseUrl
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    timeouts: Timeouts | None = None
    usage: bool = True


class Expert(Settings):
    """One model a prompt can be sent to.

    Attributes
    ----------
    name
        What scores, mappings and requests call it.
    active
        Parameters used for one token; what an average budget counts.
    total
        Parameters that have to be hosted; what a cumulative budget counts. Those active if not
        given, which is right of any model that is no mixture of experts.
    price
        Where calls are paid for.
    context
        Tokens of its context window; longer requests are sent to others first.
    tools, vision
        Whether it can call tools, and see images; requests with those go to experts that can.
    endpoint
        How it is called; not needed to fit and map.
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
        # where `active` itself is wrong, that is the one complaint
        return info.data.get("active", 1.0) if value is None else value

    @model_validator(mode="after")
    def _is_consistent(self) -> "Expert":
        if self.total < self.active:
            raise ValueError("total parameters must be at least the active ones")
        return self


def _of_different_names(experts: tuple[Expert, ...]) -> tuple[Expert, ...]:
    often = [name for name, times in Counter(each.name for each in experts).items() if times > 1]
    if often:
        raise ValueError(f"experts must have different names; {often[0]!r} is there twice")
    return experts


Experts = Annotated[tuple[Expert, ...], Field(min_length=1), AfterValidator(_of_different_names)]


class _ExpertsFile(Settings):
    experts: Experts


def read_experts(path: Path) -> tuple[Expert, ...]:
    """Read a YAML file of one key, ``experts``, in the order in which they stand there.

    Raises
    ------
    ConfigError
        If the file cannot be read, a name is there twice, or a number is none.
    """
    return read_settings(path, _ExpertsFile).experts
