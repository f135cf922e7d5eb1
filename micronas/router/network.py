"""Small dense networks fitted by L-BFGS: logistic regression, and one hidden layer."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Network:
    """Dense layers with tanh between them; without a hidden layer it is linear.

    Attributes
    ----------
    layers
        Weights [inputs + 1, outputs] of each layer; the last row is the bias.
    """

    layers: tuple[Floats, ...]

    def logits(self, vectors: Floats) -> Floats:
        """Return the outputs [prompts, outputs]."""
        return _forward(self.layers, vectors)[-1]


def fit_network(
    vectors: Floats,
    targets: Floats,
    *,
    loss: Literal["classes", "squares"],
    penalty: float,
    hidden: tuple[int, ...] = (),
    steps: int = 300,
    seed: int = 0,
) -> Network:
    """Minimise the mean loss plus penalty / 2 times the squared weights, biases left out.

    Parameters
    ----------
    vectors
        [prompts, inputs].
    targets
        [prompts, outputs]: probabilities of classes, or values.
    loss
        ``classes`` is the cross-entropy of a softmax, ``squares`` half the squared error.
    hidden
        Widths of hidden layers; without one the loss is convex and starts at zero.
    steps
        Of L-BFGS at most; with a hidden layer fewer are a regularisation too.
    """
    sizes = (vectors.shape[1], *hidden, targets.shape[1])
    shapes = [(inputs + 1, outputs) for inputs, outputs in pairwise(sizes)]
    rng = np.random.default_rng(seed)
    scale = 1.0 if hidden else 0.0
    start = [scale * rng.normal(size=shape) / shape[0] ** 0.5 for shape in shapes]
    ends = np.cumsum([inputs * outputs for inputs, outputs in shapes])[:-1]

    def layers_of(flat: Floats) -> list[Floats]:
        parts = np.split(flat, ends)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def objective(flat: Floats) -> tuple[float, Floats]:
        layers = layers_of(flat)
        activations = _forward(layers, vectors)
        if loss == "classes":
            logs = log_softmax(activations[-1], axis=1)
            value = -float((targets * logs).sum()) / len(vectors)
            error = (np.exp(logs) - targets) / len(vectors)
        else:
            error = (activations[-1] - targets) / len(vectors)
            value = float((error**2).sum()) * len(vectors) / 2
        gradients = []
        for number in reversed(range(len(layers))):
            if number + 1 < len(layers):
                error = (error @ layers[number + 1][:-1].T) * (1 - activations[number + 1] ** 2)
            decayed = np.vstack([layers[number][:-1], np.zeros(error.shape[1])])
            value += penalty / 2 * float((decayed**2).sum())
            slope = np.vstack([activations[number].T @ error, error.sum(axis=0)])
            gradients.append((slope + penalty * decayed).ravel())
        return value, np.concatenate(gradients[::-1])

    flat = np.concatenate([each.ravel() for each in start])
    # matrices are small: threads of the BLAS would wait for one another most of the time
    with threadpool_limits(1, user_api="blas"):
        found = minimize(objective, flat, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    return Network(tuple(layers_of(found.x)))


def _forward(layers: tuple[Floats, ...] | list[Floats], vectors: Floats) -> list[Floats]:
    """Return the inputs of every layer, and the outputs of the last one."""
    activations = [vectors]
    for number, layer in enumerate(layers):
        sums = activations[-1] @ layer[:-1] + layer[-1]
        activations.append(np.tanh(sums) if number + 1 < len(layers) else sums)
    return activations
