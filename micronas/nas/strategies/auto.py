"""Which strategy suits: trials alone where they are short, shared weights where those save half."""

from micronas.nas.prior import uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.ranked import BATCHES, Ranked
from micronas.nas.trials import planned_epochs
from micronas.train.recipe import Recipe

SHARE = 0.5
"""Of the examples that halving trains on, at most those of ranking where it is the default: at half
it was measured to find networks as good."""


def choose(
    problem: Problem, settings: SearchSettings, *, examples: int, processes: int
) -> tuple[str, str]:
    """Return the strategy of a search, and why it is this one.

    Parameters
    ----------
    examples
        That a trial trains on.
    processes
        That search together. Only shared weights are trained by all of them.
    """
    if settings.strategy != "auto":
        return settings.strategy, "as search.strategy says"
    if settings.supernet == "space":
        return "ranked", "search.supernet=space trains shared weights"
    if processes > 1:
        return "ranked", f"{processes} processes can share a supernet's steps, but no trials"
    share = _ranking(problem, settings, examples) / _halving(problem, settings, examples)
    short = share > SHARE
    reason = (
        f"ranking would train on {share:.2f} of halving's examples, "
        f"{'more' if short else 'no more'} than {SHARE:g}"
    )
    return ("halving" if short else "ranked"), reason


def _halving(problem: Problem, settings: SearchSettings, examples: int) -> int:
    count = settings.draws + len(uniform_networks(problem))
    return _trained(count, settings.trial, examples, finals=settings.final_folds - 1)


def _ranking(problem: Problem, settings: SearchSettings, examples: int) -> int:
    inherits = Ranked.inherits(problem.space, settings)
    count = settings.finalists + len(uniform_networks(problem))
    finals = 0 if inherits else settings.final_folds - 1
    trials = _trained(count, settings.trial_of(inherits=inherits), examples, finals=finals)
    return BATCHES * settings.steps * settings.batch_size + trials


def _trained(count: int, recipe: Recipe, examples: int, *, finals: int) -> int:
    """Examples that the trials of so many networks train on."""
    _, epochs = planned_epochs(count, recipe, examples, finals=finals)
    return epochs * recipe.steps(examples) * recipe.batch_size
