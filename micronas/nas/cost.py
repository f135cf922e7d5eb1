"""What a supernet's gates cost: expected counts, differentiable, exact when gates are one-hot.

Widths are represented by their masks: entry c is the probability of more than c channels, so the
expected width is the mask's sum and the width of a residual sum of independent widths is the
union of masks. Products of widths of different decisions are products of expectations, since
decisions are drawn independently. Sources: MicroNets (arXiv 2010.11267) equation 2 and section
5.1 for counts and working memory; that residuals stay alive is added, the paper's bound misses
it.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from micronas.graph.ir import same_output
from micronas.nas.gates import Sample
from micronas.nas.path import add_padded, weighted_sum, width_mask
from micronas.search_space import (
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

    `features` has the names of `graph.counts.Counts`; `flash` and `sram` are smooth stand-ins
    for the file size and the arena, in bytes, close up to a factor that `search` measures on
    samples (the planner that gives the exact arena has no gradient).
    """

    features: dict[str, Tensor]
    flash: Tensor
    sram: Tensor


@dataclass
class _Ledger:
    """Adds up operators, each weighted with the probability that it is there."""

    gates: Sample
    space: SearchSpace
    features: dict[str, Tensor] = field(
        default_factory=lambda: defaultdict(lambda: torch.zeros((), dtype=torch.float64))
    )
    alive: list[Tensor] = field(default_factory=list)
    channels: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    layers: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def gate(self, name: str) -> Tensor | None:
        weights = self.gates.get(name)
        return None if weights is None else weights.double()

    def mask(self, name: str) -> Tensor:
        options = {each.name: each.options for each in self.space.decisions}[name]
        return width_mask(self.gates[name].double(), options)

    def expected(self, name: str, value: Callable[[int], float]) -> Tensor:
        """Expectation of a function of a decision's option."""
        options = {each.name: each.options for each in self.space.decisions}[name]
        values = torch.tensor([value(option) for option in options], dtype=torch.float64)
        return self.gates[name].double() @ values

    def conv(
        self,
        presence: Tensor,
        source: Tensor,
        size: Area,
        out: Tensor,
        out_size: Area,
        *,
        taps: int = 1,
        held: Tensor | float = 0.0,
    ) -> None:
        """A CONV_2D from mask `source` to mask `out`; `held` bytes stay alive beside it."""
        positions = out_size[0] * out_size[1]
        depth, width = source.sum(), out.sum()
        self.features["conv_macs"] += presence * positions * taps * depth * width
        self.features["conv_outputs"] += presence * positions * width
        self._weights(presence, taps * depth * width, width)
        scratch = 4 * taps * depth if taps > 1 else 0.0
        self._alive(presence, size, depth, out_size, width, held + scratch)

    def depthwise(
        self,
        presence: Tensor,
        mask: Tensor,
        size: Area,
        out_size: Area,
        taps: Tensor,
        held: Tensor | float = 0.0,
    ) -> None:
        positions = out_size[0] * out_size[1]
        width = mask.sum()
        self.features["depthwise_macs"] += presence * positions * taps * width
        self.features["depthwise_outputs"] += presence * positions * width
        self._weights(presence, taps * width, width)
        # CMSIS-NN copies patches for every kernel but 3x3; linear between the two for the gates
        scratch = 2 * (taps - 9) * 25 / 16 * width
        self._alive(presence, size, width, out_size, width, held + scratch)

    def dense(self, source: Tensor, classes: int) -> None:
        depth = source.sum()
        kind = "fc" if self.space.head.classifier == "dense" else "conv"
        self.features[f"{kind}_macs"] += depth * classes
        if kind == "conv":
            self.features["conv_outputs"] += classes
        one = torch.ones((), dtype=torch.float64)
        self._weights(one, depth * classes, one * classes)

    def add(self, presence: Tensor, size: Area, left: Tensor, right: Tensor, out: Tensor) -> None:
        elements = size[0] * size[1]
        self.features["add_elements"] += presence * elements * out.sum()
        held = elements * (left.sum() + right.sum())
        self.alive.append(presence * (held + elements * out.sum()))

    def _weights(self, presence: Tensor, count: Tensor, biases: Tensor) -> None:
        self.features["weights"] += presence * (count + biases)
        self.features["weights_bytes"] += presence * (count + 4 * biases)
        self.channels = self.channels + presence * biases
        self.layers = self.layers + presence

    def _alive(
        self,
        presence: Tensor,
        size: Area,
        depth: Tensor,
        out_size: Area,
        width: Tensor,
        beside: Tensor | float,
    ) -> None:
        tensors = size[0] * size[1] * depth + out_size[0] * out_size[1] * width
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
    certain = torch.ones((), dtype=torch.float64)
    image = torch.ones(space.input[2], dtype=torch.float64)
    height, width = space.input[:2]
    size = _stride((height, width), space.stem.stride)
    mask = ledger.mask("stem.width")
    taps = space.stem.kernel[0] * space.stem.kernel[1]
    ledger.conv(certain, image, (height, width), mask, size, taps=taps)
    for number, stage in enumerate(space.stages, 1):
        if isinstance(stage, SeparableSpace):
            mask, size = _separable_stage(ledger, stage, number, mask, size)
        else:
            for name in stage_blocks(stage, number):
                mask, size = _bottleneck(ledger, stage, name, mask, size)
    if space.head.width is not None:
        head = ledger.mask("head.width")
        ledger.conv(certain, mask, size, head, size)
        mask = head
    ledger.dense(mask, space.classes)
    features = dict(ledger.features)
    features["macs"] = sum(
        (features.get(f"{kind}_macs", 0 * certain) for kind in ("conv", "depthwise", "fc")),
        0 * certain,
    )
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
        out_size = _stride(size, stage.stride)
        taps = ledger.expected(f"{name}.kernel", lambda kernel: kernel**2)
        narrow = ledger.mask(f"{name}.width")
        ledger.depthwise(presence, masks[-1], size, out_size, taps)
        ledger.conv(presence, masks[-1], out_size, narrow, out_size)
        masks.append(narrow)
        size = out_size
    return (masks[-1] if depth is None else weighted_sum(depth, masks)), size


