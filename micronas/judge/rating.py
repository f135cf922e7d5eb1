"""Ratings from battles: Bradley-Terry by Newton's method.

Bradley-Terry says that i beats j with probability ``1 / (1 + exp(s_j - s_i))``; ties count as half
a win for both. Two numbers per pair of models hold all data, so that a fit costs as much for a
million battles as for a hundred, and many resamples are fitted at once.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.special import expit

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles, Indices

_TOLERANCE = 1e-12
_ROUNDING = 1e-9
_NEWTON_STEPS = 200
_CHUNK = 4_000_000
_NO_RATINGS = "; add a draw of each with --prior 1 (prior=1), or leave out models"


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of models that met: indices [pairs], and for each battle its pair and points.

    ``first_points`` and ``second_points`` [battles] are the weighted points of the pair's models.
    """

    first: Indices
    second: Indices
    of_battle: Indices
    first_points: Floats
    second_points: Floats

    @classmethod
    def of(cls, battles: Battles) -> "Pairs":
        """Return the pairs of a set of battles."""
        models = len(battles.models)
        low = np.minimum(battles.left, battles.right)
        key = low * models + np.maximum(battles.left, battles.right)
        seen = np.flatnonzero(np.bincount(key[battles.weight > 0], minlength=models * models))
        if not len(seen):
            raise DataError("ratings need battles with a weight above zero, but there are none")
        place = np.zeros(models * models, np.intp)
        place[seen] = np.arange(len(seen))
        left_points = battles.weight * battles.outcome
        right_points = battles.weight - left_points
        straight = battles.left == low
        return cls(
            first=seen // models,
            second=seen % models,
            of_battle=place[key],
            first_points=np.where(straight, left_points, right_points),
            second_points=np.where(straight, right_points, left_points),
        )

    def totals(self) -> tuple[Floats, Floats]:
        """Return the points [pairs] of the first and of the second model."""
        size = len(self.first)
        first = np.bincount(self.of_battle, self.first_points, size)
        second = np.bincount(self.of_battle, self.second_points, size)
        return first.astype(np.float64), second.astype(np.float64)


def bradley_terry(battles: Battles, *, prior: float = 0.0, baseline: str | None = None) -> Floats:
    """Fit Bradley-Terry scores [models], in log-odds, by maximum likelihood.

    Parameters
    ----------
    prior
        Number of added draws of each model against an average model of score zero. Zero is plain
        maximum likelihood; one is enough for finite scores.
    baseline
        Model of score zero; by default the mean is zero.

    Raises
    ------
    DataError
        If no finite scores exist (groups of models that never met, or that won or lost every
        battle against the others) and there is no prior.
    """
    pairs = Pairs.of(battles)
    likelihood = Likelihood.of(pairs, battles.models, prior)
    wins, losses = pairs.totals()
    scores = likelihood.fit(wins[:, None], losses[:, None])[:, 0]
    return at_zero(scores, battles, baseline)


