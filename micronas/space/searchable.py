"""The protocol of a search space: decisions, and networks by choice."""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from micronas.graph.ir import Graph, Op
from micronas.space.choice_graph import ChoiceGraph, When, holds
from micronas.space.decisions import Choice, Decision

if TYPE_CHECKING:
    import torch
    from torch import nn


class Architecture(ABC):
    """One network of a space, with nothing left to choose.

    ``str(architecture)`` is unique within a space.
    """

    @property
    def outputs(self) -> int:
        """Number of elements of the output, such as the classes of a classifier."""
        graph = self.graph()
        return graph.tensors[graph.outputs[0]].elements

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        graph = self.graph()
        shape = graph.tensors[graph.inputs[0]].shape
        return (*([1] * (4 - len(shape))), *shape[1:])  # type: ignore[return-value]

    @abstractmethod
    def graph(self) -> Graph:
        """Return the graph with shapes, without weights."""

    @abstractmethod
    def build(self, generator: "torch.Generator | None" = None) -> "nn.Module":
        """Return a trainable module; initial weights are drawn by `generator`, or torch's own."""

    @abstractmethod
    def float_graph(self, module: "nn.Module") -> Graph:
        """Return the float32 graph, weights included, of a module that `build` returned."""

    @abstractmethod
    def text(self) -> str:
        """Return the YAML description."""


@dataclass(frozen=True)
class OwnLayers:
    """A user's module, and the layer of each operator with weights."""

    module: "nn.Module"
    layers: Sequence[Any]


