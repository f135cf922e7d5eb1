"""One concrete network: a frozen description that becomes a device graph or a torch module."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from micronas import resources
from micronas.files import write_atomically
from micronas.graph.builder import Bits, Builder, Parameters
from micronas.graph.ir import Activation, Graph
from micronas.settings import Extent, Settings, read_settings

if TYPE_CHECKING:
    from micronas.train.network import Network

Size = tuple[Extent, Extent]


class _Weighted(Settings):
    """A part of a network whose convolutions have weights of `bits` bits, depthwise ones of 8."""

    bits: Bits = 8

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave 8 bits out, so that files from before there was a choice stay equal."""
        values: dict[str, Any] = dump(self)
        bits = values.pop("bits")
        return values if bits == 8 else {**values, "bits": bits}


class Stem(_Weighted):
    """The first convolution, over all input channels."""

    width: Extent
    kernel: Size
    stride: Size = (1, 1)


class Separable(_Weighted):
    """Depthwise then 1x1 convolution, each with activation: a block of DS-CNN and MobileNetV1."""

    type: Literal["separable"] = "separable"
    width: Extent
    kernel: Extent = 3
    stride: Size = (1, 1)

    def lower(self, builder: Builder, source: str, name: str, activation: Activation) -> str:
        hidden = builder.depthwise(
            source,
            f"{name}/depthwise",
            (self.kernel, self.kernel),
            stride=self.stride,
            activation=activation,
        )
        return builder.conv(
            hidden, f"{name}/pointwise", self.width, activation=activation, bits=self.bits
        )


class Bottleneck(_Weighted):
    """Inverted bottleneck of MobileNetV2: 1x1 expansion, depthwise, linear 1x1 projection."""

    type: Literal["bottleneck"] = "bottleneck"
    expansion: Extent
    width: Extent
    kernel: Extent = 3
    stride: Size = (1, 1)
    residual: bool = False

    def lower(self, builder: Builder, source: str, name: str, activation: Activation) -> str:
        hidden = builder.conv(
            source, f"{name}/expand", self.expansion, activation=activation, bits=self.bits
        )
        hidden = builder.depthwise(
            hidden,
            f"{name}/depthwise",
            (self.kernel, self.kernel),
            stride=self.stride,
            activation=activation,
        )
        projected = builder.conv(hidden, f"{name}/project", self.width, bits=self.bits)
        return builder.add(source, projected, f"{name}/add") if self.residual else projected


Block = Annotated[Separable | Bottleneck, Field(discriminator="type")]


class Head(_Weighted):
    """From the last feature map to the logits: an optional 1x1 convolution, pool, classifier.

    `bits` are those of that convolution; the classifier's weights have 8.
    """

    width: Extent | None = None
    """Channels of the 1x1 convolution before the pool; None leaves it out."""
    classifier: Literal["dense", "conv"] = "dense"
    """FULLY_CONNECTED, or the published files' 1x1 CONV_2D followed by RESHAPE."""


class Architecture(Settings):
    """A network, from input to logits.

    Source: the families of MicroNets (arXiv 2010.11267, section 5.2).
    """

    name: str = "network"
    input: tuple[Extent, Extent, Extent]
    """Height, width, channels."""
    classes: Extent
    activation: Literal["relu", "relu6"] = "relu"
    stem: Stem
    blocks: tuple[Block, ...]
    head: Head = Head()

    def graph(self, parameters: Parameters | None = None) -> Graph:
        """Lower to device operators; without parameters the graph has shapes only."""
        activation: Activation = "RELU" if self.activation == "relu" else "RELU6"
        builder = Builder(self.input, parameters)
        tensor = builder.conv(
            builder.input,
            "stem",
            self.stem.width,
            self.stem.kernel,
            stride=self.stem.stride,
            activation=activation,
            bits=self.stem.bits,
        )
        for number, block in enumerate(self.blocks, 1):
            tensor = block.lower(builder, tensor, f"block{number}", activation)
        if self.head.width is not None:
            tensor = builder.conv(
                tensor, "head", self.head.width, activation=activation, bits=self.head.bits
            )
        tensor = builder.global_average(tensor, "pool")
        if self.head.classifier == "dense":
            return builder.finish(builder.dense(tensor, "classifier", self.classes))
        logits = builder.conv(tensor, "classifier", self.classes)
        return builder.finish(builder.reshape(logits, "logits", (1, self.classes)))

    def build(self) -> "Network":
        """Return a trainable torch module with fresh weights."""
        from micronas.train.network import Network

        return Network(self.graph())

    def save(self, path: str | Path) -> None:
        values = self.model_dump(mode="json")
        write_atomically(path, yaml.safe_dump(values, sort_keys=False).encode())

    @classmethod
    def load(cls, source: str | Path) -> "Architecture":
        """Read a published network by name (``published/kws_m``) or an architecture file by path.

        A user's own file wins over a shipped one of the same path. ConfigError names the line
        that is wrong, or the shipped network that is nearest.
        """
        path = Path(source).expanduser()
        if len(path.parts) == 2 and path.parts[0] == "published" and not path.is_file():
            path = resources.find("search_spaces/published", path.name)
        return read_settings(path, cls)

    def __str__(self) -> str:
        """Widths block by block, as in the paper's Table 5: ``140; 140@2 140 140 112 196``.

        ``140b4`` has weights of 4 bits.
        """
        blocks = " ".join(_short(block) for block in self.blocks)
        head = f"; {self.head.width}{_bits(self.head)}" if self.head.width is not None else ""
        return f"{self.stem.width}{_bits(self.stem)}; {blocks}{head}"


def _short(block: Separable | Bottleneck) -> str:
    wide = f"{block.expansion}-" if isinstance(block, Bottleneck) else ""
    kernel = f"k{block.kernel}" if block.kernel != 3 else ""
    stride = f"@{max(block.stride)}" if max(block.stride) > 1 else ""
    return f"{wide}{block.width}{_bits(block)}{kernel}{stride}"


def _bits(part: _Weighted) -> str:
    return "" if part.bits == 8 else f"b{part.bits}"
