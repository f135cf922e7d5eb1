"""A network block by block, beside the largest network of its space. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from micronas.space.architecture import Architecture, Block, Bottleneck, Separable
from micronas.space.search_space import (
    BottleneckSpace,
    SearchSpace,
    SeparableSpace,
    stage_blocks,
)

Stage = SeparableSpace | BottleneckSpace
Layer = Mapping[str, Any]


def blocks_of(
    architecture: Architecture,
    space: SearchSpace | None = None,
    layers: Sequence[Layer] = (),
) -> list[dict[str, Any]]:
    """Describe stem, blocks and head, in the order they run.

    Parameters
    ----------
    space
        Where the network was found: adds the blocks that were skipped, and the largest width of
        each. Without one the largest is the network's own.
    layers
        As `hardware.profile.profile` lists them, each with its ``latency_ms``; adds what each block
        costs.
    """
    places = [
        (name, stage)
        for number, stage in enumerate(space.stages if space else (), 1)
        for name in stage_blocks(stage, number)
    ]
    filled = fill([stage for _, stage in places], architecture.blocks)
    if filled is None:  # no space, or a network that is not of it
        return _described(architecture, None, [], architecture.blocks, layers)
    return _described(architecture, space, places, filled, layers)


def fill(stages: Sequence[Stage], blocks: Sequence[Block]) -> list[Block | None] | None:
    """Return the block of a network in each place of its space, None where it is skipped.

    The first places that fit are taken, so that a stage keeps its first blocks. None as a whole if
    the network is not of the space.

    Parameters
    ----------
    stages
        One for each place: what may stand there.
    """
    # rest[place][n]: whether the blocks from the n-th on fill the places from this one on
    rest = [[False] * (len(blocks) + 1) for _ in range(len(stages) + 1)]
    rest[-1][-1] = True
    for place in reversed(range(len(stages))):
        for number in range(len(blocks) + 1):
            taken = number < len(blocks) and _takes(stages[place], blocks[number])
            rest[place][number] = (taken and rest[place + 1][number + 1]) or (
                stages[place].skip and rest[place + 1][number]
            )
    if not rest[0][0]:
        return None
    found: list[Block | None] = []
    number = 0
    for place, stage in enumerate(stages):
        taken = number < len(blocks) and _takes(stage, blocks[number])
        if taken and rest[place + 1][number + 1]:
            found.append(blocks[number])
            number += 1
        else:
            found.append(None)
    return found


def _takes(stage: Stage, block: Block) -> bool:
    same = (
        block.type == stage.type
        and block.width in stage.width
        and block.kernel in stage.kernel
        and block.stride == stage.stride
        and block.bits in stage.bits
    )
    if isinstance(block, Separable) or isinstance(stage, SeparableSpace):
        return same
    return same and block.expansion in stage.expansion and block.residual == stage.residual


def _described(
    architecture: Architecture,
    space: SearchSpace | None,
    places: Sequence[tuple[str, Stage]],
    filled: Sequence[Block | None],
    layers: Sequence[Layer],
) -> list[dict[str, Any]]:
    stem, head = architecture.stem, architecture.head
    widest = max(stem.width, *(block.width for block in architecture.blocks), 0)
    found: list[dict[str, Any]] = [
        {
            "name": "stem",
            "type": "convolution",
            "width": stem.width,
            "largest": space.stem.width[-1] if space else widest,
            "kernel": list(stem.kernel),
            "stride": list(stem.stride),
            "bits": stem.bits,
            **_costs([layer for layer in layers if layer["name"] == "stem"]),
        }
    ]
    number = 0
    for place, block in enumerate(filled):
        name, stage = places[place] if places else (f"block{place + 1}", None)
        largest = stage.width[-1] if stage else widest
        if block is None:
            kind = stage.type if stage else ""
            found.append({"name": name, "type": kind, "width": 0, "largest": largest})
            continue
        number += 1
        own = [layer for layer in layers if layer["name"].startswith(f"block{number}/")]
        found.append({"name": name, "largest": largest, **_block(block), **_costs(own)})
    in_space = space.head.width if space else None
    wide = (
        {"width": head.width, "largest": in_space[-1] if in_space else max(head.width, widest)}
        if head.width
        else dict.fromkeys(("width", "largest", "classes"), architecture.classes)
    )
    last = [layer for layer in layers if not layer["name"].startswith(("stem", "block"))]
    found.append(
        {
            "name": "head",
            "type": "convolution, pool, classifier" if head.width else "pool, classifier",
            "bits": head.bits,
            **wide,
            **_costs(last),
        }
    )
    return found


def _block(block: Block) -> dict[str, Any]:
    shape = {
        "type": block.type,
        "width": block.width,
        "kernel": [block.kernel, block.kernel],
        "stride": list(block.stride),
        "bits": block.bits,
    }
    if isinstance(block, Bottleneck):
        shape |= {"expansion": block.expansion, "residual": block.residual}
    return shape


def _costs(layers: Sequence[Layer]) -> dict[str, Any]:
    if not layers:
        return {}
    sums = {key: sum(each[key] for each in layers) for key in _SUMMED}
    return {**sums, "output": layers[-1]["output"][1:]}


_SUMMED = ("macs", "latency_ms", "weights_bytes")
