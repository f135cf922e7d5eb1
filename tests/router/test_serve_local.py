"""Experts of the server's own process."""

import logging
import threading

import pytest

from micronas.errors import ConfigError
from micronas.router.serve.app import create_app
from micronas.router.serve.settings import ServeSettings
from tests.router.serving import chat, said, serving, streamed


def echo(messages: list[dict[str, str]]) -> str:
    """A local expert."""
    return f"echo: {messages[-1]['content']}"


def fails(messages: list[dict[str, str]]) -> str:
    raise ValueError("a text for the log alone")


def no_text(messages: list[dict[str, str]]) -> int:
    return len(messages)


def never_returns(messages: list[dict[str, str]]) -> str:
    threading.Event().wait()
    return ""


def local(name: str) -> dict[str, str]:
    return {"name": name, "active": "1M", "callable": f"{__name__}:{name}"}


def test_names_of_any_kind_are_safe_in_headers() -> None:
    name = "\u65e5\u672c\r\nSet-Cookie: x=1"
    expert = {**local("echo"), "name": name}
    with serving(experts=[expert]) as client:
        response = chat(client, "hello")
        assert said(response) == "echo: hello"
        assert "set-cookie" not in response.headers
        assert response.headers["x-micronas-expert"] == r"\u65e5\u672c\r\nSet-Cookie: x=1"


@pytest.mark.parametrize("stream", [False, True])
def test_local_functions_answer(stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    experts = [local(name) for name in ("fails", "no_text", "never_returns", "echo")]
    with serving(experts=experts, fixed="fails", timeouts={"first_byte": 0.3}) as client:
        with caplog.at_level(logging.WARNING, "micronas.router"):
            response = chat(client, "hello", stream=stream)
        text = streamed(response)[0] if stream else said(response)
        assert text == "echo: hello"
        assert response.headers["x-micronas-attempts"] == "4"
        assert "a text for the log alone" in caplog.text
        assert "a text for the log alone" not in response.text


@pytest.mark.parametrize("path", ["no_such_module_:f", "json:no_such", "json:__name__"])
def test_a_function_that_is_not_there_is_one_error(path: str) -> None:
    settings = {"experts": [{"name": "a", "active": 1, "callable": path}]}
    with pytest.raises(ConfigError, match="callable expert must be"):
        create_app(ServeSettings.model_validate(settings))
