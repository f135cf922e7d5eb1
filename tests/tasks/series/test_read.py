"""Which recordings a source holds: separators, labels, groups, time, windows; what is refused."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError, DataError
from micronas.export.firmware.front_ends import Series
from micronas.runs.settings import load_run
from micronas.tasks.checked import Checked
from micronas.tasks.recorded import files, whole
from micronas.tasks.series.check import check
from micronas.tasks.series.csv_table import read_header, read_table
from micronas.tasks.series.load import load
from micronas.tasks.series.recordings import read_columns, read_recordings
from micronas.tasks.series.settings import SeriesSettings
from tests.fuzz.series import CORPUS, read_known
from tests.limited import limited
from tests.tasks.series import tables
from tests.tasks.series.tables import write


def settings(path: Path, **given: object) -> SeriesSettings:
    return tables.settings(path, **{"window": 8, **given})


@given(
    st.sampled_from([",", ";", "\t"]),
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=9),
    st.booleans(),
)
def test_any_separator_gives_the_numbers_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, mark: str, rows: list[list[float]], named: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    head = [mark.join("xyz")] if named else []
    write(path, *head, *(mark.join(map(repr, row)) for row in rows))
    header = read_header(path)
    assert header.names == (("x", "y", "z") if named else ("c1", "c2", "c3"))
    assert read_table(header, header.names)[0].tolist() == rows


@pytest.mark.parametrize("mark", [";", "\t"])
@pytest.mark.parametrize("head", [["x;y"], []])
@pytest.mark.parametrize("missing", ["", "N/A", "#N/A", "<NA>"])
def test_decimal_commas_and_missing_values(
    tmp_path: Path, head: list[str], mark: str, missing: str
) -> None:
    lines = (line.replace(";", mark) for line in (*head, "1,5;2,25", f"{missing};3,25"))
    path = write(tmp_path / "a.csv", *lines)
    header = read_header(path)
    values, _ = read_table(header, header.names)
    assert values[0].tolist() == [1.5, 2.25]
    assert np.isnan(values[1, 0])
    assert values[1, 1] == 3.25


def test_one_file_with_columns_of_labels_groups_and_time(tmp_path: Path) -> None:
    """A change of group and a jump in time end a recording, a change of label does not."""
    times = [*range(0, 100, 20), *range(1000, 1100, 20), *range(1100, 1200, 20)]
    labels = ["walk"] * 10 + ["run"] * 5
    rows = [
        f"{time},{label},{'anna' if place < 12 else 'ben'},{place},{-place}"
        for place, (time, label) in enumerate(zip(times, labels, strict=True))
    ]
    path = write(tmp_path / "all.csv", "timestamp_ms,activity,subject,ax,ay", *rows)
    found = read_recordings(settings(path))
    assert found.columns == ("ax", "ay")
    assert [(each.label, each.group, len(each.values)) for each in found.recordings] == [
        ("walk", "anna", 5),
        ("walk", "anna", 7),
        ("run", "ben", 3),
    ]
    assert [each.changes for each in found.recordings] == [(), ((5, "run"),), ()]
    stretches = [each for recording in found.recordings for each in recording.stretches()]
    assert [len(each.values) for each in stretches] == [5, 5, 2, 3]
    assert stretches[2].values[0].tolist() == [10.0, -10.0]
    assert found.recordings[1].values[0].tolist() == [5.0, -5.0]
    assert found.recordings[0].rate_hz == pytest.approx(50)
    assert read_columns(settings(path)) == ("ax", "ay")


def test_folders_of_classes_and_parts(tmp_path: Path) -> None:
    for name in ("train/up/a_1.csv", "train/up/a_2.csv", "test/down/b-1.csv"):
        write(tmp_path / name, "x", "1", "2")
    write(tmp_path / "train/up/broken.csv", "x", "1", "two")
    write(tmp_path / "README.txt", "not, a recording")
    found = read_recordings(settings(tmp_path, group="prefix"))
    assert [(each.label, each.part, each.group) for each in found.recordings] == [
        ("down", "testing", "b"),
        ("up", "training", "a"),
        ("up", "training", "a"),
    ]
    assert "broken.csv line 3 has 'two' in column 'x'" in found.unreadable[0]


def test_a_class_without_a_file_is_named(tmp_path: Path) -> None:
    for name in ("up/a.csv", "train/down/b.csv", "up/more/c.csv"):
        write(tmp_path / name, "x,label", "1,here", "2,there")
    for name in ("still", "test/walk", "up/pictures", "validation", ".git", "_old"):
        (tmp_path / name).mkdir(parents=True)
    said = "a class's folder must hold CSV files, but {} has none"
    empty = [said.format(tmp_path / name) for name in ("still", "test/walk")]
    assert read_recordings(settings(tmp_path)).unreadable == empty
    assert read_recordings(settings(tmp_path, label="label")).unreadable == []


def test_parts_may_stand_below_classes(tmp_path: Path) -> None:
    """A user's people for test were dealt out among all parts, training included."""
    for name in ("up/Train/a.csv", "up/test/b.csv", "down/c.csv"):
        write(tmp_path / name, "x", "1", "2")
    found = read_recordings(settings(tmp_path)).recordings
    assert [(each.label, each.part) for each in found] == [
        ("down", None),
        ("up", "training"),
        ("up", "testing"),
    ]


