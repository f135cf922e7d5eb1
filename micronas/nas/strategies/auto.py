"""Choose the strategy: trials alone where they are short, shared weights where those save half."""

from micronas.errors import ConfigError
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.base import Context, Strategy
from micronas.nas.strategies.halving import Halving
from micronas.nas.strategies.ranked import Ranked

SHARE = 0.5
"""Largest share of halving's examples at which ranking is the default: at half, networks were
measured to be as good."""


def chosen(context: Context) -> Strategy:
    """Return the strategy that suits a search, with its `reason` set."""
    settings, processes = context.settings, context.everyone.size
    assert isinstance(settings, SearchSettings), "the settings of `auto`"
    if settings.supernet == "space":
        return _because(Ranked(context), "search.supernet=space trains shared weights")
    halving = Halving(context)
    if len(list(context.problem.space.ways())) > 1:
        return _because(halving, "networks of several families share no weights")
    ranking = Ranked(context)
    if processes > 1:
        reason = f"{processes} processes can share a supernet's steps, but no trials"
        return _because(ranking, reason)
    examples = settings.trial.steps(len(context.folds[0].train.labels)) * settings.trial.batch_size
    try:
        ranked, halved = (each.plan().epochs * examples for each in (ranking, halving))
    except ConfigError:
        return _because(halving, "finalists of shared weights would take more epochs than given")
    share = (ranking.examples + ranked) / halved
    short = share > SHARE
    return _because(
        halving if short else ranking,
        f"shared weights would train on {share:.2f} times the examples of trials alone, "
        f"{'more' if short else 'no more'} than {SHARE:g}",
    )


def _because(strategy: Strategy, reason: str) -> Strategy:
    strategy.reason = reason
    return strategy
