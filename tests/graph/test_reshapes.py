"""Operators by row without RESHAPEs between them."""

from micronas.graph.ir import Graph, Op, Tensor, table
from micronas.graph.reshapes import without_reshapes


def test_a_square_of_a_map_keeps_the_dimensions_of_the_map() -> None:
    """Operands may lack leading ones, but not both: y would have three dimensions."""
    shapes = {"x": (1, 1, 16), "map": (1, 1, 1, 16), "y": (1, 1, 1, 16)}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    tensors["shape"] = table("shape", (1, 1, 1, 16))
    ops = (Op("RESHAPE", "map", ("x", "shape"), ("map",)), Op("MUL", "y", ("map", "map"), ("y",)))
    graph = without_reshapes(Graph(tensors, ops, ("x",), ("y",)))
    (multiplied,) = (op for op in graph.ops if op.kind == "MUL")
    assert any(len(graph.tensors[name].shape) == 4 for name in multiplied.inputs)
