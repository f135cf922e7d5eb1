"""Every link leads somewhere; those that leave the project are read, not followed."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links


def broken(page: Path, link: str) -> str:
    """Say what is wrong with a link, or nothing."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        well_formed = parts.scheme == "https" and "." in parts.netloc and "@" not in parts.netloc
        return "" if well_formed else "not an https address of a host"
    target = (page.parent / parts.path).resolve() if parts.path else page
    if not target.exists():
        return "no such file"
    if parts.fragment and parts.fragment not in anchors(target):
        return f"no such heading; there are {', '.join(sorted(anchors(target)))}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    complaints = {link: broken(page, link) for link in links(page)}
    assert not {link: why for link, why in complaints.items() if why}


def test_broken_links_are_found(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    page.write_text("# A `title`\n[a](other.md#there) [b](#a-title)\n```bash\n[x](none.md)\n```\n")
    other.write_text("text\n\n## There\n")
    assert links(page) == ["other.md#there", "#a-title"]
    assert [broken(page, link) for link in links(page)] == ["", ""]
    for link in ("none.md", "other.md#here", "#title", "http://example.org", "https://nowhere"):
        assert broken(page, link)


def test_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "tutorial.md", "method.md", "router.md", "my-loop.md"} <= names
