"""An OpenAI-compatible chat endpoint: one coroutine that asks until there is a whole answer."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from pydantic import Field

from micronas.errors import ConfigError, DataError
from micronas.language.endpoints import Price, api_key, estimate_tokens, retry_after
from micronas.settings import Settings

_LONGEST_WAIT = 120.0


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
    options
        Further parameters of the request, as the endpoint names them (``seed``, ``top_p``).
    concurrency
        Calls in flight at most.
    timeout
        Seconds until a call without answer counts as failed.
    tries
        How often one call is sent before the run stops; first pause ``backoff`` seconds, doubled
        each time, unless the server says ``Retry-After``.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=4096, gt=0)
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
    """

    reason: str
    perhaps_paid: bool
    wait: float | None = None


class JudgeEndpoint:
    """Client of one endpoint; use it as an asynchronous context manager."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        key = api_key(settings.api_key_env)
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=settings.timeout,
            limits=httpx.Limits(max_connections=settings.concurrency),
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

    async def send(self, messages: Sequence[dict[str, str]]) -> Reply | Lost:
        """Send one request once.

        Raises
        ------
        ConfigError
            If the endpoint refuses the request for a reason that trying again does not change.
        """
        settings = self.settings
        url = settings.base_url.rstrip("/") + "/chat/completions"
        body = {**settings.parameters(), "messages": list(messages)}
        try:
            response = await self._client.post(url, json=body)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ConfigError(
                f"base_url must be an http address, but got {settings.base_url!r}"
            ) from error
        except httpx.HTTPError as error:
            # without a connection nobody can have worked for us
            unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            return Lost(type(error).__name__, perhaps_paid=not unsent)
        status = response.status_code
        if status in (408, 409, 425, 429) or status >= 500:
            wait = retry_after(response.headers.get("retry-after", ""), longest=_LONGEST_WAIT)
            return Lost(f"HTTP {status}", perhaps_paid=False, wait=wait)
        if status != 200:
            raise ConfigError(
                f"{url} answered HTTP {status} ({' '.join(response.text.split())[:200]}); check "
                f"model, base_url and the key in {settings.api_key_env}"
            )
        return self._read(response, messages)

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

    def _read(self, response: httpx.Response, messages: Sequence[dict[str, str]]) -> Reply | Lost:
        try:
            body = response.json()
            text = body["choices"][0]["message"]["content"]
            if text is not None and not isinstance(text, str):
                return Lost("an answer whose content is no text", perhaps_paid=True)
            # a server that counts no tokens must not make a budget endless
            usage = body.get("usage") or {
                "prompt_tokens": sum(estimate_tokens(each["content"]) for each in messages),
                "completion_tokens": estimate_tokens(text or ""),
            }
            prompt_tokens = int(usage["prompt_tokens"])
            completion_tokens = int(usage["completion_tokens"])
        except (ValueError, LookupError, TypeError, AttributeError):
            return Lost("a cut or unreadable answer", perhaps_paid=True)
        usd = self.settings.price.usd(prompt_tokens, completion_tokens)
        return Reply(text or "", prompt_tokens, completion_tokens, usd)
