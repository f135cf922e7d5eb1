"""Which way to search: real trainings where they are cheap, shared weights where they are not."""

from typing import Literal

from micronas.nas.budget import Limits, Meter
from micronas.nas.select import uniform_networks
from micronas.nas.settings import SearchSettings
from micronas.space.search_space import SearchSpace

Named = Literal["dnas", "evolution", "halving"]

AFFORDABLE = 1e13
"""Multiply-accumulates, forwards, of a trial training up to which halving is the default: some
forty minutes of a core. It trains about twenty networks for a part of that."""


def choose(
    space: SearchSpace,
    settings: SearchSettings,
    limits: Limits,
    meter: Meter,
    *,
    examples: int,
    processes: int,
) -> tuple[Named, str]:
    """Return the strategy of a search, and why it is this one.

    Parameters
    ----------
    examples
        Of the training set.
    processes
        That search together. Only shared weights are trained by all of them.
    """
    if settings.strategy != "auto":
        return settings.strategy, "as search.strategy says"
    if processes > 1:
        return "dnas", f"{processes} processes can share a supernet's steps, but no trials"
    networks = map(space.architecture, uniform_networks(space, limits, meter))
    macs = max((meter.costs(each).macs for each in networks), default=0)
    work = float(macs) * examples * settings.trial.epochs
    cheap = work <= AFFORDABLE
    reason = (
        f"a trial training takes {work / 1e12:.2g} T multiply-accumulates forwards, "
        f"{'no more' if cheap else 'more'} than {AFFORDABLE / 1e12:g} T"
    )
    return ("halving" if cheap else "dnas"), reason
