"""Lower blocks to a graph with choices: each convolution at its largest, decisions beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from micronas.errors import ConfigError
from micronas.graph.builder import Bits, Builder
from micronas.graph.ir import Activation, Op
from micronas.space.channels import Channels, Union, Units, fixed, owned
from micronas.space.choice_graph import Acts, ChoiceGraph, Selection, Step, either
from micronas.space.decisions import Decision, DecisionKind


@dataclass(frozen=True)
class Chosen:
    """Options of one decision, or the only option."""

    options: tuple[Any, ...]
    decision: int | None

    @property
    def largest(self) -> Any:
        return self.options[-1]


class Lowering:
    """A builder of a graph with choices.

    Attributes
    ----------
    input
        Name of the input tensor.
    activation
        Activation fused into layers.
    scope
        Name of the block being lowered, the prefix of its decisions and layers.
    """

    def __init__(self, input_shape: tuple[int, int, int], activation: Activation) -> None:
        self._builder = Builder(input_shape)
        self._steps: list[Step] = []
        self._decisions: list[Decision] = []
        self._options: list[tuple[int, ...]] = []
        self._acts: dict[str, Acts] = {}
        self._widening: set[str] = set()
        self.input = self._builder.input
        self._channels: dict[str, Channels] = {self.input: fixed(input_shape[2])}
        self.activation = activation
        self.scope = ""

    def decide(
        self, field: str, kind: DecisionKind, options: Sequence[Any], named: Sequence[str] = ()
    ) -> Chosen:
        """Add a decision, named after the block and its field, if there are several options."""
        if len(options) == 1:
            return Chosen(tuple(options), None)
        self._decisions.append(
            Decision(f"{self.scope}.{field}", kind, tuple(options), tuple(named))
        )
        self._options.append(tuple(options) if kind == "width" else ())
        return Chosen(tuple(options), len(self._decisions) - 1)

    def conv(
        self,
        source: str,
        width: Chosen | str,
        *,
        layer: str = "",
        kernel: Chosen | None = None,
        bits: Chosen | None = None,
        stride: tuple[int, int] = (1, 1),
        active: bool = True,
    ) -> str:
        """Append a CONV_2D with SAME padding.

        `width` may name a tensor whose channels the output has; `layer` is the name inside the
        block.
        """
        made = self._channels[width] if isinstance(width, str) else self._made(width)
        size = (1, 1) if kernel is None else kernel.largest
        only: Bits = 4 if bits is not None and bits.options == (4,) else 8
        out = self._builder.conv(
            source,
            self._name(layer),
            made.size,
            size,
            stride=stride,
            activation=self.activation if active else "NONE",
            bits=only,
        )
        return self._append(out, made, kernel, bits)

    def depthwise(
        self, source: str, kernel: Chosen, *, layer: str = "depthwise", stride: tuple[int, int]
    ) -> str:
        """Append a DEPTHWISE_CONV_2D with SAME padding and activation."""
        out = self._builder.depthwise(
            source, self._name(layer), kernel.largest, stride=stride, activation=self.activation
        )
        return self._append(out, self._channels[source], kernel, None)

    def add(self, left: str, right: str, *, layer: str = "add", active: bool = False) -> str:
        """Append an ADD; where widths differ the narrower side is padded with zero channels."""
        name, sides = self._name(layer), [self._channels[each] for each in (left, right)]
        activation = self.activation if active else "NONE"
        certain = not (sides[0].decisions or sides[1].decisions)
        if sides[0] == sides[1] or certain:
            out = self._builder.add(left, right, name, activation=activation)
            return self._append(out, fixed(max(e.size for e in sides)) if certain else sides[0])
        self._widening.add(name)
        wide = left if sides[0].size >= sides[1].size else right
        op = Op("ADD", name, (left, right), (name,), activation=activation)
        return self._append(self._builder.append(op, self._builder.shape(wide)), Union(*sides))

    def concatenate(self, sources: Sequence[str]) -> str:
        """Append a CONCATENATION along channels."""
        name = self._name("concatenation")
        parts = [self._units(each) for each in sources]
        channels = Units(
            np.concatenate([each.owners for each in parts]),
            np.concatenate([each.ranks for each in parts]),
            self._options,
        )
        shape = self._builder.shape(sources[0])
        op = Op("CONCATENATION", name, tuple(sources), (name,), axis=3)
        return self._append(self._builder.append(op, (*shape[:3], channels.size)), channels)

    def halves(self, source: str) -> tuple[str, str]:
        """Append a SLICE for each half of the channels.

        Raises ConfigError if one is empty at some width.
        """
        middle = self._units(source).size // 2
        first = self._slice(source, slice(0, middle), "first_half")
        return first, self._slice(source, slice(middle, None), "second_half")

    def _slice(self, source: str, part: slice, layer: str) -> str:
        units, name, shape = self._units(source), self._name(layer), self._builder.shape(source)
        kept = Units(units.owners[part], units.ranks[part], self._options)
        if kept.values[0] == 0:
            raise ConfigError(
                f"each half of the channels must keep some at every width, but the smallest of "
                f"{units.values} leaves {self.scope} without one; put a shuffle block with a width "
                "before it, whose halves are equally wide"
            )
        begin, size = (0, 0, 0, part.start), (*shape[:3], kept.size)
        tables = [
            self._builder.constant(f"{name}/{table}", np.array(values, np.int32))
            for table, values in (("begin", begin), ("size", size))
        ]
        op = Op("SLICE", name, (source, *tables), (name,))
        return self._append(self._builder.append(op, size), kept)

    def _units(self, source: str) -> Units:
        channels = self._channels[source]
        if not isinstance(channels, Units):
            raise ConfigError(
                f"channels that are joined or cut must be those of layers, but {self.scope} reads "
                "what a decision selects or a sum of two widths; put a block with a width between"
            )
        return channels

    def excite(self, source: str, squeeze: Chosen) -> str:
        """Scale each channel by a gate of its mean, from two dense layers with `squeeze` channels
        between them (squeeze-and-excite, arXiv 1709.01507)."""
        builder, channels = self._builder, self._channels[source]
        mean = self.global_average(source, self._name("mean"))
        width, activation = squeeze.largest, self.activation
        few = builder.dense(mean, self._name("squeeze"), width, activation=activation)
        self._append(few, self._made(squeeze))
        factors = builder.dense(few, self._name("excite"), channels.size)
        self._append(factors, channels)
        gate = self._append(builder.logistic(factors, self._name("gate")), channels)
        return self._append(builder.mul(source, gate, self._name("scale")), channels)

    def pool(
        self,
        source: str,
        kind: Literal["AVERAGE_POOL_2D", "MAX_POOL_2D"],
        window: tuple[int, int],
        *,
        stride: tuple[int, int],
    ) -> str:
        """Append a pool with SAME padding."""
        out = self._builder.pool(source, self.scope, kind, window, stride=stride)
        return self._append(out, self._channels[source])

    def select(self, chosen: Chosen, branches: Sequence[Callable[[], str]], name: str) -> str:
        """Lower branches in turn, and select one by a decision.

        `chosen` is of the kind ``depth`` or ``select``, with an option for each branch; with only
        one option, only the last branch is lowered. `branches` append one and return its tensor;
        shapes are equal but for widths.
        """
        if chosen.decision is None:
            return branches[-1]()
        outs = [branch() for branch in branches]
        channels = either(chosen.decision, [self._channels[each] for each in outs])
        self._steps.append(Selection(name, tuple(outs), chosen.decision))
        self._builder.stand_in(name, (*self._builder.shape(outs[0])[:-1], channels.size))
        self._channels[name] = channels
        return name

    def global_average(self, source: str, name: str) -> str:
        return self._append(self._builder.global_average(source, name), self._channels[source])

    def dense(self, source: str, name: str, features: int) -> str:
        return self._append(self._builder.dense(source, name, features), fixed(features))

    def reshape(self, source: str, name: str, shape: tuple[int, ...]) -> str:
        return self._append(self._builder.reshape(source, name, shape), fixed(shape[-1]))

    def finish(self, output: str) -> ChoiceGraph:
        graph = self._builder.finish(output)
        return ChoiceGraph(
            graph.tensors,
            tuple(self._steps),
            self.input,
            output,
            tuple(self._decisions),
            self._channels,
            self._acts,
            frozenset(self._widening),
        )

    def _made(self, width: Chosen) -> Channels:
        if width.decision is None:
            return fixed(width.largest)
        return owned(width.decision, self._options)

    def _name(self, layer: str) -> str:
        return f"{self.scope}/{layer}" if layer else self.scope

    def _append(
        self, out: str, channels: Channels, kernel: Chosen | None = None, bits: Chosen | None = None
    ) -> str:
        for op in self._builder.taken():
            self._steps.append(op)
            name = op.outputs[0]
            self._channels[name] = channels if name == out else fixed(channels.size)
        acts = Acts(
            None if kernel is None else kernel.decision, None if bits is None else bits.decision
        )
        if acts != Acts():
            self._acts[out] = acts
        return out
