"""Export networks with micronas and its peers, run the files on TFLM, print a table.

    python -m benchmarks.zoo [--drawn] [--exporters micronas micronas-tuned litert-torch ...]
        [--litert PYTHON] [--onnx2tf PYTHON] [--only NAME ...] [--again] [--together] [--table]

micronas itself runs with this Python, which needs timm and torchvision for the networks, by default
and with ``tune=True``; onnx2tf without TensorFlow or, as ``onnx2tf-tensorflow``, by it. The peers'
packages exclude each other, so that each has a Python of its own, in which these are installed:

litert-torch  litert-torch, ai-edge-quantizer, timm, torchvision
onnx2tf       onnx2tf, tensorflow, tf-keras (Python 3.12; the ONNX file is written by this Python)

The networks are the seventy-five that the exporter was made with, or with ``--drawn`` those of
`benchmarks.zoo.drawn`, for which torchaudio is needed too.

`results/zoo.jsonl` (or `zoo_drawn.jsonl`) gets a line for each file; what is there is not done
again, unless ``--again``, with which micronas' lines of other commits are.
Every step is a child process with a limit on its CPU time. ``--together`` does micronas' steps in
this process instead, which takes a third of the time, as torch is loaded once.
"""

import argparse
import fcntl
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.zoo.networks import DRAWN, KNOWN, NETWORKS
from benchmarks.zoo.table import OWN, markdown

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
_CPU_SECONDS = 600
_WALL_SECONDS = 3600
_EXPORTERS = (*OWN, "litert-torch", "onnx2tf", "onnx2tf-tensorflow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exporters", nargs="+", choices=_EXPORTERS, default=["micronas"])
    parser.add_argument("--litert", default=sys.executable)
    parser.add_argument("--onnx2tf", default=sys.executable)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--drawn", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    names = list(DRAWN if given.drawn else KNOWN)
    given.results = given.results or RESULTS / ("zoo_drawn.jsonl" if given.drawn else "zoo.jsonl")
    given.results.touch()
    found = _read(given.results.read_text())
    pythons = dict.fromkeys(OWN, sys.executable) | {"litert-torch": given.litert}
    commit = _commit()
    for exporter in () if given.table else given.exporters:
        for name in given.only or names:
            known = found.get((name, exporter))
            if known and not (given.again and known.get("commit") != commit):
                continue
            if given.together and exporter in OWN:
                line = _measured_here(name, exporter)
            else:
                line = _measure(name, exporter, pythons.get(exporter, given.onnx2tf))
            if exporter in OWN:
                line["commit"] = commit
            found = _keep(given.results, line)
            print(_short(line), flush=True)
    print(markdown([*found.values()], names))


def _commit() -> str:
    """Return the commit whose exporter is measured: lines of an older one can be out of date."""
    command = ["git", "log", "-1", "--format=%h", "--", "micronas"]
    return subprocess.check_output(command, cwd=ROOT, text=True).strip()


def _measure(name: str, exporter: str, python: str) -> dict[str, Any]:
    line: dict[str, Any] = {"network": name, "exporter": exporter}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        result, model = folder / "result.json", folder / "model.tflite"
        steps = [(python, exporter)]
        if exporter.startswith("onnx2tf"):
            steps.insert(0, (sys.executable, "onnx"))
        for interpreter, step in steps:
            if "error" not in line:
                spent = line.get("seconds", 0.0)
                line |= _child(result, interpreter, "exporters", step, name, made)
                line["seconds"] = round(spent + line.get("seconds", 0.0), 3)
        if "error" in line or not model.exists():
            return line | {"error": line.get("error", "no file was written")}
        result = folder / "judged.json"
        exact = ["--exact"] if exporter in OWN else []
        judged = _child(result, sys.executable, "judge", name, str(model), str(result), *exact)
        if "error" in judged:
            judged = {"bytes": model.stat().st_size, "runs": False, "refusal": judged["error"]}
        return line | judged


def _measured_here(name: str, exporter: str) -> dict[str, Any]:
    from benchmarks.zoo import exporters
    from benchmarks.zoo.judge import judge

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        exporters.main(exporter, name, folder)
        line = {"network": name, "exporter": exporter}
        line |= json.loads((folder / "result.json").read_text())
        if "error" in line:
            return line
        return line | judge(NETWORKS[name], (folder / "model.tflite").read_bytes(), exact=True)


def _child(result: Path, python: str, step: str, *arguments: str) -> dict[str, Any]:
    """Run one step; return what it wrote to `result`, or the error that ended it."""
    result.write_text("")
    command = [python, "-m", f"benchmarks.zoo.{step}", *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 5))

    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_WALL_SECONDS,
            preexec_fn=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {_WALL_SECONDS} s"}
    if not (written := result.read_text()):
        last = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        return {"error": f"ended with {done.returncode} and said {last[0][:300]}"}
    return dict(json.loads(written))


def _short(line: dict[str, Any]) -> str:
    said = line.get("error") or line.get("refusal") or f"{line.get('sqnr_db')} dB"
    return f"{line['network']}, {line['exporter']}: {said[:160]}"


def _read(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    lines = map(json.loads, text.splitlines())
    return {(each["network"], each["exporter"]): each for each in lines}


def _keep(path: Path, line: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Put a line in place of an older one; others may be writing to the file."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        found = _read(file.read())
        found[line["network"], line["exporter"]] = line
        file.truncate(0)
        file.write("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found.values()))
    return found


if __name__ == "__main__":
    main()
