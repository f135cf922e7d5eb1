"""Events from the int8 scores of a network that hears a stream hop by hop.

Computed in integers, so that the generated ``detector.h``, which repeats `Detector` line by line,
finds the same events.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from operator import index
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from micronas.errors import ConfigError

Integers = npt.NDArray[np.int64]
LEAST = -(2**15)
"""Number below every score."""


class Event(NamedTuple):
    """Beginning of a label."""

    hop: int
    label: int
    score: int
    """Score in codes, see `Detector.scores`."""


@dataclass(frozen=True)
class Detector:
    """Rules by which the events of labels begin and end.

    A hop is one inference. Before it comes the gate: hops whose level stays below `gate` are
    silent, the network need not run, and earlier scores are forgotten. In other hops the codes of
    each label are averaged over the latest `smoothing` ones. A label is heard once its score has
    reached its threshold in `confirm` hops in a row; an event begins when its label is heard and no
    event lasts. An event is over at the last of `refractory` hops in a row without its label.

    Where one label holds at a time, a hop counts for the label that alone leads all labels that
    make events. Its threshold may be below 0: then it is heard while a label that makes none, such
    as other words, leads it by as much.

    Raises ConfigError if a number lies out of its range.

    Parameters
    ----------
    thresholds
        Least score of each label that counts, in codes; None for labels that make no event, such as
        silence.
    exclusive
        One label holds at a time: a score is then the lead over the best other label, and while one
        event lasts no other begins. Otherwise a score is the label's own code, and events of
        different labels overlap.
    smoothing, confirm, refractory
        Numbers of hops, see above.
    gate
        Least mean of absolute samples of a hop that opens the gate; 0 leaves it open.
    hold
        Hops for which the gate stays open, the loud one included: those whose input contains it.
    hop
        Rows of the front end from one inference to the next; 0 for the front end's own stride.
    """

    thresholds: tuple[int | None, ...]
    exclusive: bool = True
    smoothing: int = 1
    confirm: int = 1
    refractory: int = 3
    gate: int = 0
    hold: int = 1
    hop: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "smoothing": (self.smoothing, 1, 64),
            "confirm": (self.confirm, 1, 64),
            "refractory": (self.refractory, 1, 10_000),
            "gate": (self.gate, 0, 32_768),
            "hold": (self.hold, 1, 10_000),
            "hop": (self.hop, 0, 10_000),
            **{
                f"threshold {place}": (threshold, self.lowest, 256)
                for place, threshold in enumerate(self.thresholds)
                if threshold is not None
            },
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise ConfigError(
                    f"{name} of a detector must be {low} to {high}, but is {value}; choose "
                    "another, or let micronas listen choose it"
                )

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Detector":
        """Return the detector of what `plain` returned.

        Raises ConfigError if `stored` is damaged.
        """
        try:
            limits = tuple(None if each is None else index(each) for each in stored["thresholds"])
            names = {*asdict(cls(()))} & {*stored} - {"thresholds"}
            given: dict[str, Any] = {name: index(stored[name]) for name in names}
            return cls(limits, **given)
        except (LookupError, TypeError, ValueError) as error:
            raise ConfigError(
                f"a detector must be as micronas wrote it, but is damaged ({error}); delete its "
                "file, or choose it anew by micronas listen"
            ) from error

    @property
    def lowest(self) -> int:
        """Least score that a label can have."""
        return -255 if self.exclusive else -128

    def plain(self) -> dict[str, Any]:
        """Return the detector as JSON values."""
        return {**asdict(self), "thresholds": list(self.thresholds)}

    def is_open(self, levels: Integers) -> npt.NDArray[np.bool_]:
        """Return whether the gate is open at each hop, bool [hops].

        Parameters
        ----------
        levels
            Mean of absolute samples of each hop, rounded down, [hops].
        """
        loud = levels >= self.gate
        place = np.arange(len(levels))
        latest = np.maximum.accumulate(np.where(loud, place, -self.hold))
        opened: npt.NDArray[np.bool_] = place - latest < self.hold
        return opened

    def scores(
        self, codes: npt.NDArray[np.int8], levels: Integers | None = None
    ) -> tuple[Integers, Integers]:
        """Return the scores of each hop, and those that are compared with thresholds.

        Parameters
        ----------
        codes
            Codes of the network's outputs, [hops, labels]; those of silent hops do not matter.
        levels
            Levels [hops], see `is_open`; without them the gate is open.

        Returns
        -------
        int64 [hops, labels] each. The second is the least score of the latest `confirm` hops, or
        `LEAST` where one of them does not count for the label, or the gate has not been open for as
        many.
        """
        hops, labels = codes.shape
        opened = np.ones(hops, bool) if levels is None else self.is_open(levels)
        place = np.arange(hops)
        since = place - np.maximum.accumulate(np.where(opened, -1, place))
        sums = np.zeros((hops, labels), np.int64)
        for step, moved in _trailing(codes.astype(np.int64) + 128, self.smoothing):
            sums += np.where((since > step)[:, None], moved, 0)
        # codes are counted from 0 on, so that C's division rounds down too
        means = sums // np.clip(since, 1, self.smoothing)[:, None]
        scores = counting = means - 128
        if self.exclusive:
            scores = means - _best_others(means, 0)
            rivals = np.where([each is not None for each in self.thresholds], means, -1)
            counting = np.where(means > _best_others(rivals, -1), scores, LEAST)
        least = np.full_like(scores, 2**15)
        for step, moved in _trailing(counting, self.confirm):
            least = np.minimum(least, np.where((since > step)[:, None], moved, LEAST))
        return scores, least

    def events(self, codes: npt.NDArray[np.int8], levels: Integers | None = None) -> list[Event]:
        """Return the events of a recording in order; the parameters are those of `scores`."""
        scores, least = self.scores(codes, levels)
        return [Event(hop, label, int(scores[hop, label])) for hop, label in self.begun(least)]

    def begun(self, least: Integers) -> list[tuple[int, int]]:
        """Return hop and label of each event, given the second result of `scores`."""
        limits = [2**15 if each is None else each for each in self.thresholds]
        last: dict[int, tuple[int, int]] = {}  # latest hop of an event's label, for each group
        found = []
        for hop, label in np.argwhere(least >= np.array(limits)).tolist():
            group = 0 if self.exclusive else label
            latest, current = last.get(group, (-self.refractory - 1, -1))
            if hop - latest >= self.refractory + (label == current):
                found.append((hop, label))
            elif label != current:
                continue
            last[group] = hop, label
        return found


def _best_others(values: Integers, least: int) -> Integers:
    """Return the best value of each row without the label itself, and `least` at least."""
    ordered = np.sort(np.pad(values, ((0, 0), (1, 0)), constant_values=least), axis=1)
    best = ordered[:, -1:]
    others: Integers = np.where(values == best, ordered[:, -2:-1], best)
    return others


def _trailing(values: Integers, count: int) -> Iterator[tuple[int, Integers]]:
    """Yield each step back and the values of that many hops earlier, zeros before the first."""
    for step in range(count):
        moved = np.zeros_like(values)
        moved[step:] = values[: max(0, len(values) - step)]
        yield step, moved
