# ruff: noqa: RUF001
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError
from micronas.judge.cleaning import clean, mask_personal, normalise
from micronas.judge.language import identify
from micronas.judge.recipe import Cleaning, Languages
from micronas.judge.sources import Record


def record(text: str, licence: str = "MIT") -> Record:
    return Record("a-1", text, "a", 1, licence)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc  \n", "a\nb\nc"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("\ufeffa\u200bb\u202e\x00c\td", "abc\td"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("What is the capital of France?", ""),
        ("ประเทศไทยมีเมืองหลวงชื่ออะไร", ""),
        ("日本の首都はどこですか。教えてください。", ""),
        (" \n\u200b", "empty"),
        ("too short", "too short"),
        ("many words " * 800, "too long"),
        ("!!!! ???? ---- a ....", "few letters"),
        ("again and again " * 40, "repetitive"),
        ("a broken \ufffd character", "damaged"),
        ("half a character \ud83d", "damaged"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    kept, found = clean(record(text), Cleaning())
    assert found == reason
    assert (kept is None) == bool(reason)


def test_licences() -> None:
    text = "What is the capital of France?"
    only_mit = Cleaning(licences=("MIT",))
    assert clean(record(text, " "), Cleaning())[1] == "licence"
    assert clean(record(text, "GPL"), only_mit)[1] == "licence"
    assert clean(record(text, "MIT "), only_mit)[1] == ""


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jo.doe+x@mail.example.org.", "write to [email]."),
        # the number is the usual test number of a card company; its last digit changed is none
        ("card 4111 1111 1111 1111 ok", "card [card] ok"),
        ("card 4111 1111 1111 1112 ok", "card 4111 1111 1111 1112 ok"),
        ("call +44 20 7946 0958 now", "call [telephone] now"),
        ("the sum of 1234567 and 20240101", "the sum of 1234567 and 20240101"),
        ("pi is 3.14159265358979323846", "pi is 3.14159265358979323846"),
        ("a @decorator and x@y", "a @decorator and x@y"),
    ],
)
def test_personal_data(text: str, masked: str) -> None:
    assert mask_personal(text) == masked
    assert (clean(record(text), Cleaning(personal="drop"))[1] == "personal data") == (
        masked != text
    )
    kept, _ = clean(record(text), Cleaning(personal="keep"))
    assert kept.text == text


def test_languages() -> None:
    texts = {
        "Which medicine helps against a headache?": "en",
        "Какое лекарство помогает от головной боли?": "ru",
        "ما هو الدواء الذي يساعد في علاج الصداع؟": "ar",
        "頭痛に効く薬はどれですか。": "ja",
        "ยาอะไรช่วยแก้ปวดหัวได้บ้าง": "th",
        "Melyik gyógyszer segít a fejfájás ellen?": "hu",
        "Baş ağrısına hangi ilaç iyi gelir?": "tr",
        "Katero zdravilo pomaga proti glavobolu?": "sl",
        "Који лек помаже против главобоље?": "sr",
        "Ce code: ```def f(x): return x``` Что он делает?": "ru",
        "1 + 1 = ?": "en",
    }
    codes = ("en", "ru", "ar", "ja", "th", "hu", "tr", "sl", "sr")
    assert identify(list(texts), codes, Languages()) == list(texts.values())


def test_uncertain_and_unknown_languages() -> None:
    assert identify(["Hello"], ("en", "de"), Languages(min_confidence=1.0)) == ["und"]
    assert identify(["Hello"], ("xx",), Languages()) == ["xx"]
    with pytest.raises(ConfigError, match="'xx'"):
        identify(["Hello"], ("en", "xx"), Languages())
