"""What is written whole, what is opened, and who holds a file."""

import gzip
import os
import resource
import socket
from pathlib import Path

import pytest

from micronas.errors import DataError, DiskError, MicronasError
from micronas.export.firmware.shared import write_folder
from micronas.files import aside, regular, write_atomically
from micronas.language.rows import read_rows


def half_written(target: Path) -> None:
    with aside(target) as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("half")
        raise ValueError("no more")


def test_what_fails_leaves_the_old_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    for content in ("old", "new"):
        write_atomically(target / "a", content.encode())
    with pytest.raises(ValueError, match="no more"):
        half_written(target)
    with pytest.raises(OSError, match="Directory not empty"), aside(target) as temporary:
        temporary.mkdir()
    assert [path.name for path in target.parent.rglob("*")] == ["folder", "a"]
    assert (target / "a").read_text() == "new"


def test_a_folder_takes_the_place_of_an_empty_one(tmp_path: Path) -> None:
    with aside(tmp_path / "a") as temporary:
        (temporary / "b").mkdir(parents=True)
        (temporary / "b/c").write_text("whole")
        (tmp_path / "a").mkdir()
    assert (tmp_path / "a/b/c").read_text() == "whole"


def test_an_error_names_the_file_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory: '.*/file/x'|File exists: '.*/file'"):
        write_atomically(tmp_path / "file/x", b"")
    with pytest.raises(OSError, match=r"^no errno$"), aside(tmp_path / "x"):
        raise OSError("no errno")


def test_a_full_disk_is_an_error_of_the_user_and_of_the_system(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(MicronasError, match=r"must have room .*: .*/a; free some") as caught:
            write_atomically(tmp_path / "a", bytes(8192))
        with pytest.raises(DiskError, match=r"must have room .*/b.*; free some"):
            write_folder({"a": bytes(8192)}, tmp_path / "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value, OSError)
    assert not list(tmp_path.iterdir())


def test_pipes_devices_and_sockets_are_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, kind in {"pipe": "named pipe", "device": "device", "socket": "socket"}.items():
            with pytest.raises(OSError, match=f"it is a {kind}: "):
                regular(tmp_path / name)
            with pytest.raises(OSError, match=f"it is a {kind}: "):
                write_atomically(tmp_path / name, b"")
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "device", "socket"}
    assert not (tmp_path / "pipe").is_file()


@pytest.mark.long
def test_a_packed_source_may_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * (2**28 + 1), 1))
    with pytest.raises(DataError, match="unpacks to more than 268,435,456 bytes"):
        read_rows(path)
