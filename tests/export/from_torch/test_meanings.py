"""Unusual uses of usual operations: a graph computes what torch means by them, or is not made."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from tests.export.from_torch.cases import Case, Cases, check_float

Function = Callable[[Tensor], Any]


def check(functions: dict[str, Function], x: Tensor) -> None:
    """Compare a graph of all functions with torch, example by example."""
    module = Cases([Case(function) for function in functions.values()]).eval()
    with torch.no_grad():
        wanted = [torch.cat(parts) for parts in zip(*map(module, x.split(1)), strict=True)]
    check_float(trace(module, x[:1]), x, wanted, [*functions], rtol=1e-3, atol=1e-4)


def of_windows(function: Function) -> Function:
    """Apply a function to three windows [6, 4] of an example."""
    return lambda x: function(x.reshape(3, 6, 4)).reshape(1, -1)


def of_maps(function: Function) -> Function:
    """Apply a function to three maps [2, 4, 3] of an example."""
    return lambda x: function(x.reshape(3, 2, 4, 3)).reshape(1, -1)


WINDOWS: dict[str, Function] = {
    "reflected": lambda w: F.pad(w, (1, 1), mode="reflect") * 2,
    "columns spread": lambda w: w[:, :, :1].expand(3, 6, 4) * 2,
    "rows again": lambda w: w[:, [0, 0, 1]] * 2 + 1,
    "rows again, summed": lambda w: w[:, [0, 0, 1]].sum(1),
    "rows again, normed": lambda w: F.layer_norm(w[:, [0, 0, 1]], (4,)),
    "stacked": lambda w: torch.stack([w[:, [0, 0, 1]], w[:, [0, 2, 1]]]),
    "convolved means": lambda w: F.conv1d(w, torch.arange(24.0).reshape(2, 6, 2) / 9).mean(2),
    "crossed": lambda w: w[:, :1].amax(2, keepdim=True) * w.amax(2, keepdim=True).transpose(1, 2),
}
MAPS: dict[str, Function] = {
    "reflected": lambda m: F.pad(m, (1, 1, 1, 1), mode="reflect") * 2,
    "channels again": lambda m: m[:, [0, 0, 1]] * 2 + 1,
    "channels again, summed": lambda m: m[:, [0, 0, 1]].sum(1),
    "means": lambda m: m.mean((2, 3)),
    "maxima": lambda m: m.amax((2, 3)),
    "crossed": lambda m: m.amax((2, 3), keepdim=True) + m.amax((1, 3), keepdim=True),
    "padded": lambda m: F.pad(m, (1, 0, 2, 1), value=0.5),
    "channels padded": lambda m: F.pad(m, (0, 0, 0, 0, 1, 1), value=0.5),
    "joined": lambda m: torch.cat([m.flip(3), m[:, :1] * 2], 1),
    "joined to a constant": lambda m: torch.cat([m * 2, torch.arange(72.0).view(3, 2, 4, 3)], 1),
}


def test_several_windows_and_maps_of_an_example() -> None:
    torch.manual_seed(0)
    windows = {f"windows {name}": of_windows(each) for name, each in WINDOWS.items()}
    maps = {f"maps {name}": of_maps(each) for name, each in MAPS.items()}
    check({**windows, **maps}, torch.randn(4, 6, 12))


def test_lengths_that_divide_only_their_own_vectors_are_no_other_numbers() -> None:
    torch.manual_seed(0)

    def divided(change: Function) -> Function:
        return lambda x: x / change(x.norm(dim=1, keepdim=True))

    lengths: dict[str, Function] = {
        "bounded below": divided(lambda n: n.clamp(min=2.0)),
        "bounded above": divided(lambda n: n.clamp(max=1.5)),
        "bounded and returned": lambda x: x.norm(dim=1, keepdim=True).clamp(min=2.0),
        "far from zero": lambda x: F.normalize(x, eps=3.0),
        "turned": divided(lambda n: n.transpose(1, 2)),
        "rolled": divided(lambda n: n.roll(1, 2)),
        "the first": divided(lambda n: n[:, :, :1]),
        "one more dimension": lambda x: (
            x[:, :, :1] / x[:, :, :1].norm(dim=1, keepdim=True).expand(-1, 4, 4)
        ),
        "near zero": F.normalize,
    }
    check(lengths, torch.randn(6, 4, 4))


def test_sums_over_all_of_an_example_without_its_batch() -> None:
    torch.manual_seed(0)
    sums: dict[str, Function] = {
        "sum": lambda x: x[0].sum().reshape(1, 1),
        "largest": lambda x: x[0].amax().reshape(1, 1),
        "product": lambda x: torch.dot(x[0, 0], x[0, 0]).reshape(1, 1),
        "length": lambda x: x[0].norm().reshape(1, 1),
    }
    check(sums, torch.randn(4, 5, 8))


def test_truth_is_that_of_numbers_other_than_zero() -> None:
    torch.manual_seed(0)
    check(
        {
            "not": lambda x: torch.logical_not(x.relu()) * x.exp(),
            "and": lambda x: torch.logical_and(x, x.relu()) * x,
            "mask": lambda x: (x.relu() * 3).bool() * x,
            "not a mask": lambda x: ~(x > 0) & (x > -1) & torch.logical_not(x > -0.5),
        },
        torch.randn(6, 8),
    )
    check({"words": lambda x: x.bool().float() * 2}, torch.randint(0, 3, (6, 8)))


def test_attention_of_scale_zero_is_a_mean() -> None:
    attended = {"mean": lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.0)}
    check(attended, torch.randn(4, 5, 8))


CAUSAL = torch.ones(5, 5).tril().bool()


def test_scores_are_hidden_by_tensors_as_by_numbers() -> None:
    """A value less a number of minus a billion, plus this number, is nothing in float32."""
    torch.manual_seed(0)

    def or_else(low: Tensor) -> Function:
        return lambda x: torch.where(CAUSAL, x @ x.transpose(1, 2), low).softmax(2)

    check(
        {
            "a billion below": or_else(torch.full([], -1e9)),
            "one for each score": or_else(-9e15 * torch.ones(5, 5)),
            "the least": or_else(torch.tensor(torch.finfo(torch.float32).min)),
            "infinite": or_else(torch.full((5, 5), -torch.inf)),
            "filled": lambda x: (
                (x @ x.transpose(1, 2)).masked_fill(~CAUSAL, torch.full([], -torch.inf)).softmax(2)
            ),
            "no scores": lambda x: torch.where(CAUSAL, x @ x.transpose(1, 2), x[:, :, :5]),
        },
        torch.randn(4, 5, 8),
    )


def test_vectors_are_rows_on_the_left_and_columns_on_the_right() -> None:
    """A query that pools by attention was a factor of each feature."""
    torch.manual_seed(0)
    query, times = torch.randn(8), torch.randn(5)
    products: dict[str, Function] = {
        "scores": lambda x: (x @ query).softmax(1),
        "pooled": lambda x: ((x @ query).softmax(1)[:, :, None] * x).sum(1),
        "over time": lambda x: times @ x,
        "by a layer": lambda x: F.linear(x, query),
        "more dimensions": lambda x: (x @ torch.eye(8)[None, None, :, :3])[:, 0] * 2,
    }
    check(products, torch.randn(4, 5, 8))


def test_numbers_of_the_shape_of_words_are_whole() -> None:
    """Kinds and places of words, as transformers have them."""
    torch.manual_seed(0)
    table = nn.Embedding(10, 4)
    kinds = {
        "zeros": lambda t: table(t) + table(torch.zeros_like(t)),
        "places": lambda t: table(t) + table(torch.arange(6)[None].expand_as(t)),
        "no mask": lambda t: t * ~torch.zeros_like(t, dtype=torch.bool),
        "known": lambda t: table(torch.where(t < 8, t, 3)),
        "filled": lambda t: table(t.masked_fill(t == 5, 0)),
    }
    check(kinds, torch.randint(0, 10, (4, 6)))


class _Counting(nn.Module):
    """Attention that adds how often it was called, which would become a constant."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return F.scaled_dot_product_attention(x, x, x) + self.calls


