"""What a supernet's gates cost: expected counts, differentiable, exact when gates are one-hot.

Widths are represented by their masks: entry c is the probability of more than c channels, so the
expected width is the mask's sum and the width of a residual sum of independent widths is the
union of masks. Products of widths of different decisions are products of expectations, since
decisions are drawn independently. Sources: MicroNets (arXiv 2010.11267) equation 2 and section
5.1 for counts and working memory; that residuals stay alive is added, the paper's bound misses
it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from micronas.graph.ir import same_output
from micronas.hardware import kernels
from micronas.hardware.features import FEATURES, INSTRUCTIONS, OTHER_INSTRUCTIONS
from micronas.hardware.instructions import instructions
from micronas.hardware.kernels import WIDTH_PARTS, Sweep, Width, Work, exactly, width_of
from micronas.nas.budget import Meter
from micronas.nas.gates import Sample
from micronas.nas.path import union_mask, weighted_sum, width_mask
from micronas.space.search_space import (
    BottleneckSpace,
    SearchSpace,
    SeparableSpace,
    stage_blocks,
)

Area = tuple[int, int]

_BYTES_PER_CHANNEL = 16  # in the file: bias, its scale and the filter's scale, padding apart
_BYTES_PER_LAYER = 400  # in the file: operator, tensors, names, buffers
_TAIL_PER_CHANNEL = 8  # in the arena: multiplier and shift, int32 each
_TAIL_PER_LAYER = 150  # in the arena: operator data, tensors, node


@dataclass
class Expected:
    """Expected counts of a network drawn from gates (float64 scalars).

    `features` has names of `hardware.features`; `flash` and `sram` are smooth stand-ins
    for the file size and the arena, in bytes, close up to a factor that `search` measures on
    samples (the planner that gives the exact arena has no gradient).
    """

    features: dict[str, Tensor]
    flash: Tensor
    sram: Tensor

    def by_limit(self, meter: Meter) -> dict[str, Tensor]:
        """By the names of limits, in their units."""
        return {
            "sram": self.sram,
            "flash": self.flash,
            "latency": meter.latency(self.features),
            "macs": self.features["macs"],
        }


@dataclass
class _Ledger:
    """Adds up operators, each weighted with the probability that it is there."""

    gates: Sample
    space: SearchSpace
    features: dict[str, Tensor] = field(
        default_factory=lambda: {name: torch.zeros((), dtype=torch.float64) for name in FEATURES}
    )
    alive: list[Tensor] = field(default_factory=list)
    channels: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    layers: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    options: dict[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.options = {decision.name: decision.options for decision in self.space.decisions}

    def gate(self, name: str) -> Tensor | None:
        weights = self.gates.get(name)
        return None if weights is None else weights.double()

    def mask(self, name: str) -> Tensor:
        return width_mask(self.gates[name].double(), self.options[name])

    def conv(
        self,
        presence: Tensor,
        source: Tensor,
        out: Tensor,
        sweep: Sweep,
        bits: str,
        *,
        held: Tensor | float = 0.0,
    ) -> None:
        """A CONV_2D from mask `source` to mask `out`; `held` bytes stay alive beside it.

        `bits` names the decision on the weights' bits, if there is one. Widths are multiples of
        four, so that no half byte is left over where weights are packed.
        """
        depth, width = source.sum(), out.sum()
        patch, is_copied = sweep.taps * depth, sweep.taps > 1
        self.features["conv_macs"] += presence * sweep.positions * patch * width
        self.features["conv_outputs"] += presence * sweep.positions * width
        if is_copied:
            self.features["im2col_bytes"] += presence * sweep.positions * patch
            self.features["im2col_taps"] += presence * sweep.positions * sweep.taps
        four, eight = self._shares(bits)
        inputs, outputs = _parts(source), _parts(out)
        self._spend(presence * eight * (inputs @ _convolution(sweep, 8) @ outputs))
        if four is not None:
            self._spend(presence * four * (inputs @ _convolution(sweep, 4) @ outputs))
            self.features["weights_bytes"] -= presence * four * patch * width / 2
        self._weights(presence, patch * width, width)
        scratch = 4 * patch if is_copied else 0.0
        self._alive(presence, sweep, depth, width, held + scratch)

    def depthwise(
        self,
        presence: Tensor,
        mask: Tensor,
        name: str,
        size: Area,
        stride: Area,
        held: Tensor | float = 0.0,
    ) -> None:
        """A DEPTHWISE_CONV_2D whose kernel size is the decision `name`."""
        sweeps = [_sweep(size, (kernel, kernel), stride) for kernel in self.options[name]]
        width, positions, gates = mask.sum(), sweeps[0].positions, self.gates[name].double()
        taps = gates @ torch.tensor([each.taps for each in sweeps]).double()
        self.features["depthwise_macs"] += presence * positions * taps * width
        self.features["depthwise_outputs"] += presence * positions * width
        prices = torch.stack([_depthwise(sweep) for sweep in sweeps])
        self._spend(presence * (gates @ prices @ _parts(mask)))
        self._weights(presence, taps * width, width)
        # CMSIS-NN copies patches for every kernel but 3x3; linear between the two for the gates
        scratch = 2 * (taps - 9) * 25 / 16 * width
        self._alive(presence, sweeps[0], width, width, held + scratch)

    def classifier(self, source: Tensor, size: Area) -> None:
        """Global average, then FULLY_CONNECTED or a 1x1 CONV_2D and a RESHAPE."""
        depth, classes, certain = source.sum(), self.space.classes, _certain()
        self.features["pool_inputs"] += size[0] * size[1] * depth
        self._work(certain, kernels.pool(_whole(size), _width(source)))
        if self.space.head.classifier == "dense":
            self.features["fc_macs"] += depth * classes
            self.features["fc_outputs"] += certain * classes
            self._work(certain, kernels.dense(1, _width(source), exactly(classes)))
        else:
            self.features["conv_macs"] += depth * classes
            self.features["conv_outputs"] += certain * classes
            sweep = _sweep((1, 1), (1, 1), (1, 1))
            self._work(certain, kernels.convolution(sweep, _width(source), exactly(classes)))
            self._work(certain, kernels.elementwise("reshape", classes))
        self._weights(certain, depth * classes, certain * classes)

    def add(self, presence: Tensor, size: Area, left: Tensor, right: Tensor, out: Tensor) -> None:
        """An ADD, and before it a PAD of the narrower side's channels unless both are as wide."""
        positions = size[0] * size[1]
        self.features["add_elements"] += presence * positions * out.sum()
        self._work(presence, kernels.elementwise("add", positions * out.sum()))
        equal, narrower = _equal_and_narrower(left, right)
        padding = kernels.pad(size[0], positions, positions * narrower, 0, channels=True)
        terms = padding.terms | {
            term: (1 - equal) * padding.terms[term] for term in ("positions", "calls")
        }
        self._work(presence, Work(padding.kernel, terms), covered=False)
        held = positions * (left.sum() + right.sum())
        self.alive.append(presence * (held + positions * out.sum()))

    def _shares(self, name: str) -> tuple[Tensor | None, Tensor | float]:
        """Probabilities of 4 and of 8 bits; None and 1 where there is nothing to decide."""
        gate = self.gate(name)
        if gate is None:
            return None, 1.0
        four = gate[self.options[name].index(4)]
        return four, 1 - four

    def _work(self, presence: Tensor, work: Work, *, covered: bool = True) -> None:
        self._spend(presence * instructions(work), covered=covered)

    def _spend(self, cost: Tensor, *, covered: bool = True) -> None:
        self.features[INSTRUCTIONS] += cost
        if not covered:
            self.features[OTHER_INSTRUCTIONS] += cost

    def _weights(self, presence: Tensor, count: Tensor, biases: Tensor) -> None:
        self.features["weights"] += presence * (count + biases)
        self.features["weights_bytes"] += presence * (count + 4 * biases)
        self.channels = self.channels + presence * biases
        self.layers = self.layers + presence

    def _alive(
        self,
        presence: Tensor,
        sweep: Sweep,
        depth: Tensor,
        width: Tensor,
        beside: Tensor | float,
    ) -> None:
        tensors = sweep.source[0] * sweep.source[1] * depth + sweep.positions * width
        self.alive.append(presence * (tensors + beside))


