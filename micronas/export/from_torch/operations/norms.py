"""Layer, group and instance norms, and division by a vector's length."""

from micronas.export.from_torch.layout import Value
from micronas.export.from_torch.operations import Arguments, elementwise
from micronas.export.from_torch.operations.rows import rowwise
from micronas.export.from_torch.tracer import Tracer


def layer_norm(tracer: Tracer, arguments: Arguments) -> Value:
    raise tracer.refusal("layer norms are not supported yet")


group_norm = instance_norm = layer_norm


def length(tracer: Tracer, arguments: Arguments) -> None:
    """Note the length of vectors, by which only a division can follow."""
    dims = arguments["dim"]
    if arguments["ord"] != 2 or dims is None or len(dims) != 1 or not arguments["keepdim"]:
        raise tracer.refusal(
            "lengths must be over one dimension, of order 2", "use torch.nn.functional.normalize"
        )
    tracer.lengths[tracer.node] = arguments["self"], dims[0]


def divide(tracer: Tracer, arguments: Arguments) -> Value:
    """Divide by a constant, or vectors by their length."""
    if arguments["other"] not in tracer.lengths:
        return elementwise.divide(tracer, arguments)
    vectors, dim = tracer.lengths[arguments["other"]]
    if vectors is not arguments["self"]:
        raise tracer.refusal(
            "vectors must be divided by their own length", "use torch.nn.functional.normalize"
        )
    return rowwise(tracer, "L2_NORMALIZATION", tracer.value(vectors), dim)
