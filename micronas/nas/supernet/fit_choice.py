"""The most likely network of a search, moved to the budget option by option."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from micronas.nas.prior import USED
from micronas.nas.supernet.gates import Gates
from micronas.space.decisions import Choice


@dataclass(frozen=True)
class _Move:
    """One decision, one option further."""

    choice: Choice
    lost: float
    """Log likelihood given up."""
    cost: float
    """Change of the binding cost, by its gradient."""


def fit_choice(
    gates: Gates,
    used: Callable[[Choice], dict[str, float]],
    slopes: Callable[[Choice, str], list[Tensor]],
) -> Choice:
    """Return a choice that uses 90 to 100 % of the binding limit, if moves lead there.

    Each move brings the binding cost nearer to its limit and gives up least likelihood for what
    it changes. Where the largest network fits, the most likely one is left as it is.

    Parameters
    ----------
    used
        Exact share of each limit that a choice uses.
    slopes
        ``slopes(choice, name)``: the derivative of a cost by each decision's gates [options]. Costs
        being linear in each decision's gates, differences are what single moves change.
    """
    choice = gates.most_likely()
    shares = used(choice)
    while max(shares.values()) > 1:
        moves = [move for move in _moves(gates, choice, shares, slopes) if move.cost < 0]
        moves.sort(key=lambda move: -move.lost / move.cost)
        # a move that wastes the budget, such as a whole depth, only where there is no other
        worst = max(shares.values())
        found = _first(moves, used, USED, worst) or _first(moves, used, 0.0, worst)
        if found is None:
            return choice
        choice, shares = found
    if max(used(tuple(len(each) - 1 for each in gates.logits)).values()) <= 1:
        return choice
    while max(shares.values()) < USED:
        moves = [move for move in _moves(gates, choice, shares, slopes) if move.cost > 0]
        moves.sort(key=lambda move: move.lost / move.cost)
        # just above what is used already, so that each move gains and the loop ends
        found = _first(moves, used, max(shares.values()) * (1 + 1e-9), 1.0 + 1e-12)
        if found is None:
            return choice
        choice, shares = found
    return choice


def _first(
    moves: list[_Move], used: Callable[[Choice], dict[str, float]], above: float, below: float
) -> tuple[Choice, dict[str, float]] | None:
    """The first move whose network uses from `above` to less than `below` of its binding limit."""
    for move in moves:
        shares = used(move.choice)
        if above <= max(shares.values()) < below:
            return move.choice, shares
    return None


def _moves(
    gates: Gates,
    choice: Choice,
    shares: dict[str, float],
    slopes: Callable[[Choice, str], list[Tensor]],
) -> list[_Move]:
    binding = max(shares, key=lambda name: shares[name])
    moves = []
    for position, slope in enumerate(slopes(choice, binding)):
        likelihood = gates.logits[position].detach().log_softmax(0)
        here = choice[position]
        for there in (here - 1, here + 1):
            if 0 <= there < len(slope):
                moved = (*choice[:position], there, *choice[position + 1 :])
                lost = float(likelihood[here] - likelihood[there])
                moves.append(_Move(moved, lost, float(slope[there] - slope[here])))
    return moves