class Searchable(ABC):
    """A search space, or a user's own network with choices in it.

    It is one family with one member where `OpenSpace` has several.
    """

    fill: ClassVar[float] = 0.9
    """See `OpenSpace.fill`."""
    textbook: ClassVar[tuple[str, ...]] = ()
    """See `OpenSpace.textbook`."""

    def ways(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the one way to settle the one family, see `OpenSpace.ways`."""
        yield "", ()

    def sizes(self, family: str) -> tuple[int, ...]:
        """Return the number of options of each `any`: there is none."""
        return ()

    def member(self, family: str, picks: tuple[int, ...]) -> "Searchable":
        """Return the one member."""
        return self

    def draw(self, family: str, source: random.Random) -> tuple[int, ...]:
        """Draw an option of each `any`: there is none."""
        return ()

    def label(self, family: str, architecture: Architecture) -> str:
        """Return a text that is unique to the network within the space."""
        return str(architecture)

    @property
    @abstractmethod
    def choices(self) -> ChoiceGraph:
        """Graph at its largest with its decisions."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Name for messages."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Key of boards' latency models: the task, or else the name."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        shape = self.choices.tensors[self.choices.input].shape
        return (*([1] * (4 - len(shape))), *shape[1:])  # type: ignore[return-value]

    @property
    def outputs(self) -> int:
        """Number of elements of the output, such as the classes of a classifier."""
        return self.choices.tensors[self.choices.output].elements

    @abstractmethod
    def architecture(self, choice: Choice) -> Architecture:
        """Return the network of a choice."""

    @abstractmethod
    def drawing(self, choice: Choice) -> list[dict[str, Any]]:
        """Describe a network block by block beside the largest, for drawings in reports.

        Each block has ``name``, ``type``, ``width`` (0 where it was left out), ``largest``,
        ``layers`` (the names of its operators), and further sizes of its type.
        """

    def own_layers(self) -> OwnLayers | None:
        """Return a copy of a user's module, the start of a supernet; None without a module."""
        return None

    def chosen(self, choice: Choice, module: "nn.Module | None") -> Any:
        """Return the result of a search in a user's own loop: the network of a choice.

        `module` is a user's own as trained by the search; None for other spaces.
        """
        return self.architecture(choice)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, from input to output."""
        return self.choices.decisions

    def resolve(self, choice: Choice) -> Graph:
        """Return the graph of a choice: one option index for each decision."""
        return self.choices.resolve(choice)

    @property
    def has_one_size(self) -> bool:
        """Return whether maps have the same size at every choice, so that masks can mix
        networks."""
        return True

    def canonical(self, choice: Choice) -> Choice:
        """Return the one choice that represents all choices of the same network."""
        return self.choices.canonical(choice)

    def values(self, choice: Choice) -> dict[str, Any]:
        """Return the option of each decision, by name."""
        return {
            decision.name: decision.options[index]
            for decision, index in zip(self.decisions, choice, strict=True)
        }

    def largest(self) -> Choice:
        """Return the last option of every decision, the size of the supernet."""
        return tuple(len(decision.options) - 1 for decision in self.decisions)

    def smallest(self) -> Choice:
        """Return the first option of every decision: least in every cost but one.

        Where 4 bits are an option, `quickest` has the least latency, since their kernels are
        slower.
        """
        return tuple(0 for _ in self.decisions)

    def quickest(self) -> Choice:
        """Return the smallest network with the most bits allowed: least in latency."""
        return tuple(
            len(decision.options) - 1 if decision.kind == "bits" else 0
            for decision in self.decisions
        )

    def random(self, generator: random.Random) -> Choice:
        """Draw a choice with every option of every decision equally likely."""
        return tuple(generator.randrange(len(decision.options)) for decision in self.decisions)

    def count(self) -> int:
        """Return the number of choices."""
        return math.prod(len(decision.options) for decision in self.decisions)

    def uniform(self, fraction: float, depth: float = 1.0, bits: int = 8) -> Choice:
        """Return all widths at one fraction of their largest, kernels smallest; see `shaped`."""
        return self.shaped((fraction,), depth=depth, bits=bits)

    def shaped(
        self,
        profile: Sequence[float],
        *,
        growth: float = 1.0,
        depth: float = 1.0,
        kernel: float = 0.0,
        bits: int = 8,
        kinds: Mapping[int, int] | None = None,
    ) -> Choice:
        """Return a choice whose widths follow a profile from the first layer to the last one kept.

        Parameters
        ----------
        profile
            Shares of the largest width, 0 to 1, at equal distances along the network; between
            them the logarithm is linear. The nearest option is taken.
        growth
            Factor by which shares grow at every stride before a layer's output.
        depth
            Share of the optional blocks that are kept, 0 to 1, first ones first.
        kernel
            Place of the kernel among the options, from the smallest, 0, to the largest, 1.
        bits
            Bits of weights, wherever they are a choice.
        kinds
            Options of decisions of the kind ``select``, by their number; the first if left out.
        """
        chosen = self._selected(depth)
        for number, option in (kinds or {}).items():
            chosen[number] = option
        kept = [number for number, (where, _) in self._width_places.items() if holds(where, chosen)]
        shares = {
            number: share * growth ** self._width_places[number][1]
            for number, share in zip(kept, _along(profile, len(kept)), strict=True)
        }

        def index(number: int, decision: Decision) -> int:
            options = decision.options
            match decision.kind:
                case "depth" | "select":
                    return chosen[number]
                case "kernel":
                    return round(kernel * (len(options) - 1))
                case "bits":
                    target = float(bits)
                case "width":
                    target = shares.get(number, profile[-1]) * options[-1]
            return decision.nearest(target)

        return tuple(index(number, each) for number, each in enumerate(self.decisions))

    def _selected(self, depth: float) -> list[int]:
        """Return the choice that keeps a share of the optional blocks, and the first branches."""
        chosen = list(self.smallest())
        depths = [n for n, each in enumerate(self.decisions) if each.kind == "depth"]
        single = [n for n in depths if len(self.decisions[n].options) == 2]
        for position, number in enumerate(single):
            chosen[number] = int(position < round(depth * len(single)))
        for number in set(depths) - set(single):
            chosen[number] = round(depth * (len(self.decisions[number].options) - 1))
        return chosen

    @cached_property
    def _width_places(self) -> dict[int, tuple[When, int]]:
        """Condition of each width decision, and the strides up to its channels, by its number."""
        graph, strides = self.choices, {self.choices.input: 0}
        passed: dict[int, int] = {}
        for step in graph.steps:
            if not isinstance(step, Op):
                strides[step.name] = max(strides[name] for name in step.branches)
                continue
            before = max(strides.get(name, 0) for name in step.operands)  # constants have none
            out = step.outputs[0]
            is_global = step.window != (1, 1)
            strides[out] = before + (step.stride != (1, 1) and not is_global)
            for number in graph.channels[out].decisions:
                if self.decisions[number].kind == "width":
                    passed.setdefault(number, strides[out])
        # a block's strides count for all its layers, those before the strided one included
        blocks: dict[str, int] = {}
        for number, count in passed.items():
            block = self.decisions[number].name.rpartition(".")[0]
            blocks[block] = max(blocks.get(block, 0), count)
        least = min(blocks.values(), default=0)  # strides of the stem are no growth
        return {
            number: (
                graph.acting[number],
                blocks[self.decisions[number].name.rpartition(".")[0]] - least,
            )
            for number in sorted(passed)
        }


def _along(profile: Sequence[float], count: int) -> list[float]:
    """Return values of a profile at `count` points from its start to its end."""
    shares = []
    for number in range(count):
        place = number * (len(profile) - 1) / max(count - 1, 1)
        before = min(int(place), max(len(profile) - 2, 0))
        after = min(before + 1, len(profile) - 1)
        part = place - before
        shares.append(profile[before] ** (1 - part) * profile[after] ** part)
    return shares
