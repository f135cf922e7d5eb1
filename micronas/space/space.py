"""A search space from a YAML file: stem, blocks and head, with options for each size.

A network is a space with nothing left to choose: ``width: 84`` in place of ``width: [28, 56, 84]``.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml
from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from micronas import resources
from micronas.errors import ConfigError
from micronas.files import write_atomically
from micronas.graph.ir import Graph
from micronas.graph.streaming import frames_read, streaming
from micronas.settings import Extent, Settings, read_mapping, validate_settings
from micronas.space.blocks import Block
from micronas.space.blocks.base import Weighted, bits_mark, chosen_fields, stride_mark
from micronas.space.choice_graph import ChoiceGraph
from micronas.space.decisions import Choice, Filters, Pair, Widths, kernel_text
from micronas.space.lowering import Lowering
from micronas.space.searchable import Architecture, Searchable
from micronas.text import html_table
from micronas.yaml_text import Location

if TYPE_CHECKING:
    import torch
    from torch import nn


Copied = TypeVar("Copied", bound="Described")
_PARTS = ("input", "stem", "head", "pool", "classifier")
"""Names of tensors that are of no block."""


class Described(Settings):
    """A space by its settings, with cached properties."""

    name: str
    task: str | None = None
    """Task of the space, whose latency models apply."""

    @property
    def title(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        """Key of boards' latency models: the task, or else the name."""
        return self.task or self.name

    def model_copy(
        self: Copied, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> Copied:
        """Copy with other values, without the cached properties."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Stem(Weighted):
    """The first convolution, over all input channels."""

    width: Widths
    kernel: Filters
    stride: Pair = (1, 1)


class Head(Weighted):
    """The layers after the last block: an optional 1x1 convolution, pool, classifier.

    `bits` are those of that convolution; the classifier's weights have 8.
    """

    width: Widths | None = None
    """Channels of the 1x1 convolution before the pool; None leaves it out."""
    classifier: Literal["dense", "conv"] = "dense"
    """FULLY_CONNECTED, or the published files' 1x1 CONV_2D followed by RESHAPE."""

    def model_post_init(self, _context: Any) -> None:
        if self.bits != (8,) and self.width is None:
            raise ValueError("bits are for the head's 1x1 convolution, which needs a width")


class Space(Described, Searchable, Architecture):
    """A family of networks, or one network where nothing is left to choose.

    Source: the families of MicroNets (arXiv 2010.11267, sections 5.1 and 5.2); depth as a prefix
    is our own.
    """

    name: str = "network"
    input: tuple[Extent, Extent, Extent]
    """Height, width, channels."""
    classes: Extent
    activation: Literal["relu", "relu6"] = "relu"
    streaming: bool = False
    """Compute networks frame by frame: without padding over the input's height, which is time, so
    that rows of a map equal those of a whole recording."""
    stem: Stem
    blocks: tuple[Block, ...]
    head: Head = Head()

    @model_validator(mode="after")
    def _one_column(self) -> "Space":
        """Refuse kernels wider than an input of one column."""
        options = (option for block in self.blocks for option in getattr(block, "options", ()))
        for part in (self.stem, *self.blocks, *options):
            wide = [kernel for kernel in getattr(part, "kernel", ()) if kernel[1] > 1]
            if wide and self.input[1] == 1:
                raise ValueError(
                    f"kernels over an input of one column must be one wide, or they store and "
                    f"multiply weights that meet nothing but padding, but one is "
                    f"{wide[0][0]}x{wide[0][1]}; write kernel: {wide[0][0]}x1"
                )
        return self

    @model_validator(mode="after")
    def _named_apart(self) -> "Space":
        """Refuse blocks of one name: the tensors of the second took the place of the first's."""
        names = [*_PARTS, *(name for _, names in self.places() for name in names)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"blocks must have names of their own, other than {', '.join(_PARTS)} and the "
                f"numbers of others, but several are {', '.join(twice)}; rename them"
            )
        return self

    @model_validator(mode="after")
    def _within_window(self) -> "Space":
        """Refuse networks that stream and read more frames than the input has."""
        if self.streaming:
            try:
                self._streamed(self.choices.resolve(self._longest()))
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    def _longest(self) -> Choice:
        """Return the choice that reads the most frames: the largest one, with the kinds that read
        most.

        Each block adds frames independently of the others.
        """
        choice = self.largest()
        for place, decision in enumerate(self.decisions):
            if decision.kind == "select":
                ways = [
                    (*choice[:place], option, *choice[place + 1 :])
                    for option in range(len(decision.options))
                ]
                choice = max(ways, key=lambda way: frames_read(self.choices.resolve(way)))
        return choice

    @model_serializer(mode="wrap")
    def _without_task(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields that are seldom given."""
        values: dict[str, Any] = dump(self)
        for name, usual in (("task", None), ("streaming", False)):
            if values.get(name) == usual:
                values.pop(name, None)
        return values

    @classmethod
    def load(cls, source: str | Path) -> "Space":
        """Read a shipped space (``kws``), a network (``published/kws_m``, ``textbook/ds_cnn``), or
        a file.

        A user's own file takes precedence over a shipped one of the same path. ConfigError names
        the wrong line, or the nearest shipped file.
        """
        path, values, lines = read_space(source)
        if "families" in values:
            raise ConfigError(
                f"a space must be of one family here, but {source} has several; read it with "
                "micronas.load_space"
            )
        return validate_settings(values, cls, source=str(path), lines=lines)

    @property
    def inputs(self) -> tuple[tuple[int, int, int], ...]:
        """The one `input`, like `OpenSpace.inputs`."""
        return (self.input,)

    def architecture(self, choice: Choice) -> "Space":
        """Return the network of a choice, in which every block keeps its name."""
        options, blocks = self.values(choice), list[Any]()
        for entry, names in self.places():
            blocks += entry.filled(names, len(blocks), options)
        stem, head = (
            part.model_copy(update=chosen_fields(part, scope, options))
            for scope, part in (("stem", self.stem), ("head", self.head))
        )
        update = {"stem": stem, "blocks": tuple(blocks), "head": head}
        return self.model_copy(update=update)

    def places(self) -> list[tuple[Any, list[str]]]:
        """Return each entry of the list of blocks with the names of its blocks."""
        found, number = [], 1
        for entry in self.blocks:
            names = entry.named(number)
            found.append((entry, names))
            number += len(names)
        return found

    def graph(self) -> Graph:
        """Lower a network to device operators, of shapes only.

        Raises ConfigError if something is left to choose.
        """
        choices = self.choices
        if choices.decisions:
            raise ConfigError(
                f"a network must have nothing left to choose, but {self.name!r} has "
                f"{len(choices.decisions)} decisions, the first {choices.decisions[0].name}; "
                "search it, or give every size one option"
            )
        return self._streamed(choices.largest)

    def resolve(self, choice: Choice) -> Graph:
        return self._streamed(super().resolve(choice))

    @property
    def has_one_size(self) -> bool:
        return not self.streaming

    def _streamed(self, graph: Graph) -> Graph:
        return streaming(graph) if self.streaming else graph

    def build(self, generator: "torch.Generator | None" = None) -> "nn.Module":
        from micronas.train.network import Network

        return Network(self.graph(), generator=generator)

    def float_graph(self, module: "nn.Module") -> Graph:
        from micronas.train.network import Network

        assert isinstance(module, Network), "build returns one"
        return module.graph()

    def text(self) -> str:
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    def save(self, path: str | Path) -> None:
        """Write the YAML file that `load` reads."""
        write_atomically(path, self.text().encode())

    def drawing(self, choice: Choice) -> list[dict[str, Any]]:
        options, layers = self.values(choice), [op.name for op in self.resolve(choice).ops]
        parts = [("stem", "convolution", self.stem)]
        for entry, names in self.places():
            chosen = (entry.chosen(name, options) for name in names)
            parts += [(name, block.type, block) for block, name in chosen]
        drawn, left, before = list[dict[str, Any]](), len(layers), dict[str, Any]()
        for name, kind, part in parts:
            own = [each for each in layers if each == name or each.startswith(f"{name}/")]
            drawn.append(_drawn(part, name, kind, options, own, before))
            before = drawn[-1] if own else before
            left -= len(own)
        if self.head.width is None:
            width = dict.fromkeys(("width", "largest", "classes"), self.classes)
            head = {"name": "head", "type": "pool, classifier", "bits": 8, **width}
        else:
            kind = "convolution, pool, classifier"
            head = _drawn(self.head, "head", kind, options, ["head"], before)
        return [*drawn, {**head, "layers": layers[-left:]}]

    def _repr_html_(self) -> str:
        rows = [(each.name, ", ".join(each.labels)) for each in self.decisions]
        size = "x".join(map(str, self.input))
        return html_table(("decision", "options"), rows, title=f"{self}: input {size}")

    @cached_property
    def choices(self) -> ChoiceGraph:
        activation = "RELU" if self.activation == "relu" else "RELU6"
        at = Lowering(self.input, activation)  # type: ignore[arg-type]
        at.scope = "stem"
        width = at.decide("width", "width", self.stem.width)
        bits = at.decide("bits", "bits", self.stem.bits)
        kernel = at.decide("kernel", "kernel", self.stem.kernel)
        tensor = at.conv(at.input, width, kernel=kernel, bits=bits, stride=self.stem.stride)
        for entry, names in self.places():
            tensor = entry.lower_all(at, tensor, names)
        at.scope = "head"
        if self.head.width is not None:
            width = at.decide("width", "width", self.head.width)
            bits = at.decide("bits", "bits", self.head.bits)
            tensor = at.conv(tensor, width, bits=bits)
        tensor = at.global_average(tensor, "pool")
        if self.head.classifier == "dense":
            return at.finish(at.dense(tensor, "classifier", self.classes))
        at.scope = "classifier"
        logits = at.conv(tensor, at.decide("width", "width", (self.classes,)), active=False)
        return at.finish(at.reshape(logits, "logits", (1, self.classes)))

    @property
    def in_full(self) -> str:
        """Text of a network with the input and the stem's kernel and stride."""
        height, width, channels = self.input
        stem = f"{kernel_text(self.stem.kernel[0])}{stride_mark(self.stem.stride)}"
        marks = f"{stem} streaming" if self.streaming else stem
        return f"{height}x{width}x{channels} {marks}: {self}"

    def __str__(self) -> str:
        """Return widths block by block, as in the paper's Table 5: ``140; 140@2 140 140 112 196``.

        ``140b4`` has weights of 4 bits. A space with open decisions gives their number instead.
        """
        if self.decisions:
            return f"{self.name}, {len(self.decisions)} decisions"
        blocks = " ".join(each.summary() for each in self.blocks for _ in range(each.repeat))
        head = self.head
        last = f"; {head.width[0]}{bits_mark(head.bits)}" if head.width is not None else ""
        return f"{self.stem.width[0]}{bits_mark(self.stem.bits)}; {blocks}{last}"


def read_space(source: str | Path) -> tuple[Path, dict[str, Any], dict[Location, int]]:
    """Return the file of a space or network, its values, and their lines.

    Raises ConfigError if there is no such file, it is not YAML, or holds widths of a user's own
    module.
    """
    path = _file(source)
    values, lines = read_mapping(path)
    if {"module", "widths"} <= values.keys():
        raise ConfigError(
            f"a network must be given by its blocks, but {path} has widths of the module "
            f"{values['module']!r}, which no file builds; from Python, call micronas.run(data, "
            "micronas.convert(module, example), ...) again, or micronas.fit(result.network, ...)"
        )
    return path, values, lines


def _file(source: str | Path) -> Path:
    """Return the file that `Space.load` reads; ConfigError if there is none."""
    path = Path(source).expanduser()
    if path.parts[:-1] in (("published",), ("textbook",)) and not path.is_file():
        path = resources.find(f"search_spaces/{path.parts[0]}", path.name)  # type: ignore[arg-type]
    elif path.suffix not in (".yaml", ".yml") or not path.is_file():
        path = resources.find("search_spaces", source)
    return path


def _drawn(
    part: Any,
    name: str,
    kind: str,
    options: Mapping[str, Any],
    layers: list[str],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe a stem, block or head, which has no layers where it was left out.

    A block without a width has the width of the one before.
    """
    own = getattr(part, "width", None)
    largest = before["largest"] if own is None else own[-1]
    drawn = {"name": name, "type": kind, "largest": largest, "width": 0, "layers": layers}
    for field in ("width", "expansion", "hidden", "bits", "kernel") if layers else ():
        written = getattr(part, field, None)
        if written is not None:
            size = options.get(f"{name}.{field}", written[0])
            drawn[field] = list(size) if field == "kernel" else size
        elif field == "width":
            drawn[field] = before["width"]
    if layers and hasattr(part, "stride"):
        drawn["stride"] = list(part.stride)
    if layers and getattr(part, "has_residual", False):
        drawn["residual"] = True
    return drawn
