"""Keep a key out of a stream, even if an expert sends it letter by letter."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from micronas.router.serve.protocol import Json, texts_of

_Path = tuple[int | str, ...]


@dataclass
class _Held:
    """A withheld piece, with its texts by path."""

    piece: Json
    texts: dict[_Path, str]


class Screen:
    """Pieces of a stream, withheld while the text so far may begin a secret, in one of its forms.

    `redacted` returns a text without them.
    """

    def __init__(self, secrets: Sequence[str], redacted: Callable[[str], str]) -> None:
        self._beginnings = {each[:end] for each in secrets for end in range(1, len(each))}
        self._longest = max(map(len, self._beginnings), default=0)
        self._redacted = redacted
        self._held: list[_Held] = []
        self._open: dict[_Path, int] = {}
        """Length of a possible beginning of a secret at the end of the text, by path."""

    def feed(self, piece: Json) -> Iterable[Json]:
        """Return the pieces that are now safe to pass on."""
        if not self._longest:
            return (piece,)
        texts: dict[_Path, str] = {}
        for path, _, _, text in texts_of(piece):
            texts[path] = texts.get(path, "") + text
        self._held.append(_Held(piece, texts))
        for path in texts:
            said = "".join(each.texts.get(path, "") for each in self._held)
            clean = self._redacted(said)
            if clean != said:
                self._say(path, clean)
                said = clean
            self._open[path] = self._beginning(said)
        return self._release()

    def end(self) -> Iterable[Json]:
        """Return the remaining pieces at the end of the stream."""
        left, self._held = self._held, []
        return [each.piece for each in left]

    def _beginning(self, said: str) -> int:
        lengths = range(min(len(said), self._longest), 0, -1)
        return next((length for length in lengths if said[-length:] in self._beginnings), 0)

    def _release(self) -> Iterable[Json]:
        """Release all pieces but the last ones, in which a secret may have begun."""
        self._open = {path: length for path, length in self._open.items() if length}
        if not self._open:
            return self.end()
        lacking, kept = dict(self._open), 0
        while any(length > 0 for length in lacking.values()):
            kept += 1
            for path, text in self._held[-kept].texts.items():
                lacking[path] = lacking.get(path, 0) - len(text)
        gone, self._held = self._held[:-kept], self._held[-kept:]
        return [each.piece for each in gone]

    def _say(self, path: _Path, text: str) -> None:
        """Replace the texts of withheld pieces at a path by a text."""
        for each in self._held:
            places = [found for found in texts_of(each.piece) if found[0] == path]
            for _, container, key, _ in places:
                container[key], text = text, ""
            if places:
                each.texts[path] = "".join(container[key] for _, container, key, _ in places)
                for choice in each.piece.get("choices", ()):
                    choice.pop("logprobs", None)  # they spell the text