def expected(space: SearchSpace, gates: Sample) -> Expected:
    """Return the expected counts of a network drawn from gates.

    Parameters
    ----------
    space
        The search space.
    gates
        Probabilities, or a (soft or one-hot) sample, of each decision.
    """
    ledger = _Ledger(gates, space)
    certain = _certain()
    image = torch.ones(space.input[2], dtype=torch.float64)
    stem = _sweep(space.input[:2], space.stem.kernel, space.stem.stride)
    mask, size = ledger.mask("stem.width"), stem.out
    ledger.conv(certain, image, mask, stem, "stem.bits")
    for number, stage in enumerate(space.stages, 1):
        if isinstance(stage, SeparableSpace):
            mask, size = _separable_stage(ledger, stage, number, mask, size)
        else:
            for name in stage_blocks(stage, number):
                mask, size = _bottleneck(ledger, stage, name, mask, size)
    if space.head.width is not None:
        head = ledger.mask("head.width")
        ledger.conv(certain, mask, head, _pointwise(size), "head.bits")
        mask = head
    ledger.classifier(mask, size)
    features = dict(ledger.features)
    features["macs"] = features["conv_macs"] + features["depthwise_macs"] + features["fc_macs"]
    features["ops"] = 2 * features["macs"]
    channels, layers = ledger.channels, ledger.layers
    return Expected(
        features,
        flash=features["weights_bytes"] + _BYTES_PER_CHANNEL * channels + _BYTES_PER_LAYER * layers,
        sram=_soft_maximum(torch.stack(ledger.alive))
        + _TAIL_PER_CHANNEL * channels
        + _TAIL_PER_LAYER * layers,
    )


