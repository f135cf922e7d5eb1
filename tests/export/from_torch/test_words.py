"""Inputs that are whole numbers: embeddings, masks of them, and pixels; exact on TFLM."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas import to_tflite
from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from micronas.tflite.reader import read
from micronas.train.codes import quantize_all_inputs
from micronas.train.inputs import by_input
from tests.export.from_torch.cases import check_exact, check_float

WORDS = 30


class Case(nn.Module):
    """A function of an embedding and of numbers of words."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 8, padding_idx=0), nn.Embedding(12, 8)
        self.gru, self.function = nn.GRU(8, 4, batch_first=True), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def masked_mean(module: Any, x: Tensor) -> Tensor:
    is_word = (x != 0).unsqueeze(-1).float()
    return (module.words(x) * is_word).sum(1) / is_word.sum(1).clamp(min=1)


def causal(module: Any, x: Tensor) -> Tensor:
    y = module.words(x) + module.places(torch.arange(x.shape[1]))
    return F.scaled_dot_product_attention(y, y, y, is_causal=True)


CASES: dict[str, Callable[..., Any]] = {
    "mean": lambda module, x: module.words(x).mean(1),
    "masked mean": masked_mean,
    "causal attention": causal,
    "gru": lambda module, x: module.gru(module.words(x[:, :3]))[1][-1],
    "numbers": lambda module, x: (x.float() / WORDS).relu(),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_equal_in_float_and_exact_on_tflm(name: str) -> None:
    torch.manual_seed(0)
    module, x = Case(CASES[name]).eval(), torch.randint(WORDS, (16, 12))
    with torch.no_grad():
        wanted = module(x)
    graph = trace(module, x[:1])
    check_float(graph, x, [wanted], rtol=1e-4)
    check_exact(to_tflite(module, x[:1], calibration=[x]), x)


def test_a_code_is_the_number_of_a_word() -> None:
    module, x = Case(lambda module, x: module.words(x)).eval(), torch.randint(WORDS, (16, 12))
    graph = read(to_tflite(module, x[:1], calibration=[x]))
    (codes,) = quantize_all_inputs(graph, by_input(graph, x)).values()
    assert (codes.astype(int) + 128 == x.numpy()).all()


def test_vocabularies_of_int8() -> None:
    module, x = nn.Embedding(257, 4).eval(), torch.randint(256, (1, 3))
    with pytest.raises(ExportError, match=r"at most 256 rows.*has 257"):
        trace(module, x)


def test_rows_between_an_embedding_and_the_output_are_reshaped_once() -> None:
    """Attention's map [1, 1, 12, 8] goes on to the output; only that asks for [1, 12, 4]."""
    heads, head = nn.Linear(8, 24), nn.Linear(8, 4)

    def decoded(module: Any, x: Tensor) -> Tensor:
        y = module.words(x) + module.places.weight
        mixed = F.scaled_dot_product_attention(*heads(y).chunk(3, -1), is_causal=True)
        return head(y + mixed)

    module, x = Case(decoded).eval(), torch.randint(WORDS, (16, 12))
    graph = trace(module, x[:1])
    assert sum(op.kind == "RESHAPE" for op in graph.ops) == 1
    assert not any(name.endswith("/loose") for name in graph.tensors)
    check_float(graph, x, [module(x).detach()])
