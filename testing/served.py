"""`micronas router serve` in a process of its own, as a person starts it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass
class Running:
    """A server that was started by its command."""

    process: "subprocess.Popen[str]"
    url: str
    log: Path

    def interrupt(self) -> int:
        """Press Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def served(
    folder: Path, settings: Mapping[str, Any], *, under: Sequence[str] = ()
) -> Iterator[Running]:
    """Serve on a free port; configuration and log are in the folder.

    `under` is a program, and its options, that starts it.
    """
    config, log = folder / "serve.yaml", folder / "serve.log"
    config.write_text(yaml.safe_dump({"port": 0, **settings}), encoding="utf-8")
    # as the group of a shell's background job would, the child may have inherited an ignored SIGINT
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{start}from micronas.cli import main; main()"
    command = [*under, sys.executable, "-c", code, "router", "serve", str(config)]
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+/v1", line)
        assert found, line + log.read_text()
        yield Running(process, found[0], log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
