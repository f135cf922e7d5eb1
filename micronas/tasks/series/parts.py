"""Divide recordings into training, validation and test, so that no group is in two of them."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from micronas.errors import DataError
from micronas.tasks.parts import PARTS, Part
from micronas.tasks.series.recording import Recording
from micronas.tasks.series.settings import SeriesSettings
from micronas.text import listed

_SAYS_LITTLE = "accuracy says little of another device, person or day"


@dataclass(frozen=True)
class Division:
    """Recordings by part, and the way of dividing, in words."""

    parts: dict[Part, list[Recording]]
    how: str
    warning: str = ""
    """Reason why accuracy will be too optimistic; empty without."""


def divide(recordings: Sequence[Recording], settings: SeriesSettings) -> Division:
    """Assign every recording to a part.

    Parts of the source are kept, with a warning where a group is in several. Otherwise, and where
    all is for training, groups are dealt out: whole groups where they hold several labels
    (subjects, sessions), groups of each label where they hold one (files). Where a label has fewer
    groups than there are parts, every stretch of one label is cut along time. Raises DataError if a
    part has no recording of a label.
    """
    shares = _shares(settings)
    if any(each.part not in (None, "training") for each in recordings):
        division = _given(recordings, shares, settings)
    else:
        division = _dealt(recordings, shares, settings)
    for part, found in division.parts.items():
        lacking = sorted(_labels(recordings) - _labels(found))
        if lacking and (part != "testing" or found):
            raise DataError(
                f"every class must have recordings for {part}, but {listed(lacking)} has none "
                f"({division.how}); add recordings or groups, or change data.group or data.seed"
            )
    return division


def _labels(recordings: Iterable[Recording]) -> set[str]:
    return {label for each in recordings for label in each.labels}


def _shares(settings: SeriesSettings) -> dict[Part, float]:
    held = {"validation": settings.validation_fraction, "testing": settings.test_fraction}
    return {part: held.get(part, 1 - sum(held.values())) for part in PARTS}


def _given(
    recordings: Sequence[Recording], shares: dict[Part, float], settings: SeriesSettings
) -> Division:
    """Keep the parts of the source; cut validation from training where there is none."""
    parts: dict[Part, list[Recording]] = {part: [] for part in PARTS}
    for each in recordings:
        parts[each.part or "training"].append(each)
    both = shared(recordings)
    warning = f"In several parts as given: {listed(both)}; {_SAYS_LITTLE}." if both else ""
    if parts["validation"]:
        return Division(parts, "as given", warning)
    within = {"training": 1 - shares["validation"], "validation": shares["validation"]}
    cut_off = _dealt(parts["training"], within, settings)  # type: ignore[arg-type]
    return Division(
        {**cut_off.parts, "testing": parts["testing"]},
        f"test as given, validation {cut_off.how}",
        " ".join(filter(None, (warning, cut_off.warning))),
    )


def shared(recordings: Sequence[Recording]) -> list[str]:
    """Return the groups that are in several parts, as the source gives them."""
    pairs = {(each.group, each.part or "training") for each in recordings}
    return sorted(group for group, count in Counter(each for each, _ in pairs).items() if count > 1)


def _dealt(
    recordings: Sequence[Recording], shares: dict[Part, float], settings: SeriesSettings
) -> Division:
    wanted = {part: share for part, share in shares.items() if share > 0}
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for each in recordings:
        labels[each.group].update(each.labels)
    groups_of = Counter(label for found in labels.values() for label in found)
    if min(groups_of.values(), default=0) < len(wanted):
        return _along_time(recordings, wanted, settings, groups_of)
    several = any(len(found) > 1 for found in labels.values())
    sizes: Counter[str] = Counter()
    for each in recordings:
        sizes[each.group] += len(each.values)
    part_of: dict[str, Part] = {}
    for label in [None] if several else sorted(groups_of):
        own = sorted(group for group, found in labels.items() if label is None or label in found)
        part_of |= _deal(own, sizes, wanted, random.Random(f"{settings.seed} {label}"))
    parts: dict[Part, list[Recording]] = {part: [] for part in PARTS}
    for each in recordings:
        parts[part_of[each.group]].append(each)
    counts = Counter(part_of.values())
    how = ", ".join(f"{counts[part]} for {part}" for part in wanted)
    unit = "files" if all(each.group == each.source for each in recordings) else "groups"
    return Division(parts, f"by whole {unit}: {how}")


def _deal(
    groups: list[str], sizes: Counter[str], shares: dict[Part, float], source: random.Random
) -> dict[str, Part]:
    """Deal groups in random order, each to the part that lacks the most; every part gets one."""
    total = sum(sizes[group] for group in groups)
    lacking = {part: share * total for part, share in shares.items()}
    source.shuffle(groups)
    dealt: dict[str, Part] = {}
    for place, group in enumerate(groups):
        empty = [part for part in shares if part not in dealt.values()]
        must = len(groups) - place <= len(empty)
        part = max(empty if must else shares, key=lambda each: lacking[each])
        dealt[group] = part
        lacking[part] -= sizes[group]
    return dealt


def _along_time(
    recordings: Sequence[Recording],
    shares: dict[Part, float],
    settings: SeriesSettings,
    groups_of: Counter[str],
) -> Division:
    """Cut every stretch of one label in the order of the parts; no sample is in two."""
    least, count = min(groups_of.items(), key=lambda each: (each[1], each[0]))
    if all(len(each.values) == settings.window for each in recordings):
        raise DataError(
            f"every class must have a group for each of {len(shares)} parts where recordings are "
            f"windows, which cannot be cut, but {least} has {count}; add groups of it, or take the "
            "class out"
        )
    parts: dict[Part, list[Recording]] = {part: [] for part in PARTS}
    for each in (stretch for recording in recordings for stretch in recording.stretches()):
        start, total = 0, len(each.values)
        for position, part in enumerate(shares):
            end = total if position == len(shares) - 1 else start + int(shares[part] * total)
            name = f"{each.name} ({part})"
            values = each.values[start:end]
            targets = None if each.targets is None else each.targets[start:end]
            parts[part].append(replace(each, name=name, values=values, targets=targets, part=part))
            start = end
    edges = any(each.changes for each in recordings)
    return Division(
        parts,
        "by time within each recording",
        f"{least} has {count} group{'s' if count > 1 else ''} and three parts need one each, so "
        f"all parts come from the same recordings: {_SAYS_LITTLE}"
        + (", and nothing of windows in which the label changes." if edges else "."),
    )
