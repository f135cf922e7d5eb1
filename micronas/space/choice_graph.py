"""A graph at its largest, with decisions in it: the form of every search space.

Every operator has its largest width and kernel; a `Selection` passes on one of several tensors.
`resolve` takes a choice and returns the plain graph of one network: unread branches are removed,
widths are cut, and a sum of two widths gets the PAD it needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from micronas.graph.ir import Graph, Op, Tensor, table
from micronas.graph.operators import WEIGHTED
from micronas.space.channels import Channels, Either, Units
from micronas.space.decisions import Choice, Decision

When = Mapping[int, frozenset[int]]
"""A condition: each of these decisions takes one of these options."""
_ALWAYS: When = {}
_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Selection:
    """A step that passes on one of several tensors under a new name."""

    name: str
    branches: tuple[str, ...]
    decision: int


@dataclass(frozen=True)
class Acts:
    """Decisions that act on an operator's filter, by their numbers."""

    kernel: int | None = None
    bits: int | None = None


Step = Op | Selection


@dataclass(frozen=True, eq=False)
class ChoiceGraph:
    """Operators in execution order, at their largest, and decisions on them.

    Parameters
    ----------
    tensors
        Tensors at their largest, in the order of a file.
    steps
        Operators and selections in execution order.
    channels
        Channels of each activation and constant operand, by name.
    acts
        Decisions on the filters of operators, by name.
    widening
        Names of ADD operators whose narrower side is padded with zero channels.
    """

    tensors: dict[str, Tensor]
    steps: tuple[Step, ...]
    input: str
    output: str
    decisions: tuple[Decision, ...]
    channels: Mapping[str, Channels]
    acts: Mapping[str, Acts] = field(default_factory=dict)
    widening: frozenset[str] = frozenset()

    @cached_property
    def when(self) -> dict[str, When]:
        """Condition of each step that has a reader, by the name of the tensor it writes."""
        found: dict[str, When] = {}
        readers: dict[str, list[When]] = {self.output: [_ALWAYS]}
        for step in (*reversed(self.steps), None):
            name = self.input if step is None else written(step)
            if name not in readers:
                continue
            found[name] = own = _either_holds(readers[name], self.decisions)
            for source, condition in () if step is None else _reads(step, own):
                readers.setdefault(source, []).append(condition)
        return found

    def needed(self, choice: Choice) -> set[str]:
        """Return the tensors that the network of a choice computes, or reads as its input."""
        found = {self.output}
        for step in reversed(self.steps):
            if written(step) not in found:
                continue
            if isinstance(step, Selection):
                found.add(step.branches[choice[step.decision]])
            else:
                found.update(step.operands)
        return found

    @cached_property
    def acting(self) -> tuple[When, ...]:
        """Condition under which each decision makes a difference."""
        found: list[list[When]] = [[] for _ in self.decisions]
        for step in self.steps:
            here = self.when.get(written(step))
            if here is None:
                continue
            deciding = {step.decision} if isinstance(step, Selection) else self._deciding(step)
            for decision in deciding:
                found[decision].append(here)
        return tuple(_either_holds(each, self.decisions) if each else _ALWAYS for each in found)

    def canonical(self, choice: Choice) -> Choice:
        """Return the choice with every decision that makes no difference at its first option.

        Choices of the same network have the same canonical form.
        """
        return tuple(
            index if holds(condition, choice) else 0
            for index, condition in zip(choice, self.acting, strict=True)
        )

    def resolve(self, choice: Choice) -> Graph:
        """Return the graph of one network: shapes only, unless there is nothing to choose."""
        if not self.decisions:
            return self.largest
        widths: dict[str, int] = {}
        constants = {name for step in self.steps for name in self._constants(step)}
        named = {name: name for name in (self.input, *constants)}
        tensors = {self.input: self._cut(self.input, choice, widths)}
        ops: list[Op] = []
        needed = self.needed(choice)
        for step in self.steps:
            out = written(step)
            if out not in needed:
                continue
            if isinstance(step, Selection):
                named[out] = named[step.branches[choice[step.decision]]]
                continue
            tensors.update((name, self.tensors[name]) for name in self._constants(step))
            ops += self._resolved(step, choice, widths, named, tensors)
            named[out] = out
        return Graph(tensors, tuple(ops), (self.input,), (named[self.output],))

    @cached_property
    def largest(self) -> Graph:
        """The graph of all operators; a network only where nothing is selected."""
        ops = tuple(step for step in self.steps if isinstance(step, Op))
        return Graph(self.tensors, ops, (self.input,), (self.output,))

    def alone(self, op: Op, operands: Sequence[int], width: int, **filters: int) -> Graph:
        """Return one operator as a graph, with other widths.

        `operands` are the channels of each operand, `width` those of the output, and `filters`
        options of the decisions in `Acts`, by field.
        """
        widths = dict(zip(op.operands, operands, strict=True)) | {op.outputs[0]: width}
        choice = [0] * len(self.decisions)
        acts = self.acts.get(op.name, Acts())
        for name, option in filters.items():
            choice[getattr(acts, name)] = option
        tensors = {
            name: _resized(self.tensors[name], widths[name]) for name in dict.fromkeys(op.operands)
        }
        named = {name: name for name in op.operands}
        ops = self._resolved(op, tuple(choice), widths, named, tensors)
        inputs = tuple(name for name in op.operands if not tensors[name].constant)
        return Graph(tensors, tuple(ops), inputs, op.outputs)

    def _constants(self, step: Step) -> list[str]:
        """Return the operands that no step writes; they keep all their channels."""
        operands = step.operands if isinstance(step, Op) else ()
        return [name for name in operands if self.tensors[name].constant]

    def _deciding(self, op: Op) -> set[int]:
        """Return the decisions that act on an operator's filter or on its output channels."""
        acts = self.acts.get(op.name, Acts())
        found = {each for each in (acts.kernel, acts.bits) if each is not None}
        channels = self.channels[op.outputs[0]]
        return found | set(channels.decisions if isinstance(channels, Units) else ())

    def _cut(self, name: str, choice: Choice, widths: dict[str, int]) -> Tensor:
        if name not in widths:
            widths[name] = self.channels[name].width(choice)
        return _resized(self.tensors[name], widths[name])

    def _resolved(
        self,
        op: Op,
        choice: Choice,
        widths: dict[str, int],
        named: Mapping[str, str],
        tensors: dict[str, Tensor],
    ) -> list[Op]:
        """Return the operators of a network for one of the graph, and add their new tensors."""
        out = self._cut(op.outputs[0], choice, widths)
        operands = [named[name] for name in op.operands]
        if op.name in self.widening:
            found, sides = list[Op](), []
            for side in operands:
                missing = out.shape[-1] - tensors[side].shape[-1]
                if missing:
                    found.append(_padded(f"{op.name}/pad", tensors[side], missing, tensors))
                sides.append(f"{op.name}/pad" if missing else side)
            tensors[out.name] = out
            return [*found, replace(op, inputs=tuple(sides))]
        constants = [self.tensors[name] for name in op.inputs[len(op.operands) :]]
        if op.kind in WEIGHTED:
            source = tensors[operands[0]]
            constants = [
                self._filter(op, constants[0], source, out, choice),
                *(_resized(bias, out.shape[-1]) for bias in constants[1:]),
            ]
        elif op.kind == "SLICE":
            constants = self._sliced(op, choice, out)
        elif op.kind == "RESHAPE" and constants:
            constants = [replace(constants[0], data=np.array(out.shape, np.int32))]
        inputs = (*operands, *(each.name for each in constants))
        tensors.update((each.name, each) for each in (*constants, out))
        return [op if inputs == op.inputs else replace(op, inputs=inputs)]

    def _sliced(self, op: Op, choice: Choice, out: Tensor) -> list[Tensor]:
        """Return begins and sizes of a SLICE, counted in channels that are kept."""
        begin, size = (self.tensors[name] for name in op.inputs[1:])
        assert begin.data is not None, f"{op.name}: a lowering writes its tables"
        places = begin.data.copy()
        places[-1] = self.channels[op.operands[0]].kept(choice)[: places[-1]].sum()
        return [replace(begin, data=places), replace(size, data=np.array(out.shape, np.int32))]

    def _filter(
        self, op: Op, filters: Tensor, source: Tensor, out: Tensor, choice: Choice
    ) -> Tensor:
        acts, width = self.acts.get(op.name, Acts()), out.shape[-1]
        dtype = filters.dtype
        if acts.bits is not None:
            is_int4 = self.decisions[acts.bits].options[choice[acts.bits]] == 4
            dtype = "int4" if is_int4 else "float32"
        if op.kind == "FULLY_CONNECTED":
            shape: tuple[int, ...] = (width, source.elements)
        else:
            kernel = filters.shape[1:3]
            if acts.kernel is not None:
                kernel = self.decisions[acts.kernel].options[choice[acts.kernel]]
            groups = self.tensors[op.operands[0]].shape[-1] // filters.shape[3]
            full = op.kind == "CONV_2D"
            shape = (width, *kernel, source.shape[-1] // groups) if full else (1, *kernel, width)
        return Tensor(filters.name, shape, dtype, True)


def _reads(step: Step, own: When) -> list[tuple[str, When]]:
    """Return the tensors a step reads, with their conditions, if it runs on a condition."""
    if isinstance(step, Op):
        return [(name, own) for name in step.operands]
    return [
        (name, {**own, step.decision: frozenset({option})})
        for option, name in enumerate(step.branches)
    ]


def _either_holds(conditions: Sequence[When], decisions: Sequence[Decision]) -> When:
    """Return the condition that holds where one of these does.

    Raises ValueError if `When` cannot express it: a step in branches of two selections at once.
    """
    left = list(conditions)
    while len(left) > 1:
        pairs = (
            (one, other, found)
            for number, one in enumerate(left)
            for other in left[number + 1 :]
            if (found := _joined(one, other)) is not None
        )
        pair = next(pairs, None)
        if pair is None:
            raise ValueError(f"a layer must stand in branches of one selection, not {left}")
        one, other, found = pair
        left = [each for each in left if each is not one and each is not other]
        left.append(_simplified(found, decisions))
    return left[0]


def _joined(left: When, right: When) -> When | None:
    """Return the condition that holds where either of two does; None if not expressible."""
    for one, other in ((left, right), (right, left)):
        if all(other.get(each, _NONE) <= options for each, options in one.items()) and (
            one.keys() <= other.keys()
        ):
            return one
    differing = [each for each in left.keys() & right.keys() if left[each] != right[each]]
    if left.keys() != right.keys() or len(differing) != 1:
        return None
    return {**left, differing[0]: left[differing[0]] | right[differing[0]]}


def both(left: When, right: When) -> When | None:
    """Return the condition that holds where both do; None where they never do."""
    merged = {
        each: left.get(each, right.get(each, _NONE)) & right.get(each, left.get(each, _NONE))
        for each in left.keys() | right.keys()
    }
    return None if any(not options for options in merged.values()) else merged


def holds(condition: When, choice: Sequence[int]) -> bool:
    """Return whether a condition holds under a choice."""
    return all(choice[decision] in options for decision, options in condition.items())


def _simplified(condition: When, decisions: Sequence[Decision]) -> When:
    """Leave out decisions with all their options allowed."""
    return {
        each: options
        for each, options in condition.items()
        if len(options) < len(decisions[each].options)
    }


def _padded(name: str, source: Tensor, missing: int, tensors: dict[str, Tensor]) -> Op:
    """Return a PAD that appends zero channels, and add its constant and its output."""
    amounts = np.zeros((len(source.shape), 2), np.int32)
    amounts[-1, 1] = missing
    tensors[f"{name}/amounts"] = table(f"{name}/amounts", amounts)
    tensors[name] = Tensor(name, (*source.shape[:-1], source.shape[-1] + missing))
    return Op("PAD", name, (source.name, f"{name}/amounts"), (name,))


def written(step: Step) -> str:
    """Return the name of the tensor that a step writes."""
    return step.outputs[0] if isinstance(step, Op) else step.name


def _resized(tensor: Tensor, width: int) -> Tensor:
    shape = tensor.shape
    if shape[-1] == width:
        return tensor
    return Tensor(tensor.name, (*shape[:-1], width), tensor.dtype, tensor.constant)


def either(decision: int, branches: Sequence[Channels]) -> Channels:
    """Return the channels of a selection; where all branches have the same, these."""
    first = branches[0]
    return first if all(each == first for each in branches) else Either(decision, branches)
