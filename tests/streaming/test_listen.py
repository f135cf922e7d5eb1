"""Recordings go through a run as through its firmware; what is chosen there firmware has."""

import base64
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from micronas.errors import ConfigError, DataError
from micronas.runs.device import device
from micronas.runs.ear import Ear
from micronas.runs.finished import listening
from micronas.runs.listen import listen
from micronas.runs.marks import Marked, read_marks
from micronas.streaming.events import Detector
from micronas.tflite.metadata import describe
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly
from tests.command import command, here
from tests.export.firmware.listening import (
    LABELS,
    RATE,
    SPEECH,
    WORDS,
    compiled,
    events,
    heard,
    spoken,
    trained,
)

SPOKEN = ("low", "unknown", "high", "unknown", "low", "high")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    described = describe(classes=LABELS, meaning=SPEECH)
    return to_flatbuffer(read(trained(tmp_path_factory)), metadata=described)


@pytest.fixture
def run(model: bytes, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(model)
    decided = {"thresholds": [20] * 4, "smoothing": 3, "ignored": ["silence", "unknown"]}
    (folder / "metrics.json").write_text(json.dumps({"decision": decided}))
    return folder


def recorded(folder: Path, words: tuple[str, ...] = SPOKEN, count: int = 2) -> Path:
    """Write recordings, a word every two seconds, and what is said in them."""
    folder.mkdir()
    rows = []
    for number in range(count):
        name = f"{number}.wav"
        soundfile.write(folder / name, spoken([*words], seed=number), RATE)
        rows += [(name, word, 1 + 2 * place, 1.6 + 2 * place) for place, word in enumerate(words)]
    with (folder / "events.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("recording", "label", "start", "end"), *rows])
    return folder


def test_events_are_those_of_each_window_by_itself(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "ten.wav", spoken(WORDS), RATE)
    found = listen(run, [tmp_path / "ten.wav"])
    said = [f"{each.label} at {each.position} ms (ahead by {each.score})" for each in found.events]
    data = (run / "model.tflite").read_bytes()
    known = device(run, data, read(data)).application
    assert known is not None
    assert said == events(read(data), known, spoken(WORDS))
    assert [each.label for each in found.events] == WORDS
    assert found.hours == pytest.approx(len(spoken(WORDS)) / RATE / 3600)


def test_the_command_chooses_and_firmware_says_the_same(run: Path, tmp_path: Path) -> None:
    """Thresholds of two recordings; a third goes through the program that was exported."""
    chosen = recorded(tmp_path / "chosen")
    options = ("--labels", str(chosen / "events.csv"), "--false-alarms", "0", "--gate", "20")
    done = command("listen", str(run), str(chosen), *options, "--hop", "5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["misses"], found["false_alarms"], found["occurrences"]) == (0, 0, 8)
    stored = json.loads((run / "detector.json").read_text())
    assert stored["detector"] == found["detector"]
    detector = Detector.of(stored["detector"])
    assert (detector.hop, detector.hold) == (5, 10)
    assert detector.gate > 0
    fewer = listen(run, [chosen], hop=10).detector
    assert (fewer.hop, fewer.hold, fewer.gate) == (10, 5, detector.gate)
    assert found["silent"] > 0.1
    shown = listening(run).shown
    assert shown.sound is not None
    assert len(base64.b64decode(shown.sound)) == 13 * 8_000  # the whole of it
    assert {each.label for each in shown.events} <= {each.label for each in shown.series}
    assert [each.label for each in shown.marks][:2] == [*SPOKEN[:2]]
    for event in shown.events:  # at the hop where its score is over the threshold
        (series,) = [each for each in shown.series if each.label == event.label]
        assert series.scores[shown.times.index(event.at)] >= series.threshold
    exported = ("export", "run", "--format", "project", "--engine", "micronas", "--out", "heard")
    assert command(*exported, cwd=tmp_path).returncode == 0
    other = spoken(["high", "low", "unknown", "low", "low"], seed=9)
    soundfile.write(tmp_path / "other.wav", other, RATE)
    said = [
        f"{each.label} at {each.position} ms"
        for each in listen(run, [tmp_path / "other.wav"]).events
    ]
    assert len(said) == 4
    lines = heard(compiled(tmp_path / "heard", main="app.cc"), other.tobytes())
    assert [re.sub(r"microphone: | \(.*", "", line) for line in lines] == said


def test_labels_give_the_curve_and_change_nothing(run: Path, tmp_path: Path) -> None:
    chosen = recorded(tmp_path / "chosen", count=1)
    marked = read_marks(chosen / "events.csv")
    soundfile.write(chosen / "short.wav", np.zeros(9), RATE)
    (chosen / "._0.wav").touch()  # as macOS writes beside a file
    (chosen / "1.wav").write_bytes((chosen / "0.wav").read_bytes()[:30])
    (chosen / "again").symlink_to(chosen)
    given = [chosen, chosen / "again" / "0.wav"]  # a file counts once
    found = listen(run, given, marked=[*marked, Marked("9.wav", "hum", 0, 1)])
    assert found.recordings == 2
    assert found.detector == Detector((None, 20, 20, None), smoothing=3)
    assert found.outcome.occurrences == 4
    assert found.choice.curve[-1].outcome.misses == 0
    *notes, damaged = found.notes
    assert notes == [
        "1 lines of --labels are of other recordings: 9.wav",
        "no labels of the network: hum",
        "too short for an inference: short.wav",
    ]
    assert re.fullmatch(r"left out: .*/1\.wav.*", damaged)  # not the work on the others
    with pytest.raises(DataError, match=r"1\.wav"):
        listen(run, [chosen / "1.wav"])
    assert found.choice.held_out is None  # nothing was chosen
    assert not (run / "detector.json").exists()


def sensor(folder: Path, channels: int = 1, **meaning: object) -> Path:
    """Write the run of a network of some channels, in whose model file stands what is given."""
    from micronas.graph.builder import Builder

    builder = Builder((8, 1, channels))
    graph = quantize_randomly(builder.finish(builder.dense(builder.input, "y", 2)))
    scale = {"limit": 4.0, "mean": [0.0] * channels, "deviation": [1.0] * channels}
    described = describe(
        classes=("rest", "step"), meaning={"features": "series", "window": 8, **scale, **meaning}
    )
    folder.mkdir()
    (folder / "model.tflite").write_bytes(to_flatbuffer(graph, metadata=described))
    return folder


def test_sensors_are_heard_in_readings(tmp_path: Path) -> None:
    """Readings are rows, and hours need a rate."""
    sensor(tmp_path / "run", columns=["force"])
    values = np.random.default_rng(0).normal(size=200).round(3)
    table = tmp_path / "a.csv"
    table.write_text("time,force\n" + "".join(f"{n},{each}\n" for n, each in enumerate(values)))
    found = listen(tmp_path / "run", [tmp_path], rate_hz=50.0)
    assert found.unit == "readings"
    assert found.hours == pytest.approx(200 / 50 / 3600)
    assert found.events
    assert all((each.position - 8) % 4 == 0 for each in found.events)
    metrics = tmp_path / "run/metrics.json"
    for ignored, told in (([], {"rest"}), (["rest"], {"step"})):  # rest lasts, and blocks step
        decided = {"thresholds": [1, -255], "ignored": ignored}
        metrics.write_text(json.dumps({"decision": decided}))
        made = listen(tmp_path / "run", [tmp_path], rate_hz=50.0).events
        assert {each.label for each in made} == told
    metrics.unlink()
    # beside the recordings, as a spreadsheet writes it, and a line twice
    lines = 2 * "a.csv; step;3,0;9\n"
    (tmp_path / "marks.csv").write_text(f"recording; label;start;end\n{lines}")
    assert read_marks(tmp_path / "marks.csv") == [Marked("a.csv", "step", 3, 9)]
    assert listen(tmp_path / "run", [tmp_path], rate_hz=50.0) == found
    seconds = [Marked("a.csv", "step", 0.06, 0.18)]
    with pytest.raises(DataError, match=r"whole numbers of readings .* begins at 0\.06"):
        listen(tmp_path / "run", [table], rate_hz=50.0, marked=seconds)
    done = command("listen", "run", "a.csv", "--labels", "marks.csv", cwd=tmp_path)
    assert (done.returncode, "give --rate" in done.stderr) == (2, True)
    # as spreadsheets write it, which training reads, too
    rows = "".join(f'{n};"{each}"\n'.replace(".", ",") for n, each in enumerate(values))
    table.write_text('\ufefftime;"force"\n' + rows)
    assert listen(tmp_path / "run", [table, table], rate_hz=50.0) == found
    table.write_text("time,force\n" + "".join(f"{n},\n" for n in range(200)))
    done = command("listen", "run", "a.csv", cwd=tmp_path)
    assert (done.returncode, "reading 1 of a.csv lacks one" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("header", "time", "said"),
    [
        ("time_s,force,label", lambda n: f"{n / 50}", ""),
        ("time_s,force,label", lambda n: f"{n / 50 + 0.1 * (n > 90)}", ""),
        ("time_s,force,label", lambda n: f"{n / 50 + 9 * (n > 90)}", "after reading 91; cut"),
        ("time_s,force,label", lambda n: f"{n / 50 - 1 * (n > 90)}", "after reading 91; cut"),
        ("time_s,force,label", lambda n: f"{n / 100}", "the 50 readings .* by column .* has 100;"),
        ("time,force,label", lambda n: f"2026-01-01T00:00:{n % 60:02}", "by column .* has 1;"),
        ("volts,force,label", lambda n: "3.7", "does not name them, .* has volts, force; delete"),
    ],
)
def test_readings_are_of_the_rate_and_the_columns_of_training(
    header: str, time: Callable[[int], str], said: str, tmp_path: Path
) -> None:
    """Events were those of other columns, or as if time had no gaps; long names have no room."""
    run = sensor(tmp_path / "run", rate_hz=50.0)
    lines = [f"{time(number)},{number % 7},rest" for number in range(200)]
    (tmp_path / "a.csv").write_text("\n".join([header, *lines]))
    if said:
        with pytest.raises(DataError, match=said):
            listen(run, [tmp_path / "a.csv"])
    else:
        assert listen(run, [tmp_path / "a.csv"]).hours == pytest.approx(200 / 50 / 3600)
    with pytest.raises(ConfigError, match="run says 50; leave it out"):
        listen(run, [tmp_path / "a.csv"], rate_hz=100.0)


@pytest.mark.parametrize("file", ["config.yaml", "history.json"])
def test_columns_of_a_run_are_heard_in_their_order(tmp_path: Path, file: str) -> None:
    """Their names are too long for the model file, and readings were taken as the file has them."""
    run = sensor(tmp_path / "run", 2)
    (run / file).write_text('{"data": {"columns": ["pressure_of_oil", "speed_of_shaft"]}}')
    lines = (f"{number},7,{-number}" for number in range(20))
    (tmp_path / "a.csv").write_text("\n".join(["speed_of_shaft,gear,pressure_of_oil", *lines]))
    assert Ear(run, None, 50.0).read(tmp_path / "a.csv")[3].tolist() == [-3, 3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nothing"), "holds none; name another"),
        (("run", "a.wav", "--false-alarms", "1"), "--labels is left out"),
        (("run", "a.wav", "--labels", "a.wav"), "--labels must be a CSV file"),
        (("run", "a.wav", "--labels", "bad.csv"), "line 3 of bad.csv has not"),
        (("run", "a.wav", "--labels", "comma.csv"), "comma.csv has not (6 values of 4)"),
        (("run", "a.wav", "--labels", "none.csv"), "none.csv begins with nothing; write"),
        (("run", "a.wav", "--labels", "case.csv"), "has 'Low' for 'low'; mend it"),
        (("run", "a.wav", "--labels", "foreign.csv"), "low, high, unknown, but has lo alone; mend"),
        (("run", "a.wav", "--labels", "other.csv"), "such as a.wav, but has b.wav; mend"),
        (("run", "a.wav", "--labels", "end.csv"), "ends at 600, and a.wav ends at 1; mend"),
        (("run", "a.wav", "--labels", "ms.csv"), "ends at 600, and a.wav ends at 1; mend"),
        (("plain.tflite", "none.wav", "--labels", "ms.csv", "--misses", "5"), "'plain.tflite' is"),
        (("plain.tflite", "a.wav"), "must tell labels of sound or of sensors"),
    ],
)
def test_what_cannot_be_heard_is_one_line(
    arguments: tuple[str, ...],
    said: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    for name, lines in {
        "bad": ",,,\na.wav,low,2,1",
        "comma": "a.wav,low,0,1,0,6",
        "case": "a.wav,Low,0,1",
        "other": "b.wav,low,0,1",
        "foreign": "a.wav,lo,0,1",
        "end": "a.wav,low,0,600",
    }.items():
        (tmp_path / f"{name}.csv").write_text(f"recording,label,start,end\n{lines}\n")
    (tmp_path / "none.csv").touch()
    # milliseconds, in a file of a spreadsheet, which begins with a mark of its encoding
    (tmp_path / "ms.csv").write_text("\ufeffrecording,label,start,end\na.wav,low,100,600\n")
    (tmp_path / "plain.tflite").write_bytes(
        to_flatbuffer(read((run / "model.tflite").read_bytes()))
    )
    ended = here(["listen", *arguments])
    assert ended.code == 2
    assert said in ended.err.strip().splitlines()[-1]
