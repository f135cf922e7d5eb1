"""A report page as a parser of its own sees it."""

import json
from html.parser import HTMLParser
from typing import Any


class Elements(HTMLParser):
    """The elements of a page, and the text of each script."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def data_of(page: bytes) -> Any:
    elements = Elements(page)
    assert elements.names.count("script") == 2
    assert "img" not in elements.names
    assert all(link == "data:," or link.startswith("#") for link in elements.links)
    return json.loads(elements.scripts[0])
