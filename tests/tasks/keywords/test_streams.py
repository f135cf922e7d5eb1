"""Long made-up recordings: what is said stands where the list says, by voices of its part."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from micronas.errors import ConfigError
from micronas.tasks.keywords.folder import STANDARD_KEYWORDS
from micronas.tasks.keywords.streams import Spoken, stream, synthesise_streams
from micronas.tasks.registry import sample
from micronas.tasks.waveform import RATE


def said(folder: Path) -> list[dict[str, str]]:
    with (folder / "events.csv").open() as file:
        return [*csv.DictReader(file)]


@pytest.mark.long
def test_keywords_stand_by_themselves_between_other_words(tmp_path: Path) -> None:
    folder = synthesise_streams(tmp_path / "streams", minutes=2)
    words = {part: said(folder / part) for part in ("validation", "testing")}
    others = [{each["label"] for each in rows} - {*STANDARD_KEYWORDS} for rows in words.values()]
    assert min(map(len, others)) > 10
    assert not others[0] & others[1]
    for part, rows in words.items():
        sound, rate = soundfile.read(folder / part / "000.wav", dtype="float64")
        assert (len(sound), rate) == (120 * RATE, RATE)
        loud = np.sqrt(np.mean(sound.reshape(-1, 160) ** 2, axis=1))  # of 10 ms
        inside = np.zeros(len(loud), bool)
        before = 0.0
        for row, after in zip(rows, [*rows[1:], None], strict=True):
            start, end = float(row["start"]), float(row["end"])
            inside[int(start * 100) : int(end * 100) + 1] = True
            if row["label"] in STANDARD_KEYWORDS:
                assert start - before >= 0.8
                assert after is None or float(after["start"]) - end >= 0.8
            before = end
        assert np.median(loud[inside]) > 3 * loud[~inside].max()
    again = synthesise_streams(tmp_path / "again", minutes=2)
    for name in ("validation/000.wav", "testing/events.csv"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_words_come_as_they_are_until_the_end() -> None:
    tone = np.sin(np.arange(RATE // 2))
    spoken = (Spoken(f"word {number}", tone, number % 2 == 1) for number in range(100))
    samples, marks = stream(spoken, 20.0, np.random.default_rng(0))
    assert [label for label, _, _ in marks] == [f"word {number}" for number in range(len(marks))]
    assert all(end - start == pytest.approx(0.5, abs=0.01) for _, start, end in marks)
    gaps = np.array([later[1] - each[2] for each, later in itertools.pairwise(marks)])
    assert (gaps[::2] < 0.62).all()
    assert (gaps[1::2] > 0.78).all()
    assert marks[-1][2] < 19.0 < marks[-1][2] + 5
    assert len(samples) == 20 * RATE


def test_other_tasks_have_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kws alone, but got series"):
        sample("series", tmp_path / "streams", minutes=1)
    with pytest.raises(ConfigError, match="kws --minutes and --made-up; leave out one of them"):
        sample("kws", tmp_path / "streams", minutes=1, made_up=1)
    with pytest.raises(ConfigError, match="a goal of kws is known of series alone"):
        sample("kws", tmp_path / "streams", minutes=1, goal="labels")