def _bottleneck(
    ledger: _Ledger, stage: BottleneckSpace, name: str, mask: Tensor, size: Area
) -> tuple[Tensor, Area]:
    keep = ledger.gate(f"{name}.keep")
    presence = _certain() if keep is None else keep[1]
    out_size = _stride(size, stage.stride)
    wide, narrow = ledger.mask(f"{name}.expansion"), ledger.mask(f"{name}.width")
    taps = ledger.expected(f"{name}.kernel", lambda kernel: kernel**2)
    held = size[0] * size[1] * mask.sum() if stage.residual else 0.0
    ledger.conv(presence, mask, size, wide, size)
    ledger.depthwise(presence, wide, size, out_size, taps, held)
    ledger.conv(presence, wide, out_size, narrow, out_size, held=held)
    if not stage.residual:
        return narrow, out_size
    ledger.add(presence, size, mask, narrow, _union(mask, narrow))
    return _union(mask, presence * narrow), size


def _union(left: Tensor, right: Tensor) -> Tensor:
    """Mask of the larger of two independent widths: 1 - (1 - left)(1 - right)."""
    both = torch.zeros_like(left if len(left) >= len(right) else right)
    shared = min(len(left), len(right))
    both[:shared] = left[:shared] * right[:shared]
    return add_padded(left, right) - both


def _soft_maximum(values: Tensor) -> Tensor:
    """Just above the largest value, with a gradient to all values close to it."""
    scale = 0.02 * values.detach().max()
    return scale * (values / scale).logsumexp(0)


def _stride(size: Area, stride: Area) -> Area:
    return same_output(size[0], stride[0]), same_output(size[1], stride[1])


def _certain() -> Tensor:
    return torch.ones((), dtype=torch.float64)