def _separable_stage(
    ledger: _Ledger, stage: SeparableSpace, number: int, mask: Tensor, size: Area
) -> tuple[Tensor, Area]:
    depth = ledger.gate(f"stage{number}.depth")
    masks = [mask]
    for position, name in enumerate(stage_blocks(stage, number), 1):
        presence = _certain() if depth is None else depth[position:].sum()
        narrow = ledger.mask(f"{name}.width")
        ledger.depthwise(presence, masks[-1], f"{name}.kernel", size, stage.stride)
        size = _stride(size, stage.stride)
        ledger.conv(presence, masks[-1], narrow, _pointwise(size), f"{name}.bits")
        masks.append(narrow)
    return (masks[-1] if depth is None else weighted_sum(depth, masks)), size


def _bottleneck(
    ledger: _Ledger, stage: BottleneckSpace, name: str, mask: Tensor, size: Area
) -> tuple[Tensor, Area]:
    keep = ledger.gate(f"{name}.keep")
    presence = _certain() if keep is None else keep[1]
    out_size = _stride(size, stage.stride)
    wide, narrow = ledger.mask(f"{name}.expansion"), ledger.mask(f"{name}.width")
    held = size[0] * size[1] * mask.sum() if stage.residual else 0.0
    bits = f"{name}.bits"
    ledger.conv(presence, mask, wide, _pointwise(size), bits)
    ledger.depthwise(presence, wide, f"{name}.kernel", size, stage.stride, held)
    ledger.conv(presence, wide, narrow, _pointwise(out_size), bits, held=held)
    if not stage.residual:
        return narrow, out_size
    ledger.add(presence, size, mask, narrow, union_mask(mask, narrow))
    return union_mask(mask, presence * narrow), size


def _equal_and_narrower(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Probability that independent widths are equal, and the smaller one's mean where not."""
    shared = min(len(left), len(right))
    both = _exactly_each(left)[:shared] * _exactly_each(right)[:shared]
    widths = torch.arange(1, shared + 1, dtype=torch.float64)
    return both.sum(), (left[:shared] * right[:shared]).sum() - both @ widths


def _exactly_each(mask: Tensor) -> Tensor:
    """Probability of exactly 1, 2, ... channels."""
    return mask - torch.nn.functional.pad(mask[1:], (0, 1))


def _width(mask: Tensor) -> Width:
    """Expectations of the functions of a width that kernels are priced by."""
    return width_of(_width_steps(len(mask)) @ mask)


def _parts(mask: Tensor) -> Tensor:
    """The same as a vector, behind a constant 1: what `_depthwise` and `_convolution` price."""
    return torch.nn.functional.pad(_width_steps(len(mask)) @ mask, (1, 0), value=1.0)


@lru_cache
@torch.inference_mode(False)
def _width_steps(largest: int) -> Tensor:
    """What each function gains from one more channel [functions, largest]; all are 0 at 0."""
    values = [[part(channels) for channels in range(largest + 1)] for part in WIDTH_PARTS]
    return torch.tensor(values, dtype=torch.float64).diff(dim=1)


@lru_cache
@torch.inference_mode(False)
def _convolution(sweep: Sweep, bits: int) -> Tensor:
    """Instructions of a CONV_2D, bilinear in the parts of both widths: [parts, parts]."""

    def column(out: Width) -> Tensor:
        return _coefficients(
            lambda source: instructions(kernels.convolution(sweep, source, out, bits=bits))
        )

    constant, *columns = (column(out) for out in _probes())
    return torch.stack([constant, *(each - constant for each in columns)], 1)


@lru_cache
@torch.inference_mode(False)
def _depthwise(sweep: Sweep) -> Tensor:
    """Instructions of a DEPTHWISE_CONV_2D, linear in the parts of its width: [parts]."""
    return _coefficients(lambda width: instructions(kernels.depthwise(sweep, width)))


def _coefficients(function: Callable[[Width], float]) -> Tensor:
    """Of an affine function of a width's parts: the constant, then one a part."""
    constant, *values = (function(width) for width in _probes())
    return torch.tensor([constant, *(value - constant for value in values)], dtype=torch.float64)


def _probes() -> list[Width]:
    """No part of a width, then each by itself."""
    parts = range(len(WIDTH_PARTS))
    return [width_of([int(part == one) for part in parts]) for one in (-1, *parts)]


def _soft_maximum(values: Tensor) -> Tensor:
    """Just above the largest value, with a gradient to all values close to it."""
    scale = 0.02 * values.detach().max()
    return scale * (values / scale).logsumexp(0)


def _sweep(size: Area, kernel: Area, stride: Area) -> Sweep:
    return Sweep(size, _stride(size, stride), kernel, stride)


def _pointwise(size: Area) -> Sweep:
    return Sweep(size, size, (1, 1))


def _whole(size: Area) -> Sweep:
    """The window of a global pool."""
    return Sweep(size, (1, 1), size, size, "VALID")


def _stride(size: Area, stride: Area) -> Area:
    return same_output(size[0], stride[0]), same_output(size[1], stride[1])


def _certain() -> Tensor:
    return torch.ones((), dtype=torch.float64)
