"""Parse the verdict in a judge's text: one label of a closed set, or none; never a guess.

A judge's text may quote the answers, and an answer may contain a planted label. These rules apply
in order:

1. Hidden reasoning (up to ``</think>``), quoted lines (``>``) and fenced blocks that hold more
   than a label are dropped.
2. Lines that carry the tag of the call (see `micronas.judge.rubric`) decide if there are any: no
   answer can contain the tag.
3. Otherwise the last line with a label decides. If a label ends that line, the line must hold no
   other; if not, every label of the text must be the same.
4. If an answer itself holds a label (``planted``), rule 3 is believed only where the label ends
   the last line of the text.
5. Everything else, and every bracketed label outside the set on the deciding line, is invalid.
"""

import re
import unicodedata
from dataclasses import dataclass
from html import unescape
from typing import Literal

Scale = Literal[3, 5]
Winner = Literal["A", "B", "tie"]


@dataclass(frozen=True)
class Verdict:
    """A judge's decision."""

    winner: Winner
    """``A``, ``B`` or ``tie``, by the position of an answer."""
    strength: Literal[1, 2] = 1
    """2 for "significantly better" (``>>``), 1 otherwise."""


_A, _B, _TIE = Verdict("A"), Verdict("B"), Verdict("tie")
_AA, _BB = Verdict("A", 2), Verdict("B", 2)
_LABELS: dict[int, dict[str, Verdict]] = {
    3: {"A": _A, "B": _B, "C": _TIE, "TIE": _TIE},
    5: {
        "A>>B": _AA,
        "B<<A": _AA,
        "A>B": _A,
        "B<A": _A,
        "A=B": _TIE,
        "B=A": _TIE,
        "B>A": _B,
        "A<B": _B,
        "B>>A": _BB,
        "A<<B": _BB,
    },
}
# bounded repeats: the text is foreign and must not be able to make the search quadratic
_GAP = r"[\s<>=]{0,8}"
_INSIDE = rf"\s{{0,8}}(TIE|[ABC](?:{_GAP}[ABC]){{0,4}}|[<>=]{_GAP})\s{{0,8}}"
_DOUBLE = re.compile(rf"\[\[{_INSIDE}\]\]")
_SINGLE = re.compile(rf"(?<!\[)\[{_INSIDE}\](?!\])")
_LINE_END = re.compile(r"[\s.!,;:)\"']*")
# brackets and signs that NFKC does not fold to ASCII, and invisible characters
_FOLD = str.maketrans(
    {"【": "[", "】": "]", "⟦": "[[", "⟧": "]]", "≫": ">>", "≪": "<<", "*": "", "`": ""}
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f", "")
)


def parse(text: str, scale: Scale, *, tag: str = "", planted: bool = False) -> Verdict | None:
    """Read the verdict of a judge's text; return None if it holds no readable one.

    Scale 3 has ``[[A]]``, ``[[B]]``, ``[[C]]`` (MT-Bench); 5 has ``[[A>>B]]`` to ``[[B>>A]]``
    (Arena-Hard). The judge must write a tag before its label, unless it is empty. `planted` says
    that a judged answer contains a label (see `holds_label`).
    """
    labels = _LABELS[scale]
    lines = _own_lines(text)
    if tag:
        spelt = tag.upper()
        tagged = [_labels(line.rpartition(spelt)[2], labels) for line in lines if spelt in line]
        tagged = [found for found in tagged if found]
        if tagged:
            return _only(tagged[-1])
    every = [_labels(line, labels) for line in lines]
    marked = [place for place, found in enumerate(every) if found]
    if not marked:
        return None
    last = marked[-1]
    ends = _ends_with_label(lines[last])
    if planted and not (ends and last == len(lines) - 1):
        return None
    return _only(every[last] if ends else [each for found in every for each in found])


def parse_label(label: str) -> Verdict | None:
    """Read a bare label such as ``A>>B``, as stored by other tools."""
    return _LABELS[5].get("".join(_fold(label).split()).strip("[]"))


def holds_label(text: str) -> bool:
    """Return whether a text contains a possible verdict of either scale."""
    folded = _fold(text)
    return bool(_DOUBLE.search(folded) or _SINGLE.search(folded))


def _own_lines(text: str) -> list[str]:
    """Return the non-empty lines that are the judge's own words, folded to plain capitals."""
    text = re.split(r"</think(?:ing)?>", text, flags=re.IGNORECASE)[-1]
    text = re.split(r"<think(?:ing)?>", text, maxsplit=1, flags=re.IGNORECASE)[0]
    kept: list[str] = []
    fence: int | None = None
    for line in text.splitlines():
        if not line.lstrip().startswith("```"):
            kept.append(line)
        elif fence is None:
            fence = len(kept)
        else:
            inside = [each for each in kept[fence:] if each.strip()]
            kept[fence:] = inside if len(inside) == 1 and holds_label(inside[0]) else []
            fence = None
    own = (line for line in kept if not line.lstrip().startswith(">"))
    return [folded for line in own if (folded := _fold(line).strip())]


def _only(found: list[Verdict | None]) -> Verdict | None:
    return found[0] if all(each == found[0] for each in found) else None


def _fold(text: str) -> str:
    """Fold full-width, escaped, emphasised and lower-case spellings of a label to the plain one."""
    text = unicodedata.normalize("NFKC", unescape(text)).translate(_FOLD)
    text = re.sub(r"\\gg\b", ">>", re.sub(r"\\ll\b", "<<", text))
    return text.replace("\\", "").upper()


def _labels(line: str, labels: dict[str, Verdict]) -> list[Verdict | None]:
    """Return the verdicts of a line; None stands for a bracketed label outside the set."""
    found = _DOUBLE.findall(line)
    if not found:
        # a single bracket is common in prose: it counts alone on its line or after a colon
        found = [
            match[1]
            for match in _SINGLE.finditer(line)
            if _LINE_END.fullmatch(line, match.end())
            and line[: match.start()].rstrip(" \"'(")[-1:] in ("", ":")
        ]
    return [labels.get("".join(label.split())) for label in found]


def _ends_with_label(line: str) -> bool:
    matches = [*_DOUBLE.finditer(line), *_SINGLE.finditer(line)]
    return any(_LINE_END.fullmatch(line, match.end()) for match in matches)