def at_zero(scores: Floats, battles: Battles, baseline: str | None) -> Floats:
    """Shift scores [..., models] so that the baseline, or else the mean, is at zero."""
    if baseline is None:
        return np.asarray(scores - scores.mean(axis=-1, keepdims=True))
    place = battles.index(baseline)
    return np.asarray(scores - scores[..., place : place + 1])


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The likelihood of Bradley-Terry on given pairs; a prior is one more model with its pairs."""

    names: tuple[str, ...]
    first: Indices
    second: Indices
    prior: float

    @classmethod
    def of(cls, pairs: Pairs, names: tuple[str, ...], prior: float) -> "Likelihood":
        """Return the likelihood, with the pairs of the prior."""
        if len(names) < 2:
            raise DataError(f"ratings need two models or more, but got {len(names)}")
        if not (np.isfinite(prior) and prior >= 0):
            raise DataError(f"a prior must be a number of battles, zero or more, but got {prior}")
        if not prior:
            return cls(names, pairs.first, pairs.second, 0.0)
        every = np.arange(len(names))
        return cls(
            names,
            np.concatenate([pairs.first, every]),
            np.concatenate([pairs.second, np.full(len(names), len(names))]),
            prior,
        )

    def fit(self, wins: Floats, losses: Floats, start: Floats | None = None) -> Floats:
        """Return scores [models, fits] for points [pairs, fits] of each pair's two models.

        ``start`` [models, 1] is the fit of similar points, such as those that were resampled.
        """
        self.check(wins, losses)
        if self.prior:
            drawn = np.full((len(self.names), wins.shape[1]), self.prior / 2)
            wins, losses = np.concatenate([wins, drawn]), np.concatenate([losses, drawn])
        nodes = len(self.names) + (self.prior > 0)
        scores = np.zeros((nodes, wins.shape[1]))
        if start is not None:
            scores[: len(start)] = start
        size = max(1, _CHUNK // nodes**2)
        for begin in range(0, wins.shape[1], size):
            part = slice(begin, begin + size)
            scores[:, part] = self._newton(wins[:, part], losses[:, part], scores[:, part])
        if self.prior:
            scores = scores[:-1] - scores[-1:]
        return scores

    def _hessian(self, curvature: Floats, nodes: int) -> Floats:
        """Return negative Hessians [fits, nodes, nodes] of full rank."""
        matrix = np.zeros((curvature.shape[1], nodes, nodes))
        matrix[:, self.first, self.second] = -curvature.T
        matrix[:, self.second, self.first] = -curvature.T
        diagonal = -matrix.sum(axis=2)
        index = np.arange(nodes)
        matrix[:, index, index] = diagonal
        # otherwise the matrix is singular, as adding a number to all scores changes nothing
        return np.asarray(matrix + diagonal.mean(axis=1)[:, None, None] / nodes)

    def _newton(self, wins: Floats, losses: Floats, scores: Floats) -> Floats:
        """Maximise by Newton's method with steps that cannot overshoot."""
        pairs = len(self.first)
        ends = (np.tile(np.arange(pairs), 2), np.concatenate([self.first, self.second]))
        signs = np.repeat([1.0, -1.0], pairs)
        incidence = sparse.csr_array((signs, ends), shape=(pairs, len(scores)))
        total = wins + losses
        largest = np.inf
        for _ in range(_NEWTON_STEPS):
            chance = expit(incidence @ scores)
            gradient = incidence.T @ (wins - total * chance)
            hessian = self._hessian(total * chance * (1 - chance), len(scores))
            step = np.linalg.solve(hessian, gradient.T[:, :, None])[:, :, 0].T
            # the third derivative of the logistic function is at most its second, so along a step
            # that changes no difference by more than d the likelihood is known to rise up to here
            change = np.maximum(np.abs(incidence @ step).max(axis=0), 1e-300)
            scores = scores + step * (np.log1p(change) / change)
            before, largest = largest, float(change.max())
            if largest < _TOLERANCE or before <= largest < _ROUNDING:
                return scores
        raise DataError(
            f"Bradley-Terry did not converge in {_NEWTON_STEPS} steps: some weights are too small "
            f"beside others{_NO_RATINGS}"
        )

    def check(self, wins: Floats, losses: Floats) -> None:
        """Raise DataError unless wins connect all models both ways, so that scores are finite.

        Source: L. R. Ford, "Solution of a ranking problem from binary comparisons" (1957).
        """
        if self.prior:
            return
        won, lost = wins > 0, losses > 0
        nodes = len(self.names)
        _, unlike = np.unique(np.packbits(np.concatenate([won, lost]), axis=0), True, axis=1)
        for fit in unlike:
            ahead = np.concatenate([self.first[won[:, fit]], self.second[lost[:, fit]]])
            behind = np.concatenate([self.second[won[:, fit]], self.first[lost[:, fit]]])
            graph = sparse.csr_array((np.ones(len(ahead)), (ahead, behind)), shape=(nodes, nodes))
            groups, group = csgraph.connected_components(graph, connection="strong")
            if groups > 1:
                some = (
                    f"in some of {len(wins.T)} resamples of the prompts " if len(wins.T) > 1 else ""
                )
                raise DataError(some + self._complaint(graph, group) + _NO_RATINGS)

    def _complaint(self, graph: sparse.csr_array, group: Indices) -> str:
        islands, island = csgraph.connected_components(graph, directed=False)
        if islands > 1:
            other = int(np.flatnonzero(island != island[0])[0])
            return (
                f"ratings compare models that met, if only through others, but nothing connects "
                f"{self.names[0]!r} and {self.names[other]!r}"
            )
        beaten = graph.tocoo()
        # a group that no outsider beat
        top = set(group.tolist()) - set(group[beaten.col[group[beaten.row] != group[beaten.col]]])
        same = np.flatnonzero(group == min(top)).tolist()
        who = f"{self.names[same[0]]!r}" + (f" and {len(same) - 1} others" if same[1:] else "")
        return f"finite ratings need a win and a loss, but {who} lost no battle to the other models"


def expected_win_rates(scores: Floats, baseline: int | None = None) -> Floats:
    """Return win rates [..., models] predicted by Bradley-Terry scores [..., models].

    They are against the model of index ``baseline``, or else means against all other models.
    """
    if baseline is not None:
        return np.asarray(expit(scores - scores[..., baseline : baseline + 1]))
    models = scores.shape[-1]
    chances = expit(scores[..., :, None] - scores[..., None, :])
    return np.asarray((chances.sum(axis=-1) - 0.5) / (models - 1))