def test_a_named_column_of_labels_counts_more_than_folders(tmp_path: Path) -> None:
    """Folders of people became the classes."""
    for person in ("ann", "bob"):
        write(tmp_path / person / "a.csv", "x,activity", "1,walk", "2,run")
    assert read_recordings(settings(tmp_path)).layout.endswith("column activity is not read")
    found = read_recordings(settings(tmp_path, label="activity"))
    assert found.layout == "CSV with a column of labels"
    assert [each.labels for each in found.recordings] == [("walk", "run")] * 2


def test_a_channel_by_the_name_of_a_time_is_one_where_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / "falls/on/a.csv", "t,h", "20,1", "19,3", "18,2")
    with pytest.raises(DataError, match=r"or t in data\.columns where it is no time"):
        read_recordings(settings(tmp_path / "falls"))
    write(tmp_path / "jumps/on/a.csv", "t,h", "20,1", "21,3", "19,2", "22,2")
    (found,) = read_recordings(settings(tmp_path / "jumps", columns=("t", "h"))).recordings
    assert (found.values[:, 0].tolist(), found.rate_hz) == ([20, 21, 19, 22], None)
    heard = Series(3, (20.0, 2.0), (1.0, 1.0), limit=4.0)
    samples = whole(
        tmp_path / "jumps/on/a.csv", {"features": "series", "columns": ["t", "h"]}, heard
    )
    assert samples.tolist() == found.values.tolist()


def test_tables_with_tabs_are_found_as_in_training(tmp_path: Path) -> None:
    path = write(tmp_path / "on/a.tsv", "x\ty", "1\t2", "2\t3")
    assert [each.name for each in read_recordings(settings(tmp_path)).recordings] == ["on/a.tsv"]
    assert files([tmp_path], {"features": "series"}) == [path]


def test_another_encoding_is_told_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\xb0C,label\n1,a\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"in UTF-8, but .*a\.csv is not: .*; save it anew$"):
        read_recordings(settings(tmp_path / "a.csv"))


