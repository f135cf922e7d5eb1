"""Addresses, prices, keys, proxies and waits of OpenAI-compatible endpoints."""

import math
import os
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Annotated
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import AfterValidator, Field

from micronas.errors import ConfigError
from micronas.settings import Settings


def _is_address(value: str) -> str:
    parts = urlsplit(value)
    if "@" in parts.netloc:
        # no ValueError: its message would quote the address with the password
        raise ConfigError("an address must hold no password; name its variable in api_key_env")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http address such as http://127.0.0.1:8080/v1")
    if parts.port == 0 or parts.query or parts.fragment:
        raise ValueError("must be an address that ends in its path, without ? or #")
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_is_address)]
"""Address of an endpoint, without ``/chat/completions``."""


class Price(Settings):
    """US dollars per million tokens."""

    prompt: float = Field(default=0.0, ge=0)
    completion: float = Field(default=0.0, ge=0)

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return the price of one call in US dollars."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


BYTES_OF_TOKEN = 4
"""Approximate bytes of UTF-8 per token."""


def estimate_tokens(text: str) -> int:
    """Return the approximate number of tokens of a text: one for four bytes of UTF-8."""
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_OF_TOKEN)


def required_key(variable: str | None, *, of: str) -> str:
    """Return the key in an environment variable, empty without one; `of` names its owner in errors.

    Raises ConfigError if the variable is not set, or the key cannot be sent in a header; no message
    shows it.
    """
    key = os.environ.get(variable, "") if variable else ""
    if variable and not key:
        raise ConfigError(
            f"the key of {of} must be in the environment variable {variable}, which is not set"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the key in {variable} must be one line of ASCII; set it again")
    return key


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for an address, None for a direct connection.

    Raises ConfigError if it is no HTTP proxy; the message does not show it, as it may contain a
    password.
    """
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ConfigError(
            f"the proxy for {parts.hostname} must be an http address; set {parts.scheme}_proxy, or "
            "name the host in no_proxy"
        )
    return proxy


def retry_after(value: str, *, longest: float) -> float | None:
    """Return seconds, at most `longest`, of a ``Retry-After`` (RFC 9110), or None if invalid."""
    value = value.strip()
    if value.replace(".", "", 1).isdecimal():
        return min(float(value), longest)
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        seconds = (date - datetime.now(timezone.utc)).total_seconds()
    except (ValueError, OverflowError):
        return None  # no date, or one with an invalid year or zone
    return min(max(seconds, 0.0), longest)
