"""Which strategy suits: real trainings where they are cheap, shared weights where they are not."""

from micronas.nas.prior import uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings

AFFORDABLE = 1e13
"""Multiply-accumulates, forwards, of a trial training up to which halving is the default: some
forty minutes of a core. It trains about twenty networks for a part of that."""


def choose(
    problem: Problem, settings: SearchSettings, *, examples: int, processes: int
) -> tuple[str, str]:
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
        return "ranked", f"{processes} processes can share a supernet's steps, but no trials"
    macs = max((problem.costs(each).macs for each in uniform_networks(problem)), default=0)
    work = float(macs) * examples * settings.trial.epochs
    cheap = work <= AFFORDABLE
    reason = (
        f"a trial training takes {work / 1e12:.2g} T multiply-accumulates forwards, "
        f"{'no more' if cheap else 'more'} than {AFFORDABLE / 1e12:g} T"
    )
    return ("halving" if cheap else "ranked"), reason
