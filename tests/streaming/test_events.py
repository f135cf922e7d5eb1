"""Events by hand, and the same in Python and in the generated C++, on random scores."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from micronas.errors import ConfigError
from micronas.resources import filled
from micronas.streaming.events import Detector, Event

_SEQUENCES = 1_000
_DRIVER = r"""
#include "detector.h"
#include <cstdio>
#include <vector>

static int Next() {
  int value = 0;
  return std::scanf("%d", &value) == 1 ? value : 0;
}

int main() {
  for (int sequences = Next(); sequences > 0; --sequences) {
    DetectorRule rule = {};
    const int hops = Next();
    rule.labels = Next();
    std::vector<std::int16_t> thresholds;
    for (int i = 0; i < rule.labels; ++i) thresholds.push_back(static_cast<std::int16_t>(Next()));
    rule.thresholds = thresholds.data();
    rule.exclusive = Next() != 0;
    rule.smoothing = Next();
    rule.confirm = Next();
    rule.refractory = Next();
    rule.gate = static_cast<std::uint32_t>(Next());
    rule.hold = Next();
    Detector<6, 8> detector(rule);
    for (int hop = 0; hop < hops; ++hop) {
      const bool opens = detector.Opens(static_cast<std::uint32_t>(Next()));
      std::int8_t codes[6];
      for (int i = 0; i < rule.labels; ++i) codes[i] = static_cast<std::int8_t>(Next());
      if (!opens || !detector.Hears(codes)) continue;
      for (int i = 0; i < detector.Count(); ++i) {
        std::printf("%d %d %d ", hop, detector.Label(i), detector.Amount(i));
      }
    }
    std::printf("\n");
  }
}
"""


def compiled(folder: Path, source: str, *flags: str) -> Path:
    for name in ("detector.h", "ring.h"):
        (folder / name).write_text(filled(f"{name}.in"))
    (folder / "program.cc").write_text(source)
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", *flags]
    sanitized = ["-fsanitize=undefined,address", "-fno-sanitize-recover"]
    made = folder / "program"
    command += [*sanitized, str(folder / "program.cc"), "-o", str(made)]
    subprocess.run(command, check=True)
    return made


def test_the_same_events_in_c_and_python(tmp_path: Path) -> None:
    """Of networks that are sure now and then, so that events begin, last and end."""
    source = np.random.default_rng(0)
    given, expected = [_SEQUENCES], []
    for _ in range(_SEQUENCES):
        labels, hops = source.integers((1, 0), (7, 80)).tolist()
        exclusive = bool(source.integers(2))
        least = -255 if exclusive else -128
        chosen = source.integers(least, source.integers(least + 1, 120), labels).tolist()
        detector = Detector(
            tuple(None if source.random() < 0.2 else each for each in chosen),
            exclusive,
            *source.integers(1, (9, 5, 8)).tolist(),
            gate=int(source.choice([0, 60])),
            hold=int(source.integers(1, 6)),
        )
        codes = source.integers(-128, 128, (hops, labels))
        held = np.repeat(codes, source.integers(1, 6, hops), axis=0)[:hops].astype(np.int8)
        levels = source.integers(0, 100, hops)
        rule = [hops, labels, *(32767 if each is None else each for each in detector.thresholds)]
        rule += [int(exclusive), detector.smoothing, detector.confirm, detector.refractory]
        given += [*rule, detector.gate, detector.hold]
        given += np.column_stack((levels, held)).ravel().tolist()
        expected.append([*detector.events(held, levels)])
    made = compiled(tmp_path, _DRIVER)
    text = " ".join(map(str, given))
    done = subprocess.run([str(made)], input=text, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    found = [[*zip(*3 * [iter(map(int, line.split()))], strict=True)] for line in lines]
    assert found == expected
    assert sum(map(len, found)) > 2 * _SEQUENCES


def test_events_by_hand() -> None:
    """Two labels: a lead of 60 for three hops, a lapse, the other label."""
    codes = np.array([[0, 0], [60, 0], [60, 0], [60, 0], *[[0, 0]] * 2, *[[0, 50]] * 3], np.int8)
    assert Detector((40, 40), refractory=2).events(codes) == [(1, 0, 60), (6, 1, 50)]
    # averaged over two hops the lead is 30, 60, 60, 30, 0, then 25, 50, 50
    assert Detector((40, 40), smoothing=2).events(codes) == [(2, 0, 60), (7, 1, 50)]
    assert Detector((40, 40), confirm=3).events(codes) == [(3, 0, 60), (8, 1, 50)]
    # while one lasts no other begins: its third hop without the label is hop 6
    assert Detector((40, 40), refractory=3).events(codes) == [(1, 0, 60), (6, 1, 50)]
    assert Detector((40, 40), refractory=4).events(codes) == [(1, 0, 60), (7, 1, 50)]
    assert Detector((None, 51)).events(codes) == []
    # behind a label that makes no event, ahead of the others that do
    behind = np.array([[10, 0, 60], [10, 10, 60], [0, 30, 60]], np.int8)
    assert Detector((-50, -30, None)).events(behind) == [(0, 0, -50)]
    assert Detector((-49, -30, None)).events(behind) == [(2, 1, -30)]
    assert Detector((-255, -255, None), confirm=2).events(behind) == []
    # each label for itself: a threshold is a code
    each = Detector((60, 0), exclusive=False)
    assert each.events(codes) == [Event(0, 1, 0), Event(1, 0, 60)]


def test_a_closed_gate_forgets() -> None:
    codes = np.full((8, 2), [90, 0], np.int8)
    levels = np.array([0, 100, 0, 0, 0, 0, 100, 0])
    gated = Detector((40, 40), gate=100, hold=2, refractory=3)
    assert gated.is_open(levels).tolist() == [False, True, True, False, False, False, True, True]
    assert gated.events(codes, levels) == [(1, 0, 90), (6, 0, 90)]
    # three hops without the label end it, silent or not; four do not
    assert Detector((40, 40), gate=100, hold=2, refractory=4).events(codes, levels) == [(1, 0, 90)]
    assert Detector((40, 40), gate=100, hold=2, confirm=3).events(codes, levels) == []


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="threshold 1 of a detector must be -255 to 256, but"):
        Detector((3, -256))
    with pytest.raises(ConfigError, match="confirm of a detector must be 1 to 64"):
        Detector((3,), confirm=0)
    for damaged in (
        {"thresholds": [1, "many"]},
        {"thresholds": [1, 20.5]},
        {"thresholds": [1], "smoothing": 1.5},
        {"thresholds": [1], "exclusive": "no"},
    ):
        with pytest.raises(ConfigError, match="is damaged"):
            Detector.of(damaged)
    detector = Detector((3, None), smoothing=2, gate=7)
    assert Detector.of(detector.plain()) == detector


_RING = r"""
#include "ring.h"
#include <cstdio>
#include <thread>