def test_arrays_of_classes_and_windows(tmp_path: Path) -> None:
    np.savez(tmp_path / "classes.npz", good=np.zeros(30), bad=np.ones(20))
    found = read_recordings(settings(tmp_path / "classes.npz"))
    assert {each.label: each.values.shape for each in found.recordings} == {
        "good": (30, 1),
        "bad": (20, 1),
    }
    x, y = np.arange(6 * 8 * 2.0).reshape(6, 8, 2), np.array(["a", "b"] * 3)
    np.savez(tmp_path / "w.npz", x=x, y=y, groups=[0, 0, 1, 1, 2, 2])
    found = read_recordings(settings(tmp_path / "w.npz"))
    assert found.windowed
    assert read_columns(settings(tmp_path / "w.npz")) == ("c1", "c2")
    assert [each.group for each in found.recordings] == ["0", "0", "1", "1", "2", "2"]
    with pytest.raises(
        DataError, match=r"x \[N, 9, channels\] \(data.window\), .* 8 samples; set data.window=8"
    ):
        read_recordings(settings(tmp_path / "w.npz", window=9))
    parts = np.array(["train", "test", "Val", "", "test", "train"])
    np.savez(tmp_path / "w.npz", x=x, y=y, group=[0] * 6, part=parts)
    found = read_recordings(settings(tmp_path / "w.npz"))
    assert [each.part for each in found.recordings] == [
        *("training", "testing", "validation", None, "testing", "training")
    ]
    assert found.left_out == {"group": "not x, y, groups or part"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"part": [0, 0, 1, 1, 2, 2]}, "part must hold training, .* has 0, 1, 2; save it again"),
        ({"part": ["train", "tset"] * 3}, "or nothing for training, but that of .* has tset;"),
        ({"y": [0, 1, 2, np.nan, 0, 1]}, r"labels must have 1 to .* but that of x\[3\] is ''"),
        ({"y": ["a", "b", "nan"] * 2}, "a label must not be missing, but .* has 'nan'; leave it"),
        ({"y": ["0", "1e0", "01"] * 2}, "a number must be spelt one way .* '01' and '1e0'"),
        (
            {"x": np.zeros((6, 2, 8))},
            r"are \[6, 2, 8\], with 8 samples .* save x.transpose\(0, 2, 1\)",
        ),
        ({"y": [0, 0, 0, 0, 1, 1]}, "a group for each of 3 parts .* but 1 has 2; add groups"),
    ],
)
def test_windows_that_no_part_or_class_can_take_are_refused(
    tmp_path: Path, given: dict[str, object], message: str
) -> None:
    """Those of ``tset`` would train, and missing labels would be a class of their own."""
    np.savez(tmp_path / "w.npz", **{"x": np.zeros((6, 8, 2)), "y": [0, 1] * 3, **given})
    with pytest.raises(DataError, match=message):
        load(settings(tmp_path / "w.npz"))


def test_recordings_without_labels_are_normal_where_anomalies_are_to_be_found(
    tmp_path: Path,
) -> None:
    plain = write(tmp_path / "a.csv", "x,y", "1,2", "3,5")
    np.savez(tmp_path / "w.npz", x=np.arange(6 * 8 * 2.0).reshape(6, 8, 2))
    for path in (plain, tmp_path / "w.npz"):
        with pytest.raises(DataError, match=r"must have labels.*data.goal=anomalies where none"):
            read_recordings(settings(path))
        found = read_recordings(settings(path, goal="anomalies", normal="well"))
        assert {each.label for each in found.recordings} == {"well"}


