"""Client of an OpenAI-compatible chat endpoint."""

import asyncio
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from micronas.errors import ConfigError, DataError
from micronas.language.answers import plain_text, read_json, token_count, whole_characters
from micronas.language.client import Client, ExchangeError, Received
from micronas.language.endpoints import (
    BYTES_OF_TOKEN,
    BaseUrl,
    Price,
    estimate_tokens,
    required_key,
)
from micronas.settings import Settings

Messages = Sequence[dict[str, str]]
"""Chat messages, ``role`` and ``content``."""
_OPENAI = "https://api.openai.com/v1"
_LONGEST_WAIT = 120.0
_OF_THE_PROMPT = (400, 403, 413, 422, 451)
"""Statuses that may concern one prompt: a content filter, a text that is too long."""
_RUN = re.compile(r"(.)\1+", re.DOTALL)
_LONGEST_TOKEN = 8
"""Most characters of a token on average, with runs of one character counted as one."""


class EndpointSettings(Settings):
    """Endpoint of a model, and parameters of its requests."""

    model: str
    """Id of the model at the endpoint; name a dated version, not an alias that changes."""
    base_url: BaseUrl = _OPENAI
    """Address of the endpoint, without ``/chat/completions``."""
    api_key_env: str | None = None
    """Environment variable of the key, which is never written anywhere. By default
    ``OPENAI_API_KEY`` for OpenAI's own address, and no key for another."""
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=4096, gt=0)
    billed_tokens: int | None = Field(default=None, gt=0)
    """Most completion tokens billed for a call; by default ``max_tokens``. Set it for a model whose
    hidden reasoning is billed beyond ``max_tokens``: ``max_usd`` relies on it."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of the request, by the endpoint's names (``seed``, ``top_p``), or other
    values; null leaves one out: ``{max_tokens: null, max_completion_tokens: 4096}``."""
    price: Price = Price()
    concurrency: int = Field(default=8, gt=0)
    """Most calls in flight."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds until a call without a complete answer counts as failed."""
    tries: int = Field(default=6, gt=0)
    """Number of times a call is sent before the run stops. The first pause is ``backoff`` seconds,
    doubled each time, or longer by the server's ``Retry-After``."""
    backoff: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _is_bounded(self) -> "EndpointSettings":
        unbounded = self.options.get("max_tokens", 0) is None and not self.billed_tokens
        if unbounded and self.options.get("max_completion_tokens") is None:
            raise ValueError(
                "options without max_tokens must have max_completion_tokens, or set billed_tokens: "
                "max_usd relies on it"
            )
        return self

    def parameters(self) -> dict[str, Any]:
        """Return the settings that can change an answer."""
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        given = {**own, **self.options, "model": self.model}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def key_variable(self) -> str:
        """Variable of the key, empty without one."""
        return self.api_key_env or ("OPENAI_API_KEY" if self.base_url == _OPENAI else "")

    @property
    def longest(self) -> int:
        """Most tokens of an answer."""
        limits = (self.options.get(name) for name in ("max_tokens", "max_completion_tokens"))
        return max([each for each in limits if isinstance(each, int)], default=self.max_tokens)

    @property
    def most_tokens(self) -> int:
        """Most completion tokens billed for a call."""
        return self.billed_tokens or self.longest

    def least_usd(self, messages: Messages) -> float:
        """Return the cost of a call with an empty answer."""
        return self.price.usd(sum(estimate_tokens(each["content"]) for each in messages), 0)

    def most_usd(self, messages: Messages) -> float:
        """Return the largest cost of a call."""
        # a token has at least one byte
        return BYTES_OF_TOKEN * self.least_usd(messages) + self.price.usd(0, self.most_tokens)


