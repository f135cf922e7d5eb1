"""Make one HTML file of a page's data, which loads nothing and runs no foreign code."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SHARED = Path(__file__).parent / "page"
_MARK = re.compile("@([A-Z_]+)@")

# JSON in ASCII has no line separators or lone surrogates, which break some parsers; without
# `<`, `>` and `&` it cannot end its element, begin a comment or be taken for markup.
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def page_of(
    title: str, data: Mapping[str, Any], *, parts: Path, scripts: Sequence[str] = ("page.js",)
) -> bytes:
    """Return the page as UTF-8 bytes.

    The page's policy allows its own script and style by their hash, and no request: markup injected
    by an error of ours would neither run nor load. `data` is for the scripts, written as JSON. The
    folder `parts` has ``page.html`` (the body below the title), ``page.css`` and the scripts, in
    whose order they are joined. The common files of all pages, ``page/shared.*`` of the package,
    come before them.
    """
    style = _text(_SHARED / "shared.css") + _text(parts / "page.css")
    script = "".join(map(_text, (_SHARED / "shared.js", *(parts / name for name in scripts))))
    embedded = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    filled = {
        "TITLE": html.escape(title),
        "STYLE": style,
        "SCRIPT": script,
        "STYLE_HASH": _policy_hash(style),
        "SCRIPT_HASH": _policy_hash(script),
        "DATA": embedded.translate(_ESCAPES),
    }
    template = _text(_SHARED / "shared.html").replace("@BODY@", _text(parts / "page.html"))
    # one pass over the template: a mark in foreign text stays text; characters that cannot be
    # encoded, such as stray bytes of a file's name in a title, become question marks
    return _MARK.sub(lambda mark: filled[mark[1]], template).encode("utf-8", "replace")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
