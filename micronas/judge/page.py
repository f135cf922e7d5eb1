"""One HTML file from a report's data: nothing outside it is loaded, nothing foreign is run."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "page"
_MARK = re.compile("@([A-Z_]+)@")

# JSON of ASCII alone holds no line separator or lone surrogate that a browser could trip over;
# without `<`, `>` and `&` it cannot end its element, begin a comment or be taken for markup.
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def page_of(title: str, data: Mapping[str, Any]) -> bytes:
    """Return the page as UTF-8 bytes; ``data`` is what ``page/page.js`` reads, as JSON.

    The page's policy allows its own script and style by their hash, and no request at all: markup
    that got in by an error of ours would still neither run nor load.
    """
    style, script = _text("page.css"), _text("page.js")
    embedded = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    parts = {
        "TITLE": html.escape(title),
        "STYLE": style,
        "SCRIPT": script,
        "STYLE_HASH": _policy_hash(style),
        "SCRIPT_HASH": _policy_hash(script),
        "DATA": embedded.translate(_ESCAPES),
    }
    # one pass over the template: a mark that occurs in foreign text stays text
    return _MARK.sub(lambda mark: parts[mark[1]], _text("page.html")).encode()


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
