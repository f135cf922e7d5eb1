"""Identify the language of prompts."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from micronas.errors import ConfigError
from micronas.judge.recipe import Languages

UNKNOWN = "und"

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\$\$?[^$\n]*\$\$?", re.DOTALL)


def identify(texts: Sequence[str], expected: Iterable[str], settings: Languages) -> list[str]:
    """Return the language of each text as ISO 639-1 code, ``und`` where it is not certain enough.

    It is one of those expected, the first for a text without letters beside code blocks, addresses
    and formulas, which are ignored.

    Raises ConfigError if a code is unknown or py3langid is not installed.
    """
    codes = list(dict.fromkeys(expected))
    if len(codes) == 1:
        return codes * len(texts)
    identifier = _identifier()
    identifier.set_languages(None)
    unknown = sorted(set(codes) - set(identifier.labels))
    if unknown:
        raise ConfigError(
            f"languages must be ISO 639-1 codes that can be identified, but got {unknown}"
        )
    identifier.set_languages(codes)
    found = []
    for text in texts:
        prose = _CODE.sub(" ", text)[: settings.max_characters]
        if not any(c.isalpha() for c in prose):
            found.append(codes[0])
            continue
        code, confidence = identifier.classify(prose)
        found.append(code if confidence >= settings.min_confidence else UNKNOWN)
    return found


@cache
def _identifier() -> Any:
    """Return the identifier, loaded once, which takes a second."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ConfigError(
            "telling languages apart needs py3langid: pip install '.[judge]', "
            "or name the field that holds the language"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
