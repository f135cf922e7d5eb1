"""Downloads from a real server on this machine that cuts, refuses, and sends something else."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from micronas.errors import DataError
from micronas.tasks import registry
from micronas.tasks.download import Archive, fetch


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PACK = {"data.zip": zip_of, "data.tar.gz": tar_of}
# Noise, so that packing does not make it short.
NOISE = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(256))
TAR = tar_of(**{"./yes/a.wav": NOISE, "README": b"read"})


@dataclass
class Server:
    """What is served, how, and what was asked for."""

    content: bytes
    ranges: bool = True
    cut_after: int | None = None
    """Bytes after which every answer ends."""
    failures: list[int] = field(default_factory=list)
    """Status codes to answer with first."""
    asked: list[str] = field(default_factory=list)
    """Range header of each request."""
    address: str = ""

    def archive(self, name: str = "data.tar.gz", **changes: object) -> Archive:
        digest = f"sha256:{hashlib.sha256(self.content).hexdigest()}"
        plain = Archive(f"{self.address}/{name}", len(self.content), digest, "data", 10_000)
        return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server(TAR)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            served.asked.append(asked)
            self.close_connection = True
            if served.failures:
                self.send_error(served.failures.pop(0))
                return
            content, start = served.content, 0
            if served.ranges and asked:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
                self.send_response(206)
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: served.cut_after])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield served
        http.shutdown()
        thread.join()


def test_an_archive_becomes_a_folder_and_nothing_else_stays(server: Server, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    fetch(
        server.archive(),
        tmp_path / "new",
        progress=lambda name, done, total, _: told.append((name, done, total)),
    )
    assert (tmp_path / "new/data/yes/a.wav").read_bytes() == NOISE
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data"]
    assert told[-1] == ("data.tar.gz", len(TAR), len(TAR))
    fetch(server.archive(), tmp_path / "new")
    assert server.asked == [""]


def test_a_cut_connection_is_continued_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut_after = 3000
    pauses: list[float] = []
    fetch(server.archive(), tmp_path, sleep=pauses.append)
    assert (tmp_path / "data/yes/a.wav").read_bytes() == NOISE
    assert len(TAR) > 6000
    assert server.asked == ["", *(f"bytes={start}-" for start in range(3000, len(TAR), 3000))]
    assert set(pauses) == {1.0}


@pytest.mark.parametrize(
    ("left", "ranges", "asked"),
    [
        (TAR[:5000], True, ["bytes=5000-"]),
        (b"x" * 5000, False, ["bytes=5000-"]),
        (b"x" * 5000, True, ["bytes=5000-", ""]),
        (b"x" * len(TAR), True, None),
        (b"x" * (len(TAR) + 1), True, None),
    ],
    ids=["its begin", "no ranges", "another file", "another of its size", "a larger one"],
)
def test_what_an_earlier_run_left_is_continued_or_thrown_away(
    server: Server, tmp_path: Path, left: bytes, ranges: bool, asked: list[str] | None
) -> None:
    server.ranges = ranges
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download/data.tar.gz").write_bytes(left)
    fetch(server.archive(), tmp_path)
    assert (tmp_path / "data/yes/a.wav").read_bytes() == NOISE
    assert server.asked == asked if asked else server.asked[-1] == ""


@pytest.mark.parametrize(
    ("changes", "said", "asked"),
    [
        ({"checksum": "md5:0123"}, r"must have the checksum md5:0123", 1),
        ({"size": len(TAR) + 1}, f"has {len(TAR)} bytes and not {len(TAR) + 1}", 1),
        ({"unpacked": 10**18}, "needs space for the archive", 0),
    ],
    ids=["another checksum", "another size", "too little space"],
)
def test_what_cannot_be_the_archive_leaves_nothing(
    server: Server, tmp_path: Path, changes: dict[str, object], said: str, asked: int
) -> None:
    with pytest.raises(DataError, match=said):
        fetch(server.archive(**changes), tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.rglob("*.gz")) == []
    assert not (tmp_path / "data").exists()
    assert len(server.asked) == asked


def test_busy_servers_are_asked_again_and_missing_files_are_not(
    server: Server, tmp_path: Path
) -> None:
    pauses: list[float] = []
    server.failures = [503, 429, 500]
    fetch(server.archive(), tmp_path / "busy", sleep=pauses.append)
    assert pauses == [1.0, 2.0, 4.0]
    server.failures, server.asked = [404], []
    with pytest.raises(DataError, match=r"data\.tar\.gz answers 404"):
        fetch(server.archive(), tmp_path / "missing")
    assert len(server.asked) == 1


def test_a_dead_server_is_given_up(server: Server, tmp_path: Path) -> None:
    pauses: list[float] = []
    server.cut_after = 0
    with pytest.raises(DataError, match=r"failed 6 times in a row .*run the same command again"):
        fetch(server.archive(), tmp_path, sleep=pauses.append)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil"])
@pytest.mark.parametrize("kind", PACK)
def test_nothing_is_written_outside(server: Server, tmp_path: Path, kind: str, name: str) -> None:
    server.content = PACK[kind](**{name: b"x"})
    folder = tmp_path / "a/b/c"
    if kind == "data.tar.gz" and name.startswith("/"):
        fetch(server.archive(kind), folder)  # the leading slash is dropped
        assert (folder / "data/tmp/evil").read_bytes() == b"x"
    else:
        with pytest.raises(DataError, match="must hold only files of its own"):
            fetch(server.archive(kind), folder)
        assert not (folder / "data").exists()
        assert list(tmp_path.rglob("evil")) == []
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("kind", PACK)
def test_links_out_of_the_archive_are_refused(server: Server, tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "data.zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            member = tarfile.TarInfo("link")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(member)
    server.content = buffer.getvalue()
    with pytest.raises(DataError, match="must hold only files of its own"):
        fetch(server.archive(kind), tmp_path)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("kind", PACK)
def test_no_more_is_unpacked_than_was_published(server: Server, tmp_path: Path, kind: str) -> None:
    server.content = PACK[kind](**{f"a{number}": bytes(4_000) for number in range(3)})
    with pytest.raises(DataError, match=r"holds more than the 10\.0 KB of the one that was"):
        fetch(server.archive(kind), tmp_path)
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_no_archive_is_one_line(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>try later</html>"
    with pytest.raises(DataError, match="cannot be unpacked") as caught:
        fetch(server.archive("data.zip"), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_data_set_is_all_its_archives(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = zip_of(**{"first/x.txt": b"x"})
    first = server.archive("first.zip", folder="first")
    second = server.archive("second.zip", folder="second")
    monkeypatch.setattr(registry.find("kws"), "archives", (first, second))
    registry.download("kws", tmp_path)
    # The archive's only folder is the data set's; a folder of another name lies in it.
    assert (tmp_path / "first/x.txt").read_bytes() == b"x"
    assert (tmp_path / "second/first/x.txt").read_bytes() == b"x"
    monkeypatch.setattr(registry.find("vww"), "archives", ())
    with pytest.raises(DataError, match="vww has none; micronas data synth vww"):
        registry.download("vww", tmp_path)


def test_the_published_archives_are_complete() -> None:
    for archive in (each for name in registry.names() for each in registry.find(name).archives):
        algorithm, digest = archive.checksum.split(":")
        assert len(digest) == {"sha256": 64, "md5": 32}[algorithm]
        assert re.fullmatch(r"[0-9a-f]+", digest)
        # MD5 is all that the publishers of COCO and DCASE give
        assert algorithm == "sha256" or re.search("cocodataset|zenodo", archive.url)
        assert archive.unpacked > archive.size > 1e8
        assert archive.name.endswith((".zip", ".tar.gz"))