@dataclass(frozen=True)
class Reply:
    """A complete answer and its cost."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    usd: float


@dataclass(frozen=True)
class Lost:
    """A request without a complete answer."""

    reason: str
    """Reason of the failure, for a person."""
    perhaps_paid: bool
    """The endpoint may have worked, and charged, for it: a timeout or a cut answer."""
    wait: float | None = None
    """Seconds that the server asks to wait, or None."""
    refused: bool = False
    """The endpoint refuses the request, so that another try does not help."""


class JudgeEndpoint:
    """Client of one endpoint; use it as an asynchronous context manager."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings, variable = settings, settings.key_variable
        self._client = Client(
            f"{settings.base_url}/chat/completions",
            key=required_key(variable, of=repr(settings.model)),
            variable=variable,
            total=settings.timeout,
            connections=settings.concurrency,
        )

    async def __aenter__(self) -> "JudgeEndpoint":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, messages: Messages) -> Reply | Lost:
        """Send one request once.

        Raises ConfigError if the endpoint refuses every request: the model does not exist, or the
        key is wrong.
        """
        body = {**self.settings.parameters(), "messages": list(messages)}
        try:
            async with self._client.post(json.dumps(body).encode("ascii")) as received:
                if 200 <= received.status < 300:
                    return self._read(await received.body(), messages)
                return await self._refused(received)
        except ExchangeError as broken:
            # without a connection no work can have been done
            return Lost(broken.reason, perhaps_paid=broken.sent)
        except ValueError as error:
            return Lost(str(error), perhaps_paid=True)

    async def pause(self, attempt: int, lost: Lost) -> None:
        """Wait before sending a request again; ``attempt`` counts from 0.

        Raises DataError if the request has been sent `tries` times.
        """
        if attempt + 1 >= self.settings.tries:
            raise DataError(
                f"{self.settings.model} at {self.settings.base_url} must answer within "
                f"{self.settings.tries} tries, but the last one ended in {lost.reason}; run again "
                f"to go on, what was answered is stored"
            )
        wait = self.settings.backoff * 2**attempt * random.uniform(0.5, 1.0)
        await asyncio.sleep(min(max(wait, lost.wait or 0.0), _LONGEST_WAIT))

    async def _refused(self, received: Received) -> Lost:
        status = received.status
        if status in (408, 409, 425, 429) or status >= 500:
            wait = None if received.wait is None else min(received.wait, _LONGEST_WAIT)
            return Lost(f"HTTP {status}", perhaps_paid=False, wait=wait)
        said = f"HTTP {status} ({await received.complaint()})"
        if status in _OF_THE_PROMPT:
            return Lost(said, perhaps_paid=False, refused=True)
        raise self.misconfigured(said)

    def misconfigured(self, said: str) -> ConfigError:
        """Return the error of an endpoint that refuses everything, with its message."""
        return ConfigError(
            f"{self._client.url} must answer, but refuses all it is asked, the first with {said}; "
            f"check model, base_url and the key in {self.settings.key_variable or 'api_key_env'}"
        )

    def _read(self, body: bytes, messages: Messages) -> Reply | Lost:
        try:
            answer = read_json(body)
            content = answer["choices"][0]["message"]["content"]
            usage = answer.get("usage")
        except (ValueError, LookupError, TypeError, AttributeError):
            return Lost("a cut or unreadable answer", perhaps_paid=True)
        if not isinstance(content, str | list | None):
            return Lost("an answer whose content is no text", perhaps_paid=True)
        text = self._client.redacted(whole_characters(plain_text(content)))
        asked = [each["content"] for each in messages]
        prompt_tokens = _tokens(usage, "prompt_tokens", *asked)
        completion_tokens = _tokens(usage, "completion_tokens", text)
        usd = self.settings.price.usd(prompt_tokens, completion_tokens)
        return Reply(text, prompt_tokens, completion_tokens, usd)


def _tokens(usage: object, name: str, *texts: str) -> int:
    """Return the server's count of the tokens of texts, or our estimate if it is implausible.

    A server that counts none, or far fewer than the texts have, must not make a budget endless.
    """
    counted = token_count(usage, name) or 0
    varied = sum(len(_RUN.sub(r"\1", text)) for text in texts)
    if counted * _LONGEST_TOKEN >= varied and counted:
        return counted
    return sum(map(estimate_tokens, texts))
