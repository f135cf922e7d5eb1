"""Forms of latency model, fitted to some networks of the census and tried on others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from micronas.hardware.forms import FIVE_TERMS, OPS, THREE_TERMS, TWO_TERMS
from micronas.hardware.latency import Terms, fit
from micronas.hardware.targets import CMSIS_NN
from testing import census
from testing.census import Measured
from testing.kernel_fits import fit_kernels, predict

COMPARED: Mapping[str, Terms] = {
    "ops": OPS,
    "terms (2 coefficients)": TWO_TERMS,
    "terms (3 coefficients)": THREE_TERMS,
    "terms (5 coefficients)": FIVE_TERMS,
}
_FOLDS = 10
_NEAR = 1.2


@dataclass(frozen=True)
class Network:
    """A network of the census: its counts, its operators and the instructions it took."""

    name: str
    space: str
    features: dict[str, float]
    operators: list[Measured]
    instructions: float


def networks() -> list[Network]:
    operators = census.by_network(census.operators())
    return [
        Network(
            row["id"],
            census.space(row),
            CMSIS_NN.features(census.network(row)),
            operators[row["id"]],
            float(row["instructions_m4_cmsisnn"]),
        )
        for row in census.rows("census_models")
    ]


def extra_operators() -> list[Measured]:
    """Return the operators of the small networks made to cover other kernels."""
    return [each for each in census.operators() if each.network.startswith("extra")]


def by_terms(terms: Terms, train: Sequence[Network], test: Sequence[Network]) -> list[float]:
    """Return the instructions of test networks that a linear form fitted to others predicts."""
    instructions = [n.instructions for n in train]
    fitted = fit([n.features for n in train], instructions, terms=terms, leave_one_out=False)
    return [float(fitted.model.predict(network.features)) for network in test]


def by_kernel(
    extra: Sequence[Measured], train: Sequence[Network], test: Sequence[Network]
) -> list[float]:
    """Return the instructions of test networks that kernels fitted to others predict."""
    kernels = fit_kernels([*extra, *(each for n in train for each in n.operators)])
    return [sum(predict(kernels, each.work) for each in n.operators) for n in test]


def errors(predicted: Sequence[float], test: Sequence[Network]) -> list[float]:
    return [found / n.instructions - 1 for found, n in zip(predicted, test, strict=True)]


def wrong_pairs(predicted: Mapping[str, float], measured: Mapping[str, float]) -> tuple[int, int]:
    """Return how many pairs within 20 % of each other are ordered wrongly, and how many are so."""
    names = sorted(measured, key=measured.__getitem__)
    near = [
        (low, high)
        for position, low in enumerate(names)
        for high in names[position + 1 :]
        if measured[low] < measured[high] < _NEAR * measured[low]
    ]
    return sum(predicted[low] >= predicted[high] for low, high in near), len(near)


def folded(all_networks: Sequence[Network], extra: Sequence[Measured]) -> dict[str, float]:
    """Return each network's instructions by kernels fitted without its tenth of the networks."""
    found: dict[str, float] = {}
    for fold in range(_FOLDS):
        test = all_networks[fold::_FOLDS]
        train = [network for network in all_networks if network not in test]
        found |= dict(zip((n.name for n in test), by_kernel(extra, train, test), strict=True))
    return found
