"""Damaged model files given to `micronas profile`: a report or one line, never anything else."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from micronas import cli
from micronas.tflite.metadata import describe
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
from testing.networks import random_network
from tests.command import complaints
from tests.limited import limited

_SECONDS = 5


def models() -> list[bytes]:
    described = describe(classes=["yes", "no"], meaning={"features": "mfcc", "window_ms": 30})
    return [
        to_flatbuffer(random_int8_graph(0, family="ds_cnn"), metadata=described),
        to_flatbuffer(random_int8_graph(1, family="mobilenet")),
        to_flatbuffer(random_network(2)),
    ]


def damaged(model: bytes, source: random.Random) -> bytes:
    """Cut a file off, overwrite bytes or words of it, or move a piece of it."""
    data = bytearray(model)
    kind = source.randrange(4)
    if kind == 0:
        return bytes(data[: source.randrange(len(data))])
    if kind == 1:
        for _ in range(source.randint(1, 20)):
            data[source.randrange(len(data))] = source.randrange(256)
    elif kind == 2:  # words at the end of the file are its root, vectors and offsets
        for _ in range(source.randint(1, 4)):
            place = source.choice([source.randrange(0, 64), source.randrange(len(data) - 4)])
            word = source.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, source.getrandbits(32)])
            data[place // 4 * 4 : place // 4 * 4 + 4] = word.to_bytes(4, "little")
    else:
        start, size = source.randrange(len(data)), source.randint(1, 64)
        piece = data[start : start + size]
        target = source.randrange(len(data))
        data[target : target + len(piece)] = piece
    return bytes(data)


def check(
    seeds: range,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> int:
    """Profile one damaged file a seed; return how many were still good for a report."""
    path, reports, originals = folder / "net.tflite", 0, models()
    monkeypatch.setattr(sys, "argv", ["micronas", "profile", str(path), "--board", "all"])
    for seed in seeds:
        path.write_bytes(damaged(originals[seed % len(originals)], random.Random(seed)))
        with limited(_SECONDS), pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        if ended.value.code in (0, None):
            reports += 1
            assert "latency" in printed.out, seed
            assert complaints(printed.err) == "", seed
        else:
            assert ended.value.code == 2, seed
            assert printed.out == "", seed
            assert complaints(printed.err).startswith("error: "), seed
            assert len(complaints(printed.err).splitlines()) == 1, (seed, printed.err)
        assert list(folder.iterdir()) == [path]
    return reports


def test_damaged_files_end_in_a_report_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = check(range(20, 44), tmp_path, monkeypatch, capsys)
    assert 0 < reports < 24  # weights may be damaged without a sign; structure may not


@pytest.mark.slow
def test_many_damaged_files_end_in_a_report_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 < check(range(60, 2300), tmp_path, monkeypatch, capsys) < 2240


def test_a_process_ends_the_same_way(tmp_path: Path) -> None:
    path, originals = tmp_path / "net.tflite", models()
    for seed in range(2):
        path.write_bytes(damaged(originals[seed % len(originals)], random.Random(seed)))
        done = subprocess.run(
            [sys.executable, "-m", "micronas", "profile", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 2), seed
        assert len(complaints(done.stderr).splitlines()) == (1 if done.returncode else 0), seed
        assert (done.returncode == 0) == ("latency" in done.stdout), seed
    assert list(tmp_path.iterdir()) == [path]
