"""An OpenAI-compatible chat endpoint: one coroutine that asks until there is a whole answer."""

import asyncio
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pydantic import Field

from micronas.errors import ConfigError, DataError
from micronas.language.answers import plain_text, read_json, token_count, whole_characters
from micronas.language.client import Client, ExchangeError, Received
from micronas.language.endpoints import BYTES_OF_TOKEN, BaseUrl, Price, api_key, estimate_tokens
from micronas.settings import Settings

Messages = Sequence[dict[str, str]]
"""Chat messages, ``role`` and ``content``."""
_LONGEST_WAIT = 120.0
_OF_THE_PROMPT = (400, 403, 413, 422, 451)
"""Statuses that may be about one prompt: a content filter, a text that is too long."""
_RUN = re.compile(r"(.)\1+", re.DOTALL)
_LONGEST_TOKEN = 8
"""Characters that a token has at most in the mean, runs of one character counted as one."""


class EndpointSettings(Settings):
    """Where a model is served and how it is asked.

    Attributes
    ----------
    model
        The model's id at the endpoint; name a dated version, not an alias that moves.
    base_url
        Address up to and without ``/chat/completions``.
    api_key_env
        Environment variable that holds the key; the key itself is never written anywhere. If the
        variable is not set, no key is sent, as local servers want none.
    billed_tokens
        The most completion tokens that the endpoint bills for a call; ``max_tokens`` if absent. A
        model whose hidden reasoning is billed beyond ``max_tokens`` needs it: ``max_usd`` is kept
        by this number.
    options
        Further parameters of the request, as the endpoint names them (``seed``, ``top_p``).
    concurrency
        Calls in flight at most.
    timeout
        Seconds until a call without a whole answer counts as failed.
    tries
        How often one call is sent before the run stops; first pause ``backoff`` seconds, doubled
        each time, unless the server says ``Retry-After``.
    """

    model: str
    base_url: BaseUrl = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=4096, gt=0)
    billed_tokens: int | None = Field(default=None, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)
    price: Price = Price()
    concurrency: int = Field(default=8, gt=0)
    timeout: float = Field(default=120.0, gt=0)
    tries: int = Field(default=6, gt=0)
    backoff: float = Field(default=1.0, ge=0)

    def parameters(self) -> dict[str, Any]:
        """Return what of the settings can change an answer."""
        return {
            **self.options,
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }

    @property
    def most_tokens(self) -> int:
        """The most completion tokens that are billed for a call."""
        return self.billed_tokens or self.max_tokens

    def least_usd(self, messages: Messages) -> float:
        """Return what a call costs if nothing comes back."""
        return self.price.usd(sum(estimate_tokens(each["content"]) for each in messages), 0)

    def most_usd(self, messages: Messages) -> float:
        """Return the most that a call may cost."""
        # no tokenizer makes more tokens than there are bytes
        return BYTES_OF_TOKEN * self.least_usd(messages) + self.price.usd(0, self.most_tokens)


@dataclass(frozen=True)
class Reply:
    """A whole answer and what it cost."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    usd: float


@dataclass(frozen=True)
class Lost:
    """A request that brought no whole answer.

    Attributes
    ----------
    reason
        What went wrong, for a person.
    perhaps_paid
        Whether the endpoint may have worked, and charged, for it: a timeout or a cut answer.
    wait
        Seconds the server asks to wait, or None.
    refused
        Whether the endpoint refuses what was asked, so that asking again does not help.
    """

    reason: str
    perhaps_paid: bool
    wait: float | None = None
    refused: bool = False


class JudgeEndpoint:
    """Client of one endpoint; use it as an asynchronous context manager."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._client = Client(
            f"{settings.base_url}/chat/completions",
            key=api_key(settings.api_key_env),
            variable=settings.api_key_env,
            total=settings.timeout,
            connections=settings.concurrency,
        )

    async def __aenter__(self) -> "JudgeEndpoint":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def send(self, messages: Messages) -> Reply | Lost:
        """Send one request once.

        Raises
        ------
        ConfigError
            If the endpoint refuses every request: there is no such model, or the key is wrong.
        """
        body = {**self.settings.parameters(), "messages": list(messages)}
        try:
            async with self._client.post(json.dumps(body).encode("ascii")) as received:
                if received.status == 200:
                    return self._read(await received.body(), messages)
                return await self._refused(received)
        except ExchangeError as broken:
            # without a connection nobody can have worked for us
            return Lost(broken.reason, perhaps_paid=broken.sent)
        except ValueError as error:
            return Lost(str(error), perhaps_paid=True)

    async def pause(self, attempt: int, lost: Lost) -> None:
        """Wait before sending a request again; ``attempt`` counts from 0.

        Raises
        ------
        DataError
            If the request has been sent as often as the settings allow.
        """
        if attempt + 1 >= self.settings.tries:
            raise DataError(
                f"the judge must answer within {self.settings.tries} tries, but the last one ended "
                f"in {lost.reason}; run again to go on, what was answered is stored"
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
        """Return the error of an endpoint that refuses everything, by what it says."""
        return ConfigError(
            f"{self._client.url} must answer, but refuses all it is asked, the first with {said}; "
            f"check model, base_url and the key in {self.settings.api_key_env}"
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
    """Return the tokens of texts as the server counts them, or our own count where it cannot be.

    A server that counts none, or far fewer than the texts have, must not make a budget endless.
    """
    told = token_count(usage, name) or 0
    varied = sum(len(_RUN.sub(r"\1", text)) for text in texts)
    if told * _LONGEST_TOKEN >= varied and told:
        return told
    return sum(map(estimate_tokens, texts))
