"""Outcomes counted by hand, and thresholds where they have to lie."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.streaming.events import Detector
from micronas.streaming.thresholds import Heard, Occurrence, Outcome, choose, judge

BOTH = Detector((1, 1, None), refractory=2)


def heard(scores: list[tuple[int, int]], *occurrences: tuple[int, int, int]) -> Heard:
    """A recording of an hour whose scores are these of two labels, of which one leads a third."""
    codes = np.array([(*pair, 0) for pair in scores], np.int8)
    levels = np.zeros(len(codes), np.int64)
    return Heard(codes, levels, 1.0, tuple(Occurrence(*each) for each in occurrences))


def at(length: int, **values: int) -> list[tuple[int, int]]:
    """Scores of zero but for those of ``a3=20``: of label a at hop 3."""
    scores = np.zeros((length, 2), int)
    for name, value in values.items():
        scores[int(name[1:]), "ab".index(name[0])] = value
    return [tuple(row) for row in scores.tolist()]


def test_outcomes_by_hand() -> None:
    recording = heard(
        at(60, a3=20, a9=30, b15=25, b21=40, a30=10),
        (0, 2, 10),
        (1, 14, 16),
        (1, 40, 50),
        (2, 1, 9),
    )
    # right are a at 3 and b at 15; a at 9 is of a word that was told already
    assert judge(BOTH, [recording]) == Outcome(1.0, 3, 1, 3)
    higher = replace(BOTH, thresholds=(11, 26, None))
    found = judge(higher, [recording, recording])
    assert found == Outcome(2.0, 6, 4, 4)
    assert (found.missed, found.per_hour) == (pytest.approx(4 / 6), 2.0)


@pytest.mark.parametrize("order", [1, -1])
def test_occurrences_that_overlap_have_an_event_each(order: int) -> None:
    """In whatever order they are named; choosing counts them alike."""
    marks = [(0, 0, 10), (0, 5, 20), (0, 30, 40), (0, 31, 41)]
    recording = heard(at(60, a7=20, a15=30, a35=20), *marks[::order])
    assert judge(BOTH, [recording]) == Outcome(1.0, 4, 1, 0)
    found = choose([recording], BOTH, misses=0.5, shapes=[(1, 1)])
    assert (found.outcome.misses, found.outcome.false_alarms) == (1, 0)
    assert max(each for each in found.detector.thresholds if each) <= 20


def test_each_label_has_its_own_threshold_in_the_middle_of_the_gap() -> None:
    """a says up to 20 by mistake and 40 where it is; b up to 50 and 90: no common one is right."""
    alarms = at(100, a10=20, b20=50, a30=40, b40=90)
    recording = heard(alarms, (0, 28, 32), (1, 38, 42))
    found = choose([recording], BOTH, false_alarms=0, shapes=[(1, 1)])
    assert found.detector.thresholds == (30, 70, None)  # the middle of 21..40 and of 51..90
    assert (found.outcome.misses, found.outcome.false_alarms) == (0, 0)
    assert found.held_out is None


def test_what_is_wanted_chooses_the_point() -> None:
    """One word in three is quieter than the mistakes."""
    marks = [(0, 10 * n, 10 * n + 3) for n in (1, 2, 3)]
    recording = heard(at(90, a11=30, a21=80, a31=90, a50=40, a60=50, a70=60), *marks)
    strict = choose([recording], BOTH, false_alarms=0, shapes=[(1, 1)])
    assert (strict.outcome.misses, strict.outcome.false_alarms) == (1, 0)
    eager = choose([recording], BOTH, misses=0.0, shapes=[(1, 1)])
    assert (eager.outcome.misses, eager.outcome.false_alarms) == (0, 3)
    assert [(each.misses, each.false_alarms) for _, each in eager.curve] == [(1, 0), (0, 3)]
    silent = heard(at(30), (0, 2, 3))
    with pytest.raises(DataError, match=r"misses=10.0 %: the fewest misses are 100.0 %"):
        choose([silent], BOTH, misses=0.1)


def test_what_is_wanted_holds_for_what_others_chose() -> None:
    """Two recordings of which one is louder: its mistakes pass the threshold of the other."""
    quiet = heard(at(60, a10=10, a30=40), (0, 29, 31))
    loud = heard(at(60, a10=50, a30=90), (0, 29, 31))
    found = choose([quiet, loud], BOTH, false_alarms=0.5, shapes=[(1, 1)])
    # by the quiet one 25, by the loud one 70
    assert found.held_out == Outcome(2.0, 2, 1, 1)
    with pytest.raises(DataError, match=r"misses=0\.0 % and false alarms an hour=0\.4"):
        choose([quiet, loud], BOTH, false_alarms=0.4, misses=0, shapes=[(1, 1)])
    alike = choose([quiet, quiet, quiet], BOTH, false_alarms=0, shapes=[(1, 1)])
    assert alike.held_out == alike.outcome == Outcome(3.0, 3, 0, 0)
    background = choose([quiet, heard(at(60))], BOTH, false_alarms=0, shapes=[(1, 1)])
    assert (background.held_out, background.outcome) == (None, Outcome(2.0, 1, 0, 0))


def test_a_label_that_never_occurs_is_no_easier_than_others() -> None:
    recording = heard(at(60, a10=20, a30=60, b40=100, b50=5), (0, 29, 31))
    found = choose([recording], BOTH, false_alarms=0, shapes=[(1, 1)])
    a, b, _ = found.detector.thresholds
    assert a == 40
    assert b == 101  # above its mistake
    with pytest.raises(DataError, match="must occur in the recordings, but none does"):
        choose([heard(at(9, a3=20))], BOTH, false_alarms=1)


def test_a_shape_is_chosen_that_tells_words_from_clicks() -> None:
    """A word lasts for three hops, a mistake for one, and is as loud."""
    scores = np.zeros((200, 2), int)
    scores[[20, 60, 100, 140], 0] = 100
    marks = []
    for start in (40, 80, 120, 160):
        scores[start : start + 3, 0] = 70
        marks.append((0, start, start + 3))
    found = choose([heard(scores.tolist(), *marks)], BOTH, false_alarms=0)
    assert (found.outcome.misses, found.outcome.false_alarms) == (0, 0)
    assert found.detector.smoothing + found.detector.confirm == 3
