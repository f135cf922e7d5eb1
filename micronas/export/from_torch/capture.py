"""Run torch.export on a module, with one line of error where it cannot be exported."""

import io
import logging
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from micronas.errors import ExportError
from micronas.export.from_torch.decompositions import decomposed
from micronas.export.from_torch.functional import make_functional
from micronas.export.from_torch.operations import named

_LONGEST_QUOTE = 200
_CHECKS = named("_assert_tensor_metadata _assert_async _assert_async.msg")


def capture(
    module: nn.Module, examples: Sequence[Tensor], plain: Container[object]
) -> ExportedProgram:
    """Record a module in eval mode on the first of examples, as functional ATen operators.

    There is one tensor for each input, of float32 or integers, with N >= 1 in its first dimension.
    Operators that are `plain` are not decomposed. Raises ExportError if the module cannot be run or
    recorded, or does not turn tensors into tensors.
    """
    _check_module(module)
    example = tuple(_checked_example(example) for example in examples)
    shapes = ", ".join(str(list(part.shape)) for part in example)
    try:
        with torch.no_grad():  # twice, on copies, as modules may keep state or change their input
            result, again = (module(*(part.clone() for part in example)) for _ in range(2))
    except Exception as error:
        raise ExportError(
            f"a module must run on its example input {shapes}, but "
            f"{type(module).__name__} raises {_quote(error)}; pass an input it accepts"
        ) from error
    _check_result(module, result)
    try:
        with torch.no_grad(), _silence():
            program = torch.export.export(module, example, strict=False)
            make_functional(program.graph)
            _drop_checks(program)
            program = decomposed(program, plain)
            _drop_checks(program)
    except Exception as error:
        raise ExportError(
            "a module must do the same steps for every input, as torch.export records them, but "
            f"{type(module).__name__} raises {_quote(error)}; take out steps that depend on values"
        ) from error
    if not any(map(_draws, program.graph.nodes)):  # what draws is refused by name
        _check_repeated(module, result, again)
    return program


def _draws(node: Node) -> bool:
    """Return whether an operator draws random numbers; attention does where it drops."""
    is_random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    if node.target is not torch.ops.aten.scaled_dot_product_attention.default:
        return is_random
    dropout = node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0)
    return bool(dropout)


def _drop_checks(program: ExportedProgram) -> None:
    """Remove assertions of torch's own, and what only they read."""
    for node in [each for each in program.graph.nodes if each.target in _CHECKS]:
        program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


def _check_module(module: object) -> None:
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise ExportError(
            f"export takes a torch.nn.Module, but got {type(module).__name__}; pass the module "
            "itself, not a function, a class or TorchScript"
        )
    training = [name or "the module" for name, part in module.named_modules() if part.training]
    if training:
        raise ExportError(
            f"a module must be in eval mode, but {training[0]} is in training mode; "
            "call module.eval() first"
        )
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value):
            raise ExportError(
                f"weights must have a shape, but {name} is not initialised; run the module once"
            )
        counter = not (value.is_floating_point() or value.is_complex())
        if value.device.type != "cpu" or not (counter or value.dtype == torch.float32):
            raise ExportError(
                f"weights must be float32 on the CPU, but {name} is {value.dtype} on "
                f"{value.device}; call module.float().cpu() first"
            )
        if not counter and not value.isfinite().all():
            raise ExportError(
                f"weights must be finite, but {name} holds inf or nan; train the module again"
            )


def _checked_example(example: object) -> Tensor:
    if not isinstance(example, Tensor):
        raise ExportError(
            f"a module must take tensors, but an example input is {type(example).__name__}; "
            "wrap the module so that it takes float32 tensors alone"
        )
    if example.layout != torch.strided or example.device.type != "cpu":
        raise ExportError(
            f"an example input must be dense and on the CPU, but is {example.layout} on "
            f"{example.device}; pass a typical input"
        )
    if not 2 <= example.ndim <= 5 or not example.numel() or not _is_number(example):
        raise ExportError(
            "an example input must be float32 or whole numbers [N, ...] of two to five dimensions "
            f"with N >= 1, but is {example.dtype} {list(example.shape)}; convert or reshape it"
        )
    if not example.isfinite().all():
        raise ExportError(
            f"an example input must be finite, but spans {example.min().item()} to "
            f"{example.max().item()}; pass a typical input"
        )
    return example[:1].detach().contiguous()


def _is_number(tensor: Tensor) -> bool:
    """Return whether a tensor holds float32, integers or booleans."""
    is_whole = not (tensor.is_floating_point() or tensor.is_complex())
    return tensor.dtype == torch.float32 or is_whole


def _check_result(module: nn.Module, result: object) -> None:
    if isinstance(result, list | tuple | Mapping) and result:
        for part in result.values() if isinstance(result, Mapping) else result:
            _check_result(module, part)
        return
    if not isinstance(result, Tensor):
        raise ExportError(
            f"a module must return tensors, but {type(module).__name__} returns "
            f"{type(result).__name__}; wrap it in a module that returns tensors alone"
        )
    if result.ndim < 1 or result.shape[0] != 1 or not _is_number(result):
        raise ExportError(
            "a module must return float32 or whole numbers [N, ...], but "
            f"{type(module).__name__} returns {result.dtype} {list(result.shape)} for one example; "
            "keep the batch dimension"
        )


def _check_repeated(module: nn.Module, result: object, again: object) -> None:
    """Check that a module's results do not depend on earlier calls."""
    for first, second in zip(tree_leaves(result), tree_leaves(again), strict=True):
        if first.shape != second.shape or not torch.allclose(
            first.double(), second.double(), rtol=1e-4, atol=1e-6, equal_nan=True
        ):
            raise ExportError(
                "a module must compute the same from the same input, but two calls of "
                f"{type(module).__name__} differ, as it keeps a state or draws numbers; take the "
                "state as an input and return it as an output"
            )


@contextmanager
def _silence() -> Iterator[None]:
    """Keep torch from printing the program on which it fails, besides raising an error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _quote(error: Exception) -> str:
    """Return the first line of an error, without torch's pages of advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    return f"{type(error).__name__}: {lines[0][:_LONGEST_QUOTE]}"
