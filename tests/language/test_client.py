"""The guarded client, and who else uses it."""

import base64
import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import DataError
from micronas.language.client import Client
from micronas.language.embedders import EmbeddingEndpoint
from micronas.language.endpoints import retry_after
from testing.odd_endpoint import Exchange, OddEndpoint, bomb, serving

KEY = 'sk-1/2"3<4&5+6789'
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
def test_an_odd_wait_is_bounded(value: str) -> None:
    wait = retry_after(value, longest=60)
    assert wait is None or 0 <= wait <= 60


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        ("100000", 120, 120),
        (timedelta(seconds=60), 30, 60),
        (-timedelta(hours=1), 0, 0),
    ],
)
def test_a_wait_is_in_seconds_or_until_a_date(
    value: str | timedelta, low: float, high: float
) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(timezone.utc) + value)
    assert low <= retry_after(value, longest=120) <= high


def test_nonsense_is_no_wait() -> None:
    for value in ("soon", "nan", "-5", ""):
        assert retry_after(value, longest=120) is None


DAYS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31))
ZONES = st.sampled_from([timezone(timedelta(hours=hours)) for hours in (-23, 0, 23)])
LIKE_DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Xxx", ""]),
    st.integers(-1, 10**30),
    st.sampled_from(["Jan", "Feb", "13", ""]),
    st.integers(-(10**30), 10**30),
    *[st.integers(-1, 10**12)] * 3,
    st.sampled_from(["GMT", "", "+0000", "-9999", "+99999999999999999999"]),
)


@given(
    LIKE_DATES
    | st.builds(lambda date, zone: format_datetime(date.replace(tzinfo=zone)), DAYS, ZONES)
)
def test_any_date_and_its_likeness_are_a_bounded_wait(value: str) -> None:
    wait = retry_after(value, longest=60)
    assert wait is None or 0 <= wait <= 60


def test_embeddings_are_asked_for_by_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret-0123456789")
    data = b'{"data": [{"index": 0, "embedding": [3, "%s"]}]}'

    async def answers(exchange: Exchange) -> None:
        assert exchange.body["input"] == ["half \ud83d"]
        said = exchange.headers["authorization"].encode() if exchange.text == "1" else b"4"
        await exchange.send(data % said)

    async def breaks(exchange: Exchange) -> None:
        await exchange.send(bomb(2**25), "200 OK", "Content-Encoding: gzip")

    endpoint = OddEndpoint(
        lambda body, before: (str(before), "it"), lambda _, name: name, more={"it": answers}
    )
    with serving(endpoint) as url:
        embed = EmbeddingEndpoint(url, "m", key_variable="A_KEY")
        assert embed(["half \ud83d"]).tolist() == [pytest.approx([0.6, 0.8])]
        with pytest.raises(DataError, match=r"must answer with embeddings.*\[A_KEY\]") as refused:
            embed(["half \ud83d"])
        assert "0123456789" not in str(refused.value)
        endpoint.more["it"] = breaks
        with pytest.raises(DataError, match="too large"):
            embed(["y"])