@pytest.mark.parametrize(
    ("lines", "given", "message"),
    [
        (["x,y", "1,2"], {}, "must have labels, but .* has no column label or class"),
        (["x,label", "1,a"], {"columns": ["z"]}, "must have the column 'z', but .* has x, label"),
        (["label", "a"], {}, "must have a column of numbers, but .* has label"),
        (["x|y|label", "1|2|a"], {}, r"by commas, .* but .* begins with 'x\|y\|label'; save it"),
        (["0.1  0.2", "0.3  0.4"], {}, "by commas, semicolons or tabs, but .* '0.1  0.2'"),
        (["x,label", "1,a", "?,a"], {}, r"line 3 has '\?' .*; write .* leave it empty where it is"),
        (
            ["y,z,label", ",u,a", ",v,b"],
            {},
            r"of numbers, but .* has y \(no value\), z \(no numbers\)",
        ),
        (
            ["x,y,label", "1,,a", "2,,b"],
            {"columns": ["x", "y"]},
            "has none in y; take it out of data.columns",
        ),
        (["x,x", "1,2"], {}, "names of their own"),
        (
            ["x,fan", "1,True"],
            {"goal": "labels", "target": ["fan"]},
            r"line 2 has 'True' in column 'fan'; write a number \(1 for true",
        ),
        (["x,label", "1,a", "2,NaN"], {}, "must not be missing, but .* has 'NaN'; leave it empty"),
        (["x,label", "1,1", "2,1.0", "3,2"], {}, "spelt one way .* has '1' and '1.0'; write all"),
        ([""], {}, "must have lines, but .* is empty"),
        (
            ["time,x,label", "3,1,a", "2,5,a", "1,4,a"],
            {},
            "must rise, but .* fall after line 2; sort its lines by time, or name its sessions",
        ),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, lines: list[str], given: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_recordings(settings(write(tmp_path / "a.csv", *lines), **given))


def test_no_such_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist; correct data.path, or make a sample"):
        read_recordings(settings(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds none; export them as .csv"):
        read_recordings(settings(tmp_path / "empty"))


@pytest.mark.parametrize("name", [".", "a.csv", "a.npz"])
def test_a_named_pipe_is_refused(tmp_path: Path, name: str) -> None:
    """Opening one waits for somebody to write to it."""
    for each in ("a.csv", "a.npz"):
        os.mkfifo(tmp_path / each)
    with limited(20), pytest.raises(DataError, match="named pipe"):
        read_recordings(settings(tmp_path / name))


@pytest.mark.parametrize("what", CORPUS)
def test_files_that_lie_end_in_data_or_one_line(tmp_path: Path, what: str) -> None:
    """Each once ended in a traceback, gigabytes, minutes, or other values than were written."""
    said, wanted = read_known(what, tmp_path), CORPUS[what][1]
    assert re.search(wanted, said) if wanted else said == ""


def test_a_quoted_column_does_not_move_values(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,note,label", '1,"a, b",u', '"2",c,u', "", "3,d,v")
    values, (labels,) = read_table(read_header(path), ["x"], ["label"])
    assert values.tolist() == [[1.0], [2.0], [3.0]]
    assert [labels.names[code] for code in labels.codes] == ["u", "u", "v"]


@pytest.mark.parametrize(
    ("column", "step"),
    [
        ("time (ms)", 20),
        ("Time [s]", 0.02),
        ("timestamp", 20_000),  # nobody says the unit: 20 ms rather than 20,000 s
        ("Timestamp.ns", 2e7),
        ("t_us", 2e4),
    ],
)
def test_a_column_of_time_is_no_channel_whatever_its_unit(
    tmp_path: Path, column: str, step: float
) -> None:
    since = 1_700_000_000_000  # a date in ms, of which float32 keeps two minutes
    rows = [f"{since + i * step:.3f},{i % 7},{i % 5}" for i in range(40)]
    write(tmp_path / "on/a.csv", f"{column},temperature [C],totals", *rows)
    found = read_recordings(settings(tmp_path))
    assert found.columns == ("temperature [C]", "totals")
    assert [round(each.rate_hz or 0) for each in found.recordings] == [50]
    assert [each.assumed for each in found.recordings] == ["us" * (column == "timestamp")]


def test_times_of_a_telephone_count_nanoseconds(tmp_path: Path) -> None:
    """A date in ns; taken as us, two samples at 50 Hz would be 20 s apart."""
    rows = [f"{1_700_000_000_000_000_000 + i * 20_000_000},{i % 7}" for i in range(40)]
    write(tmp_path / "on/a.csv", "time,x", *rows)
    (found,) = read_recordings(settings(tmp_path)).recordings
    assert (round(found.rate_hz or 0), found.assumed) == (50, "ns")


def test_a_unit_of_time_that_was_assumed_is_told(tmp_path: Path) -> None:
    """A reading a second was one a millisecond, and all times of a device 1000 times too short."""
    for name in ("time", "time_s"):
        for place, label in enumerate("ab" * 4):
            rows = [f"{i},{i * i % 13 + place}" for i in range(40)]
            write(tmp_path / f"{name}/{label}/{place}.csv", f"{name},x", *rows)
        told = "is taken as ms: name it time_s" in load(settings(tmp_path / name)).summary
        assert told == (name == "time")


def test_a_number_of_each_recording_is_no_channel(tmp_path: Path) -> None:
    """It would tell a network which recording it sees."""
    for number in range(3):
        write(tmp_path / f"on/{number}.csv", "x,person", *(f"{i % 7},{number}" for i in range(40)))
    with pytest.raises(DataError, match=r"'person' has one value in each of 3 .*group=person"):
        read_recordings(settings(tmp_path))
    assert read_recordings(settings(tmp_path, group="person")).columns == ("x",)
    assert read_recordings(settings(tmp_path, columns=("x",))).columns == ("x",)


def test_names_of_data_may_be_numbers() -> None:
    given = ["board=stm32f446re", "data.path=x", "data.goal=anomalies", "data.normal=0"]
    found = load_run("series", [*given, "data.columns=[1, 2]"]).data
    assert (found.normal, found.columns) == ("0", ("1", "2"))


def test_check_says_once_what_many_files_have(tmp_path: Path) -> None:
    for number in range(5):
        rows = [f"{number + i % 3},0" for i in range(40)]
        write(tmp_path / f"on/{number}.csv", "x,y", *rows)
    write(tmp_path / "on/5.csv", "x,y", *("1,1" for _ in range(40)))
    findings = [each for each in check(settings(tmp_path, window=32)) if each.kind == "constant"]
    assert str(Checked(findings, None)).splitlines() == [
        "constant: y never changes: on/0.csv, on/1.csv, on/2.csv, ... (5 in all)",
        "constant: on/5.csv: x, y never changes",
    ]


def test_check_names_what_makes_data_lie(tmp_path: Path) -> None:
    long = [str(value) for value in range(200)]
    write(tmp_path / "On/a.csv", "x,y", *(f"{value},1" for value in long))
    write(tmp_path / "on/b.csv", "x,y", *(f"{value},1" for value in long))
    write(tmp_path / "off/c.csv", "x,y", *(f"{value},{value}" for value in long), ",3")
    write(tmp_path / "off/d.csv", "x,y", "1,2", "2,3")
    found = {finding.kind: str(finding) for finding in check(settings(tmp_path, window=128))}
    assert found["mislabelled"] == "mislabelled: on/b.csv: on, same samples as On/a.csv (On)"
    assert "On and on" in found["spelling"]
    assert found["constant"].endswith("y never changes")
    assert found["missing"] == "missing: off/c.csv: 1 samples without a value"
    assert found["short"] == "short: off/d.csv: 2 samples, under a window of 128"


def test_a_channel_that_counts_is_a_finding_and_a_warning(tmp_path: Path) -> None:
    """Times in ms, rounded from steps of 1.5 ms and from Unix time; a saw-tooth that resets, a
    constant and a channel that rises in one recording are none, and one sample says nothing."""
    for place, label in enumerate("ab" * 4):
        rows = [
            f"{round(1.5 * i)},{1.7e9 + 0.01 * i:.2f},{i % 20},{i if place else -i},7,{i * i % 13}"
            for i in range(40)
        ]
        write(tmp_path / f"{label}/{place}.csv", *rows)
    write(tmp_path / "a/one.csv", "5,5,5,5,5,5")
    found = [each for each in check(settings(tmp_path)) if each.kind == "counting"]
    assert [each.name for each in found] == ["c1", "c2"]
    assert all("data.columns, or name it time_s or time_ms" in each.text for each in found)
    given = settings(tmp_path, columns=["c1", "c3", "c5"])
    assert " c1 rises by equal steps in every recording: a network" in load(given).summary
    alone = settings(tmp_path, columns=["c3", "c4", "c5"])
    assert "equal steps" not in load(alone).summary
    # a counter that once jumps and once begins anew is one; a sensor between two levels is not
    rows = [f"{i % 200 + 50 * (i > 70)},{(i // 150 + i * i % 3) * 9}" for i in range(300)]
    write(tmp_path / "long/a/0.csv", *rows)
    gaps = [each for each in check(settings(tmp_path / "long")) if each.kind == "counting"]
    assert [each.name for each in gaps] == ["c1"]


def test_columns_that_say_nothing_are_left_out_with_a_word(tmp_path: Path) -> None:
    """Over all files: one that is constant or empty in one of them may change in another."""
    write(tmp_path / "a/1.csv", "x,dead,same,late,note,twice", "1,,7,,ok,3", "2,,7,,ok,3")
    write(tmp_path / "b/2.csv", "x,dead,same,late,note,twice", "3,,7,5,ok,4", "4,,7,6,ok,4")
    given = settings(tmp_path)
    found = read_recordings(given)
    assert read_columns(given) == found.columns == ("x", "late", "twice")
    assert found.left_out == {"dead": "no value", "same": "never changes", "note": "no numbers"}
    assert {"dead: no value", "same: never changes"} <= {
        f"{each.name}: {each.text.split(';')[0]}" for each in check(given) if each.kind == "column"
    }
    assert read_columns(settings(tmp_path, columns=["same", "x"])) == ("same", "x")
    write(tmp_path / "b/3.csv", "x,late,twice,lost", "1,2,3,4", "3,4,5,6")
    assert read_recordings(given).left_out["lost"] == "missing in 1.csv"


def test_measured_labels_become_classes_of_ranges(tmp_path: Path) -> None:
    """Edges belong to the range above them; a missing label is no sample's."""
    rows = [f"{index},{value}" for index, value in enumerate((0.1, 0.5, 1.9, 2.0, "", 7))]
    path = write(tmp_path / "a.csv", "x,target", *rows)
    found = read_recordings(settings(path, bins=[0.5, 2]))
    (whole,) = found.recordings
    assert whole.labels == ("below 0.5", "0.5 to 2", "2 and above")
    assert [(each.label, each.values[:, 0].tolist()) for each in whole.stretches()] == [
        ("below 0.5", [0.0]),
        ("0.5 to 2", [1.0, 2.0]),
        ("2 and above", [3.0]),
        ("2 and above", [5.0]),
    ]
    np.savez(tmp_path / "w.npz", x=np.zeros((3, 8, 1)), y=[0.0, 0.75, 3.0])
    found = read_recordings(settings(tmp_path / "w.npz", bins=[0.5, 2]))
    assert [each.label for each in found.recordings] == ["below 0.5", "0.5 to 2", "2 and above"]
    many = write(tmp_path / "b.csv", "x,label", *(f"1,{value / 7}" for value in range(60)))
    with pytest.raises(ConfigError, match=r"60 different numbers, .*data.goal=regression.*"):
        load(settings(many))
    named = write(tmp_path / "c.csv", "x,label", "1,a")
    with pytest.raises(ConfigError, match=r"bins needs labels that are numbers, but .* has 'a'"):
        read_recordings(settings(named, bins=[1]))
    assert settings(path, goal="regression", target="a").targets == ("a",)  # not a part of "auto"
    for wrong, message in (
        ({"bins": [2, 1]}, "rising"),
        ({"goal": "regression"}, "one column"),
        ({"columns": ["x", "x"]}, "columns must name at least one, each once"),
        ({"rate": float("inf")}, "finite number"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(path, **wrong)