def _of_batch(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, training=True)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (_Counting(), "two calls of _Counting differ"),
        (
            Case(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)),
            "but this drops; pass dropout_p=0.0 unless self.training",
        ),
        (Case(_of_batch, nn.BatchNorm1d(5)), "running statistics, but this has those of its batch"),
        (nn.BatchNorm1d(5, track_running_stats=False), "but this has those of its batch; use"),
    ],
)
def test_results_that_depend_on_more_than_the_example_are_refused(
    module: nn.Module, said: str
) -> None:
    with pytest.raises(ExportError, match=said):
        trace(module.eval(), torch.randn(1, 5, 8))


WORDS = torch.randint(0, 100, (1, 6))


@pytest.mark.parametrize(
    ("function", "x", "said"),
    [
        (lambda x: ~x * 2.0, WORDS, "aten.bitwise_not in"),
        (lambda x: (x & (x + 1)) * 2.0, WORDS, "aten.bitwise_and in"),
        (lambda x: (x - 50) * 1.5, WORDS.to(torch.uint8), "of torch.uint8, which torch wraps"),
        (lambda x: (x * 3) * 1.5, WORDS.to(torch.int8), "of torch.int8, which torch wraps"),
        (lambda x: ((x > 0) + (x > -1)) * x, torch.randn(1, 6), "of torch.bool, which torch wraps"),
        (
            lambda x: (torch.logical_and(x, x > 1) + ((x > 0) & (x < 2))) * x,
            torch.randn(1, 6),
            "of torch.bool, which torch wraps",
        ),
        (lambda x: F.softplus(x, threshold=0.5), torch.randn(1, 6), "but has 0.5; leave the"),
        (
            lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=(x > 0)[..., :5]),
            torch.randn(1, 5, 8),
            r"but says which to hide; pass torch.where\(mask, 0.0, -16.0\)",
        ),
    ],
)
def test_what_a_device_would_compute_otherwise_is_refused(
    function: Function, x: Tensor, said: str
) -> None:
    with pytest.raises(ExportError, match=said):
        trace(Case(function).eval(), x)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(6, 6, 3), nn.ConvTranspose2d(6, 6, 3), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)],
)
def test_a_map_without_its_batch_is_no_row_of_sequences(layer: nn.Module) -> None:
    module = Case(lambda x, layer: layer(x[0]).unsqueeze(0), layer).eval()
    with pytest.raises(ExportError, match="maps must be of one example, but there are 6"):
        trace(module, torch.randn(1, 6, 6, 6))