static Ring<std::int16_t, 64> ring;

int main() {
  std::int16_t all[100], taken[64];
  for (int i = 0; i < 100; ++i) all[i] = static_cast<std::int16_t>(i);
  ring.Put(all, 60);
  ring.Put(all + 60, 10);  // room for four
  std::printf("%u", static_cast<unsigned>(ring.Lost()));
  ring.Take(taken, 64);
  std::printf(" %d %u", taken[63], static_cast<unsigned>(ring.Lost()));
  // what found no room is sent again: everything arrives, in order
  std::thread interrupt([] {
    for (int sent = 0; sent < 4000;) {
      std::int16_t fresh[20];
      for (int i = 0; i < 20; ++i) fresh[i] = static_cast<std::int16_t>(sent + i);
      ring.Put(fresh, 20);
      const int dropped = static_cast<int>(ring.Lost() / 2);
      sent += 20 - dropped;
      if (dropped > 0) std::this_thread::yield();
    }
  });
  int wrong = 0;
  for (int i = 0; i < 4000; ++i) {
    std::int16_t sample;
    ring.Take(&sample, 1, std::this_thread::yield);
    wrong += sample != static_cast<std::int16_t>(i);
  }
  interrupt.join();
  std::printf(" %d\n", wrong);
}
"""


def test_a_ring_keeps_the_order_and_counts_what_it_drops(tmp_path: Path) -> None:
    made = compiled(tmp_path, _RING, "-pthread")
    done = subprocess.run([str(made)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["12", "63", "0", "0"]
