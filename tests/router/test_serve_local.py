"""Experts of the server's own process."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from micronas.errors import ConfigError
from micronas.graph import integer
from micronas.router.serve.app import create_app
from micronas.router.serve.local import classifier
from micronas.router.serve.settings import ServeSettings
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
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


def test_an_int8_model_classifies_json(tmp_path: Path) -> None:
    graph = random_int8_graph(3, family="ds_cnn")
    path = tmp_path / "net.tflite"
    path.write_bytes(to_flatbuffer(graph))
    source, sink = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert source.quantization is not None
    assert sink.quantization is not None
    codes = np.random.default_rng(5).integers(-128, 128, source.shape).astype(np.int8)
    scale, zero = float(source.quantization.scale[0]), source.quantization.zero_point
    values = scale * (codes.astype(np.float64) - zero)
    output = integer.run(graph, codes).ravel()

    experts = [{"name": "net", "active": 22000, "model": str(path)}]
    with serving(experts=experts) as client:
        for prompt in (values[0].tolist(), values.ravel().tolist()):
            answer = json.loads(said(chat(client, json.dumps(prompt))))
            assert answer["class"] == int(output.argmax())
            reals = (output.astype(float) - sink.quantization.zero_point) * float(
                sink.quantization.scale[0]
            )
            assert answer["scores"] == pytest.approx(reals.tolist())
        beyond = json.dumps([10**400] * values.size)
        for prompt in ("hello", "[1, 2]", json.dumps([None] * values.size), beyond):
            response = chat(client, prompt)
            assert response.status_code == 400
            assert f"{values.size} finite numbers" in response.json()["error"]["message"]
    with pytest.raises(ConfigError, match="readable file"):
        create_app(
            ServeSettings.model_validate({"experts": [{**experts[0], "model": "gone.tflite"}]})
        )


def test_a_model_of_two_outputs_is_no_expert(tmp_path: Path) -> None:
    graph = random_int8_graph(0)
    path = tmp_path / "two.tflite"
    path.write_bytes(
        to_flatbuffer(replace(graph, outputs=(*graph.outputs, graph.ops[0].outputs[0])))
    )
    with pytest.raises(ConfigError, match=r"two.tflite, must take one tensor and give one"):
        classifier(path)
