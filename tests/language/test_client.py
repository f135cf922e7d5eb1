"""The guarded client, and who else uses it."""

import base64
import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import DataError
from micronas.language.client import Client, post_once
from micronas.language.embedders import EmbeddingEndpoint
from micronas.language.endpoints import retry_after
from testing.odd_endpoint import Exchange, OddEndpoint, bomb, serving

KEY = 'sk-1/2"3<4&5+6789'
ASK = json.dumps({"messages": [{"role": "user", "content": "<1 x>"}]}).encode()
CLIENT = Client("http://127.0.0.1:9/v1", key=KEY, variable="A_KEY")


@given(st.text(max_size=30), st.text(max_size=30), st.integers(0, 40))
def test_no_form_of_a_key_is_left(before: str, after: str, spaces: int) -> None:
    for form in (
        KEY,
        json.dumps(KEY)[1:-1],
        json.dumps(KEY)[1:-1].replace("/", r"\/"),
        "sk-1/2%223%3C4%265%2B6789",
        "sk-1/2&quot;3&lt;4&amp;5+6789",
        base64.b64encode(KEY.encode()).decode(),
    ):
        text = before + " " * spaces + form + after
        assert form not in CLIENT.clean(text)
        assert form not in CLIENT.redacted(text)
        assert form.encode() not in CLIENT.redact(text.encode("utf-8", "replace"))
        assert CLIENT.clean(text).isprintable()


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 10000 00:00:00 GMT",
        "Mon, 99 Jan 2026 99:99:99 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999",
        "-1",
        "1e5",
        "\u00b2",
        "9" * 9000,
        "0." + "0" * 9000,
    ],
)
def test_any_wait_is_bounded(value: str) -> None:
    wait = retry_after(value, longest=60)
    assert wait is None or 0 <= wait <= 60


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))
def test_any_date_is_a_bounded_wait(date: datetime) -> None:
    for hours in (-23, 0, 23):
        zoned = date.replace(tzinfo=timezone(timedelta(hours=hours)))
        wait = retry_after(format_datetime(zoned), longest=60)
        assert wait is None or 0 <= wait <= 60


@given(
    st.builds(
        "{}, {} {} {} {}:{}:{} {}".format,
        st.sampled_from(["Mon", "Xxx", ""]),
        st.integers(-1, 10**30),
        st.sampled_from(["Jan", "Feb", "13", ""]),
        st.integers(-(10**30), 10**30),
        *[st.integers(-1, 10**12)] * 3,
        st.sampled_from(["GMT", "", "+0000", "-9999", "+99999999999999999999"]),
    )
)
def test_any_likeness_of_a_date_is_a_bounded_wait(value: str) -> None:
    wait = retry_after(value, longest=60)
    assert wait is None or 0 <= wait <= 60


def test_a_body_is_bounded_and_unpacked() -> None:
    async def packed(exchange: Exchange) -> None:
        await exchange.send(bomb(2**20), "200 OK", "Content-Encoding: gzip")

    async def large(exchange: Exchange) -> None:
        await exchange.send(bytes(2**24 + 1))

    endpoint = OddEndpoint(lambda *_: ("1", "it"), more={"it": packed})
    with serving(endpoint) as url:
        assert post_once(Client(url, total=20), ASK) == (200, bytes(2**20))
        endpoint.more["it"] = large
        with pytest.raises(ValueError, match="too large"):
            post_once(Client(url, total=20), ASK)


def test_embeddings_are_asked_for_by_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret-0123456789")
    data = b'{"data": [{"index": 0, "embedding": [3, "%s"]}]}'

    async def answers(exchange: Exchange) -> None:
        said = exchange.headers["authorization"].encode() if exchange.text == "1" else b"4"
        await exchange.send(data % said)

    async def breaks(exchange: Exchange) -> None:
        await exchange.send(bomb(2**25), "200 OK", "Content-Encoding: gzip")

    texts = []
    endpoint = OddEndpoint(
        lambda body, before: (texts.append(body["input"]), (str(before), "it"))[1],
        lambda _, name: name,
        more={"it": answers},
    )
    with serving(endpoint) as url:
        embed = EmbeddingEndpoint(url, "m", key_variable="A_KEY")
        assert embed(["half \ud83d"]).tolist() == [pytest.approx([0.6, 0.8])]
        assert texts == [["half \ud83d"]]
        with pytest.raises(DataError, match=r"must answer with embeddings.*\[A_KEY\]") as refused:
            embed(["half \ud83d"])
        assert "0123456789" not in str(refused.value)
        endpoint.more["it"] = breaks
        with pytest.raises(DataError, match="too large"):
            embed(["y"])
