"""Random networks with several inputs and outputs, cut out of those that have one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from micronas.graph.interface import renamed
from micronas.graph.ir import Graph


def opened(graph: Graph, seed: int) -> Graph:
    """Return an int8 network with random tensors as more inputs and outputs.

    Outputs may be read by later operators, operators may be left whose result nobody reads, and an
    input may be unused; the file lists tensors in any order.
    """
    rng = np.random.default_rng(seed)
    tensors, ops, inputs = dict(graph.tensors), list(graph.ops), list(graph.inputs)
    for number in range(int(rng.integers(0, 3))):
        at = int(rng.integers(len(ops)))
        op = ops[at]
        old = op.operands[int(rng.integers(len(op.operands)))]
        if tensors[old].constant or tensors[old].dtype == "int32":  # positions stay within
            continue
        new = f"inlet{number}"
        tensors[new] = replace(tensors[old], name=new)
        ops[at] = replace(op, inputs=tuple(new if name == old else name for name in op.inputs))
        inputs.append(new)
    if rng.random() < 0.3:
        tensors["unused"] = replace(tensors[inputs[0]], name="unused", shape=(1, 5))
        inputs.append("unused")
    written = [op.outputs[0] for op in ops if tensors[op.outputs[0]].dtype != "int32"]
    more = rng.choice(written, int(rng.integers(0, 4)))
    outputs = [*dict.fromkeys([*graph.outputs, *map(str, more)])]
    order = rng.permutation(len(tensors))
    listed = [*tensors.values()]
    return Graph(
        {listed[index].name: listed[index] for index in order},
        tuple(ops),
        tuple(inputs[index] for index in rng.permutation(len(inputs))),
        tuple(outputs[index] for index in rng.permutation(len(outputs))),
    )


def beside(graphs: Sequence[Graph]) -> Graph:
    """Return one network of several that share nothing; names of tensors end in their number."""
    parts = [
        renamed(graph, {name: f"{name}_{number}" for name in graph.tensors})
        for number, graph in enumerate(graphs)
    ]
    return Graph(
        {name: each for part in parts for name, each in part.tensors.items()},
        tuple(op for part in parts for op in part.ops),
        tuple(name for part in parts for name in part.inputs),
        tuple(name for part in parts for name in part.outputs),
    )
