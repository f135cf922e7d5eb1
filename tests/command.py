"""The command line in a process of its own: a fork, which has what takes a second to import."""

import os
import re
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO

import micronas.export.formats
import micronas.report.write
import micronas.runs.run
import micronas.tasks.keywords.load  # noqa: F401, commands find all of these imported
from micronas import cli


def command(
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    script: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command as ``python -m micronas`` would, and return what a person sees of it.

    Parameters
    ----------
    script
        Run in place of the command line.
    environment
        Variables beside those that are set.
    before
        Called in the new process first.
    """
    words = list(map(str, arguments))
    with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as err:
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            _become(words, cwd, environment or {}, before, out, err, script)
        _, status = os.waitpid(process, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *texts)


@dataclass(frozen=True)
class Ended:
    """What a person sees of a command."""

    code: int | str | None
    out: str
    err: str


def here(command: str | Sequence[str]) -> Ended:
    """Run a command in this process as the shell would, with what libraries print from C."""
    words = command.split() if isinstance(command, str) else command
    code: int | str | None = None
    with _recorded(1) as out, _recorded(2) as err:
        shown, arguments = (sys.stdout, sys.stderr), sys.argv
        sys.stdout, sys.stderr, sys.argv = out, err, ["micronas", *words]
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            (sys.stdout, sys.stderr), sys.argv = shown, arguments
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
    return Ended(code, *texts)


@contextmanager
def _recorded(number: int) -> Iterator[IO[str]]:
    """Let a file descriptor lead to a file, for Python and for C."""
    kept = os.dup(number)
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
            os.dup2(file.fileno(), number)
            yield file
    finally:
        os.dup2(kept, number)
        os.close(kept)


def start(*arguments: object) -> BaseProcess:
    """Start a command whose output nobody reads, for example to kill it."""
    process = get_context("fork").Process(target=_silent, args=(list(map(str, arguments)),))
    process.start()
    return process


def _silent(words: list[str]) -> None:
    with open(os.devnull, "w+b") as nowhere:
        _become(words, None, {}, None, nowhere, nowhere)


def complaints(stderr: str) -> str:
    """Return what a command said but for its sign of life, which a busy machine makes it show."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not re.fullmatch(r"micronas .* is at work\n", line))


def _become(
    words: list[str],
    cwd: Path | None,
    environment: Mapping[str, str],
    before: Callable[[], None] | None,
    out: IO[bytes],
    err: IO[bytes],
    script: Path | None = None,
) -> None:
    """Run the command and end this process."""
    code = 1
    try:
        for number, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), number)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.update(environment)
        os.chdir(cwd or Path.cwd())
        sys.argv = [str(script or "micronas"), *words]
        if before is not None:
            before()
        if script is None:
            cli.main()
        else:
            sys.path.insert(0, str(script.parent))
            runpy.run_path(str(script), run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
