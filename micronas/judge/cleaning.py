"""Filter prompts, and mask personal data in them."""

import re
import unicodedata
import zlib
from dataclasses import replace

from micronas.judge.recipe import Cleaning
from micronas.judge.sources import Record

_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u00ad]")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}(?![\w-])")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])")
_TELEPHONE = re.compile(r"(?<![\w.+])(?:\+|00)[1-9](?:[ ()/.-]{0,2}\d){7,13}(?![\w])")


def normalise(text: str) -> str:
    """Return the text in NFC with plain line ends and without control and invisible characters."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _INVISIBLE.sub("", text)
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()


def clean(record: Record, settings: Cleaning) -> tuple[Record | None, str]:
    """Return the cleaned prompt, or None and the reason.

    Reasons are ``licence``, ``damaged``, ``empty``, ``too short``, ``too long``,
    ``few letters``, ``repetitive`` and ``personal data``.
    """
    licence = record.licence.strip()
    if not licence or (settings.licences and licence not in settings.licences):
        return None, "licence"
    if any(c == "\ufffd" or "\ud800" <= c <= "\udfff" for c in record.text):
        return None, "damaged"
    text = normalise(record.text)
    masked = mask_personal(text)
    if masked != text and settings.personal == "drop":
        return None, "personal data"
    if settings.personal == "mask":
        text = masked
    reason = _complaint(text, settings)
    return (None, reason) if reason else (replace(record, text=text, licence=licence), "")


def mask_personal(text: str) -> str:
    """Return the text with e-mail addresses, card numbers and telephone numbers replaced.

    Card numbers have a valid check digit (Luhn); telephone numbers are international.
    """
    text = _EMAIL.sub("[email]", text)
    text = _CARD.sub(lambda found: "[card]" if _luhn(found[0]) else found[0], text)
    return _TELEPHONE.sub("[telephone]", text)


def _complaint(text: str, settings: Cleaning) -> str:
    if not text:
        return "empty"
    if len(text) < settings.min_characters:
        return "too short"
    if len(text) > settings.max_characters:
        return "too long"
    visible = [c for c in text if not c.isspace()]
    # marks are part of words in Thai, Arabic or Hindi
    letters = sum(unicodedata.category(c)[0] in "LMN" for c in visible)
    if letters < settings.min_letters * len(visible):
        return "few letters"
    data = text.encode("utf-8")
    if len(zlib.compress(data, 9)) < (1 - settings.max_repetition) * len(data):
        return "repetitive"
    return ""


def _luhn(number: str) -> bool:
    digits = [int(c) for c in reversed(number) if c.isdigit()]
    doubled = [2 * d - 9 * (d > 4) for d in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
