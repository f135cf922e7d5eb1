"""Event files, read by TensorBoard's own reader, which checks each CRC."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from micronas.event_file import EventFile

NUMBERS = st.dictionaries(st.text(min_size=1), st.floats(width=32, allow_nan=False), min_size=1)


def events(path: Path) -> Iterator[Event]:
    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return
        yield Event.FromString(reader.record())


@given(steps=st.lists(st.tuples(st.integers(0, 2**40), NUMBERS), max_size=5))
def test_tensorboard_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, dict[str, float]]]
) -> None:
    folder = tmp_path_factory.mktemp("log") / "new"
    file = EventFile(folder)
    for step, numbers in steps:
        file.add(numbers, step=step)
    (path,) = folder.iterdir()
    first, *others = events(path)
    assert first.file_version == "brain.Event:2"
    found = [
        (event.step, {each.tag: each.simple_value for each in event.summary.value})
        for event in others
    ]
    assert found == steps


@pytest.mark.long
def test_a_log_imports_neither_tensorboard_nor_tensorflow(tmp_path: Path) -> None:
    program = f"""
import json, sys
from pathlib import Path
from micronas.runs.tracking import TensorBoard
TensorBoard(Path({str(tmp_path)!r}))("train", 3, 5, {{"loss": 0.5}})
print(json.dumps([name for name in ("tensorboard", "tensorflow") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (json.loads(done.stdout), done.stderr) == ([], "")
    (path,) = (tmp_path / "log").iterdir()
    _, event = events(path)
    assert (event.step, event.summary.value[0].tag) == (3, "train/loss")
