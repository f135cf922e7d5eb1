"""The ends that a user can cause: one line, and exit code 2."""

import pytest
import torch

from micronas.cli.ending import one_line_errors, stoppable


def ended(error: BaseException) -> None:
    with one_line_errors():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the documentation."),
    ],
)
def test_memory_that_ends_is_one_line(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        ended(error)
    said = str(error).splitlines()[0] if str(error) else "it is full"
    assert capsys.readouterr().err.startswith(
        f"error: memory must suffice for what is read and computed, but {said}; free some"
    )


def test_memory_that_torch_does_not_get_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), one_line_errors():
        torch.empty(2**55)
    said = capsys.readouterr().err
    assert "can't allocate memory" in said
    assert len(said.splitlines()) == 1


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ended(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize(
    ("kept", "said"),
    [((), "the same command goes on"), (("nothing was written",), "nothing was written")],
)
def test_what_is_stopped_says_what_is_kept(
    kept: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), stoppable(*kept):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.startswith(f"stopped; {said}")
