"""Recordings of words that are tones, a network that tells them apart, and what it has to hear;
and what stands in for TFLM where a program is only compiled."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from micronas import to_tflite
from micronas.export.firmware.application import Application
from micronas.export.firmware.front_ends import FrontEnd
from micronas.export.firmware.front_ends.front_end import Array
from micronas.export.firmware.host import OnHost
from micronas.graph import integer
from micronas.graph.ir import Graph, Quantization
from micronas.hardware.targets import Target, plan
from micronas.tasks.device import front_end
from tests.kept import kept

STUBS = Path(__file__).parent / "stubs"
FLAGS = ("-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{STUBS}")
LABELS = ("silence", "low", "high", "unknown")
RATE = 16_000
SPEECH = {"features": "mfcc", "window_ms": 40}
WORDS = ["low", "high", "high", "low", "low", "low", "high", "low", "high", "high"]

_LINES = """
#include <cstdio>
__attribute__((constructor)) static void SpeakAtOnce() { std::setvbuf(stdout, nullptr, _IOLBF, 0); }
"""
BOARD = (
    _LINES
    + r"""
extern "C" void micronas_puts(const char* text) { std::fputs(text, stdout); }
extern "C" const char* micronas_next() {
  static const char* const names[] = {"microphone", nullptr};
  static int next = 0;
  return names[next++];
}
extern "C" std::uint32_t micronas_read(void* bytes, std::uint32_t count) {
  return static_cast<std::uint32_t>(std::fread(bytes, 1, count, stdin));
}
"""
)
SKETCH = (
    _LINES
    + """
void setup();
void loop();
int main() {
  setup();
  while (!std::feof(stdin)) loop();
}
"""
)


def answers(given: Sequence[Array], said: Sequence[Array], arena: object = 0) -> str:
    """C++ by which the stub of TFLM expects inputs, says outputs and takes so much memory."""
    lines = ["#include <cstddef>\n#include <cstdint>\n#include <cstdlib>\n#include <cstring>"]
    for role, tensors in (("input", given), ("output", said)):
        codes = ", ".join(str(code) for each in tensors for code in each.ravel())
        sizes = ", ".join(str(each.size) for each in tensors)
        lines += [
            f"std::int8_t stub_{role}[] = {{{codes}}};",
            f"extern const std::size_t stub_{role}_sizes[];",
            f"const std::size_t stub_{role}_sizes[] = {{{sizes}, 0}};",
        ]
    lines += ["extern const std::size_t stub_arena_bytes;"]
    return "\n".join([*lines, f"const std::size_t stub_arena_bytes = {arena};\n"])


def objects(sources: Iterable[Path], *flags: str) -> list[str]:
    """Compile files of C for this machine."""
    made = []
    for source in sources:
        made.append(str(source.with_suffix(".o")))
        subprocess.run(["gcc", "-std=c99", *flags, "-c", str(source), "-o", made[-1]], check=True)
    return made


def compiled(project: Path, *, main: str = "main.cc", around: str = BOARD) -> Path:
    """Compile for this machine, with what a board would bring."""
    (project.parent / "own.cc").write_text(
        "#include <cstddef>\n#include <cstdint>\n#include <cstdio>\n" + around
    )
    made = project.parent / "program"
    given = [str(project.parent / "own.cc"), *objects(project.glob("*.c"), *FLAGS)]
    if main.endswith(".ino"):
        given += ["-include", "Arduino.h", "-x", "c++"]
    cxx = ["g++", "-std=c++17", *FLAGS, *given, str(project / main), "-o", str(made)]
    subprocess.run(cxx, check=True)
    return made


def rounded(graph: Graph, target: Target) -> int:
    """Round up to whole lines of 16 bytes, of which TFLM's arena consists."""
    return (plan(graph, target).required + 15) // 16 * 16


def heard(made: Path, samples: bytes) -> list[str]:
    done = subprocess.run([str(made)], input=samples, capture_output=True, check=False, timeout=60)
    return done.stdout.decode().splitlines()


def tone(hertz: float, seconds: float = 0.6) -> Array:
    time = np.arange(round(seconds * RATE)) / RATE
    return 8000 * np.sin(2 * np.pi * hertz * time)


def speech() -> FrontEnd:
    made = front_end(SPEECH, (1, 49, 10, 1))
    assert made is not None
    return made


def spoken(words: list[str], every: float = 2.0, seed: int = 0) -> Array:
    """A recording with a word every so many seconds, the first after half of that."""
    source = np.random.default_rng(seed)
    clip = source.normal(size=round(every * RATE * (len(words) + 0.5)))
    sounds = {"low": tone(150), "high": tone(1500), "unknown": source.normal(size=9600) * 4000}
    for number, word in enumerate(words):
        start = round((number + 0.5) * every * RATE)
        clip[start : start + len(sounds[word])] += sounds[word]
    return clip.astype(np.int16)


def trained(factory: pytest.TempPathFactory) -> bytes:
    """Return a network of some 1,000 weights that tells the words from each other."""
    return kept(factory, "tones.tflite", lambda path: path.write_bytes(_trained())).read_bytes()


def _trained() -> bytes:
    ends, step = speech(), Quantization(np.array([0.03], np.float32), 0)
    hears, source = OnHost(ends, step), np.random.default_rng(1)
    clips, labels = [], []
    for number, label in enumerate(LABELS * 24):
        clip = spoken(["unknown" if label == "silence" else label], seed=number)
        start = 0 if label == "silence" else int(source.integers(2_000, 24_000))
        clips.append(hears.codes(clip[start : start + RATE]).reshape(1, 49, 10))
        whole = min(start + RATE, 25_600) - max(start, RATE) > 4_800  # half of the word
        labels.append(LABELS.index(label) if whole else 0)
    x = torch.from_numpy(np.stack(clips).astype(np.float32)) * 0.03
    y = torch.tensor(labels)
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(1, 8, (8, 4), stride=(3, 2)), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 12, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, len(LABELS))),
    )
    adam = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(150):
        adam.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        adam.step()
    return to_tflite(module.eval(), x[:1], calibration=x)


def scored(graph: Graph, known: Application, samples: Array) -> Array:
    """Codes of the outputs [windows, outputs], of a window every fifth of a second."""
    given = graph.tensors[graph.inputs[0]]
    assert given.quantization is not None
    hears = OnHost(known.front_end, given.quantization)
    starts = range(0, len(samples) - 16_000 + 1, 3_200)
    codes = np.stack([hears.codes(samples[at : at + 16_000]) for at in starts])
    return integer.run(graph, codes.reshape(-1, *given.shape[1:])).reshape(len(codes), -1)


def events(graph: Graph, known: Application, samples: Array) -> list[str]:
    """What is to be said of a recording, three windows averaged."""
    scores = scored(graph, known, samples)
    found, current, left = [], None, 0
    for number in range(len(scores)):
        latest = scores[max(0, number - 2) : number + 1].astype(int) + 128
        second, first = sorted(latest.sum(0) // len(latest))[-2:]
        best = int((latest.sum(0) // len(latest)).argmax())
        threshold = known.decision.thresholds[best]
        sure = threshold is not None and first - second >= threshold
        if not (sure and best == current):
            left = max(0, left - 1)
        if sure and left == 0:
            current = best
            found.append(
                f"{known.labels[best]} at {1000 + 200 * number} ms (ahead by {first - second})"
            )
        left = 3 if sure and best == current else left
    return found
