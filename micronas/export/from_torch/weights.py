"""Weights of a trace: the module's own, with factors of norms, until the graph gets copies."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from micronas.errors import ExportError
from micronas.graph import ir
from micronas.graph.ir import Array, Op
from micronas.graph.scaled import Scaled
from micronas.quantities import aligned
from micronas.train.network import weights_of

_Doubles = npt.NDArray[np.float64]
_ALIGNED = 16
"""Numbers of which each tensor begins at a multiple in the block, for vector instructions."""
_LARGE = 2**24
"""Most numbers of products that are copied though they need not be."""


@dataclass
class Folding:
    """Factors that weights are multiplied by when the trace ends."""

    factors: dict[str, _Doubles] = field(default_factory=dict)
    """By the name of the weights, broadcast to their shape."""

    def scale(
        self, tensors: dict[str, ir.Tensor], op: Op, factor: _Doubles, shift: _Doubles
    ) -> None:
        """Fold a norm of an operator's output channels, float64, into its weights and bias."""
        weight, bias = (tensors[name] for name in op.learnt)
        assert bias.data is not None
        shape = [1] * len(weight.shape)
        shape[weights_of(op).axis] = -1
        before = self.factors.get(weight.name, np.ones(1))
        self.factors[weight.name] = before * factor.reshape(shape)
        moved = (np.asarray(bias.data, np.float64) * factor + shift).astype(np.float32)
        tensors[bias.name] = replace(bias, data=moved)

    def folded(self, tensors: Mapping[str, ir.Tensor], copy: bool) -> dict[str, ir.Tensor]:
        """Return tensors multiplied by the folded factors, others as they are unless `copy`.

        All copies in float32 lie in one block, which returns to the system as a whole. Without
        `copy` products of more than 64 MiB are `Scaled` instead: computing them at each use takes a
        twelfth of the export of ResNet-50, and spares 94 MiB. Raises ExportError if a number is not
        finite.
        """
        held = {name: self._scaled(each) for name, each in tensors.items() if each.data is not None}
        own = [each for name, each in held.items() if copy or name in self.factors]
        sizes = [aligned(each.elements, _ALIGNED) for each in own]
        if copy or sum(sizes) <= _LARGE:
            block, start = np.empty(sum(sizes), np.float32), 0
            for tensor, size in zip(own, sizes, strict=True):
                given = np.asarray(tensor.data)
                data = block[start : start + tensor.elements].reshape(tensor.shape)
                start += size
                if given.dtype != np.float32:
                    data = np.empty(tensor.shape, given.dtype)
                data[...] = given
                held[tensor.name] = replace(tensor, data=data)
        for name, tensor in held.items():
            if not np.isfinite(np.asarray(tensor.data)).all():
                raise ExportError(
                    f"weights must be finite with batch norm folded, but {name} is not; "
                    "look for variances below zero"
                )
        return {**tensors, **held}

    def _scaled(self, tensor: ir.Tensor) -> ir.Tensor:
        factors = self.factors.get(tensor.name)
        if factors is None:
            return tensor
        assert tensor.data is not None
        return replace(tensor, data=cast(Array, Scaled(tensor.data, factors)))
