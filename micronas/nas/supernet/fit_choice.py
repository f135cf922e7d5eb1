"""The most likely network of a search, moved to the budget option by option."""

from collections.abc import Callable, Iterable

from torch import Tensor

from micronas.nas.prior import USED
from micronas.nas.supernet.gates import Gates
from micronas.space.decisions import Choice


def fit_choice(
    gates: Gates,
    used: Callable[[Choice], dict[str, float]],
    slopes: Callable[[Choice, str], list[Tensor]],
) -> Choice:
    """Return a choice that uses 90 to 100 % of the binding limit, if moves lead there.

    Each move brings the binding cost nearer to its limit and loses the least likelihood per change
    of cost. Where the largest network fits, the most likely one is returned once it fits.

    ``used(choice)`` is the exact share of each limit that a choice uses, and ``slopes(choice,
    name)`` the derivative of a cost by each decision's gates [options]. Costs are linear in the
    gates of a decision, so that differences are the changes by single moves.
    """
    likelihoods = [logits.detach().log_softmax(0) for logits in gates.logits]

    def share(choice: Choice) -> float:
        return max(used(choice).values())

    def moved(choice: Choice, sign: int, spans: Iterable[tuple[float, float]]) -> Choice | None:
        """Return the best move in one direction that ends in the first possible of the spans."""
        shares = used(choice)
        binding = max(shares, key=lambda name: shares[name])
        moves: list[tuple[float, Choice]] = []
        for position, slope in enumerate(slopes(choice, binding)):
            here, likelihood = choice[position], likelihoods[position]
            for there in (here - 1, here + 1):
                gain = sign * float(slope[there] - slope[here]) if 0 <= there < len(slope) else 0.0
                if gain > 0:
                    lost = float(likelihood[here] - likelihood[there])
                    moves.append(
                        (lost / gain, (*choice[:position], there, *choice[position + 1 :]))
                    )
        moves.sort(key=lambda move: move[0])
        fitting = (
            choice for least, most in spans for _, choice in moves if least <= share(choice) < most
        )
        return next(fitting, None)

    choice = gates.most_likely()
    while (worst := share(choice)) > 1:
        # a move that wastes the budget, such as a whole depth, only where there is no other
        found = moved(choice, -1, [(USED, worst), (0.0, worst)])
        if found is None:
            return choice
        choice = found
    if share(tuple(len(each) - 1 for each in gates.logits)) <= 1:
        return choice
    while (least := share(choice)) < USED:
        # just above the share used already, so that each move gains and the loop ends
        found = moved(choice, 1, [(least * (1 + 1e-9), 1.0 + 1e-12)])
        if found is None:
            return choice
        choice = found
    return choice
