"""What can be said of serving without a socket."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError
from micronas.language.answers import token_count
from micronas.router.serve.events import EventReader
from micronas.router.serve.plan import fallback_order
from micronas.router.serve.protocol import (
    ApiError,
    AttemptError,
    ascii_text,
    dump,
    is_answer,
    is_piece,
    load,
    parse_ask,
    says_something,
    texts_of,
)
from micronas.router.serve.settings import ServeSettings, read_settings
from tests.router.serving import closed

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)

CHOICES = st.lists(
    st.dictionaries(
        st.sampled_from(["index", "delta", "message", "finish_reason"]),
        ANY_JSON | st.dictionaries(st.sampled_from(["role", "content"]), ANY_JSON),
    )
)


def text_of(value: dict[str, Any]) -> str:
    return "".join(text for *_, text in texts_of(value))


def read_all(parts: list[bytes]) -> list[bytes]:
    reader = EventReader()
    return [data for part in parts for data in reader.feed(part)]


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(0, 400)),
)
def test_events_are_the_same_however_the_bytes_are_split(
    texts: list[str], end: str, cuts: list[int]
) -> None:
    stream = "".join(f": still here{end}{end}event: x{end}data: {t}{end}{end}" for t in texts)
    data = stream.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert read_all(parts) == [text.encode() for text in texts]


def test_events_of_several_lines_and_without_a_space() -> None:
    assert read_all([b"data:a\ndata:  b\n\ndata\n\ndata: cut"]) == [b"a\n b", b""]
    assert read_all([b"data: a\r\rdata: b\r\r", b"\n"]) == [b"a", b"b"]


def test_an_endless_event_is_refused() -> None:
    reader = EventReader()
    for _ in range(16):
        assert reader.feed(b"x" * 2**16) == []
    with pytest.raises(AttemptError, match="an event of more than 1048576 bytes"):
        reader.feed(b"x")


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "JSON object"),
        (b"{", "JSON object, but: Expecting property name"),
        (gzip.compress(b"{}", mtime=0), "JSON object, but: 'utf-8' codec"),
        (b"[]", "JSON object"),
        (b"\xff\xfe", "JSON object"),
        (b"[" * 100_000, "JSON object"),
        (b'{"model": "m", "messages": [{"role": "user"}], "x": NaN}', "JSON object"),
        (b'{"model": "m", "messages": [{"role": "user"}], "x": 1e999}', "JSON object"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model must"),
        (b'{"model": "", "messages": [{"role": "user", "content": "x"}]}', "model must"),
        (b'{"model": "m"}', "messages must"),
        (b'{"model": "m", "messages": []}', "messages must"),
        (b'{"model": "m", "messages": "hello"}', "messages must"),
        (b'{"model": "m", "messages": [{"role": "user"}, 5]}', "messages[1] must"),
        (b'{"model": "m", "messages": [{"role": 5}]}', "messages[0] must"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 5}]}', "messages[0].content"),
        (b'{"model": "m", "messages": [{"role": "user"}], "stream": "yes"}', "stream must"),
    ],
)
def test_a_wrong_body_is_one_400(body: bytes, rule: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_ask(body)
    assert caught.value.status == 400
    assert rule in caught.value.message
    assert caught.value.body()["error"]["type"] == "invalid_request_error"


@given(ANY_JSON, ANY_JSON, ANY_JSON)
def test_any_body_is_an_ask_or_a_400(model: object, messages: object, stream: object) -> None:
    body = json.dumps({"model": model, "messages": messages, "stream": stream}).encode()
    try:
        ask = parse_ask(body)
    except ApiError:
        return  # any other exception would be a bug
    assert all(isinstance(each, str) for each in ask.prompts)
    assert load(dump(ask.body)) == ask.body


def test_the_last_text_of_the_user_is_routed() -> None:
    what, this = ({"type": "text", "text": text} for text in ("what is", "this?"))
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": [what, image, this, None]},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]
    ask = parse_ask(json.dumps({"model": "m", "messages": messages}).encode())
    assert ask.prompts[0] == "what is\nthis?"
    alone = parse_ask(b'{"model": "m", "messages": [{"role": "system", "content": "be kind"}]}')
    assert alone.prompts == [""]


@given(st.text())
def test_headers_are_printable_ascii_and_give_the_text_back(text: str) -> None:
    shown = ascii_text(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert shown == shown.strip()
    if len(text) < 40:
        assert shown.encode().decode("unicode_escape").strip() == text.strip()


@given(st.dictionaries(st.sampled_from(["choices", "usage"]), ANY_JSON | CHOICES))
def test_whatever_an_upstream_sends_can_be_read_or_refused(value: dict[str, Any]) -> None:
    if is_piece(value):
        assert isinstance(says_something(value), bool)
    if is_piece(value) or is_answer(value):
        assert isinstance(text_of(value), str)
    assert (token_count(value.get("usage"), "prompt_tokens") or 1) >= 1


EXPERTS = [closed(name) for name in "abc"]


def settings_of(**changes: object) -> ServeSettings:
    return ServeSettings.model_validate({"experts": EXPERTS, "fixed": "a", **changes})


def test_fallback_order() -> None:
    listed = settings_of()
    assert fallback_order(listed, (), "b") == ("b", "a", "c")
    assert fallback_order(listed, ("c", "b", "a"), "b") == ("b", "c", "a")
    assert fallback_order(listed, ("c", "gone"), "gone") == ("c", "a", "b")
    assert fallback_order(settings_of(fallback=["c"]), ("a", "b", "c"), "b") == ("b", "c")
    assert fallback_order(settings_of(fallback=[]), ("a",), "b") == ("b",)
    assert fallback_order(settings_of(fallback=[]), (), "gone") == ("a", "b", "c")


SERVED = "{name: a, active: 1, endpoint: {base_url: 'http://127.0.0.1:9/v1', model: m}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experts: [{name: a, active: 1}]", "must have an endpoint: 'a'"),
        (f"experts: [{SERVED}]\nfixed: b", "'b' is no expert; choose one of a"),
        (f"experts: [{SERVED}]\nfallback: [aa]", "'aa' is no expert"),
        (f"experts: [{SERVED}]\nmodel: a", "no expert's name"),
        (f"experts: [{SERVED}]\nfixed: a\nrouter: folder", "both are given"),
        (f"experts: [{SERVED}]\nport: 99999", "line 2: port"),
        (f"experts: [{SERVED}]\ntimeouts: {{conect: 1}}", "did you mean 'connect'"),
        (f"experts: [{SERVED}]\nlargest_body: 4 apples", "quantity of bytes"),
        (f"experts: [{SERVED}]\nretries: -1", "line 2: retries"),
        ("experts: elsewhere.yaml", "elsewhere.yaml"),
    ],
)
def test_a_wrong_configuration_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "experts.yaml").write_text(f"experts: [{SERVED}]")
    path = tmp_path / "serve.yaml"
    path.write_text("experts: experts.yaml\nrouter: fitted\nlargest_body: 2 KB\n")
    settings = read_settings(path, ["port=9", "timeouts.idle=3"])
    assert settings.router == tmp_path / "fitted"
    assert (settings.port, settings.timeouts.idle, settings.largest_body) == (9, 3, 2000)
