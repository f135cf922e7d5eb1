"""Modules that cannot be exported; each says why in one line."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export.from_torch.module import to_tflite
from tests.cases import first
from tests.export.from_torch.cases import Case
from tests.export.from_torch.test_trace import image


def unsupported() -> Iterator[tuple[str, Callable[[], nn.Module], Any]]:
    """Operations without an operator, each with its ATen name, behind a layer."""
    functions: dict[str, Callable[[Tensor], Any]] = {
        "sort": lambda x: x.sort(1).values,
        "digamma": torch.digamma,
        "masked": lambda x: x.masked_fill(x > 0, -torch.inf),
        "where": lambda x: torch.where(x > 0, x, -1e9),
        "cat_batch": lambda x: torch.cat([x, x], 0)[:1],
        "dropout": lambda x: F.dropout(x),
        "rand": lambda x: x + torch.rand_like(x),
        "pad_infinity": lambda x: F.pad(x, (1, 1), value=torch.inf),
        "gather": lambda x: x.gather(1, torch.zeros_like(x, dtype=torch.long)),
        "half": lambda x: x.half().float(),
    }
    for name, function in functions.items():
        yield name, lambda f=function: nn.Sequential(nn.Conv2d(3, 4, 1), Case(f)), image(3, 4, 4)


class NoForward(nn.Module):
    pass


class Parameterless(nn.Module):
    def __init__(self, dtype: torch.dtype, value: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4, 4), value, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


def raises(error: Exception) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        raise error

    return forward


def odd() -> Iterator[tuple[str, Callable[[], Any], Any]]:
    """Modules and inputs that break a rule other than having an operator."""
    four, maps = torch.randn(1, 4), image(4, 6, 6)
    for error in (
        ValueError("a\nb"),
        RuntimeError(""),
        OSError(5, "io"),
        StopIteration(),
        RecursionError("deep"),
        AttributeError("x" * 5000),
    ):
        yield f"raises-{type(error).__name__}", lambda e=error: Case(raises(e)), four
    layers: dict[str, tuple[Callable[[], Any], Any]] = {
        "no-forward": (NoForward, four),
        "function": (lambda: F.relu, four),
        "script": (lambda: torch.jit.script(nn.ReLU().eval()), four),
        "lazy": (lambda: nn.LazyLinear(3), four),
        "wrong-features": (lambda: nn.Linear(5, 2), four),
        "conv3d": (
            lambda: Case(lambda x, conv: conv(x[:, None]).flatten(1), nn.Conv3d(1, 2, 1)),
            maps,
        ),
        "batch-statistics": (lambda: nn.BatchNorm2d(4, track_running_stats=False), maps),
        "rrelu": (nn.RReLU, maps),
        "embedding": (lambda: nn.Embedding(5, 2), torch.zeros(1, 4, dtype=torch.long)),
        "bilinear-layer": (lambda: Case(lambda x, layer: layer(x, x), nn.Bilinear(4, 4, 2)), four),
        "inverse": (lambda: Case(lambda x: torch.linalg.inv(x[:, None] * 0 + torch.eye(4))), four),
        "nothing": (nn.Identity, four),
        "constant": (lambda: Case(lambda x: torch.ones(1, 2)), four),
        "number": (lambda: Case(lambda x: x.sum().item()), four),
        "returns-none": (lambda: Case(lambda x: None), four),
        "scalar": (lambda: Case(lambda x: x.mean()), four),
        "vector": (lambda: Case(lambda x: x.relu()[0]), four),
        "place-in-all": (lambda: Case(lambda x: x.relu().argmax().view(1)), four),
        "if": (lambda: Case(lambda x: x.relu() if x.sum() > 0 else x), four),
        "nonzero": (lambda: Case(lambda x: x.relu() + x.nonzero().shape[0]), four),
        "numpy": (lambda: Case(lambda x: torch.tensor(x.numpy() * 2).relu()), four),
        "list": (lambda: Case(lambda x: torch.tensor(x.tolist()).relu()), four),
        "two-inputs": (lambda: Case(lambda x, y: x + y), four),
        "no-input": (lambda: Case(lambda: torch.ones(1, 1)), four),
        "complex": (lambda: Parameterless(torch.complex64), four.to(torch.complex64)),
        "half-weights": (lambda: Parameterless(torch.float16), four),
        "meta-weights": (lambda: nn.Linear(4, 2, device="meta"), four),
        "infinite-weights": (lambda: Parameterless(torch.float32, torch.inf), four),
        "initial-state": (
            lambda: Case(
                lambda x, lstm: lstm(x[:, None], (torch.ones(1, 1, 2), torch.ones(1, 1, 2)))[0],
                nn.LSTM(4, 2),
            ),
            four,
        ),
        "sparse-input": (nn.ReLU, four.to_sparse()),
        "meta-input": (nn.ReLU, four.to("meta")),
        "complex-input": (nn.ReLU, four.to(torch.complex64)),
        "six-dimensions": (nn.ReLU, torch.randn(1, 1, 1, 1, 1, 2)),
        "fft": (lambda: Case(lambda x: torch.fft.rfft(x).abs()), four),
        "bool-input": (nn.ReLU, four > 0),
        "nan-input": (nn.ReLU, four * torch.nan),
        "list-input": (nn.ReLU, [1.0]),
        "no-example": (nn.ReLU, None),
        "empty-batch": (nn.ReLU, four[:0]),
        "vector-input": (nn.ReLU, four[0]),
    }
    for name, (make, x) in layers.items():
        yield name, make, x


BROKEN = {name: (make, x) for name, make, x in (*unsupported(), *odd())}


@pytest.mark.long
@pytest.mark.parametrize("name", BROKEN)
def test_broken_modules_end_in_one_line(name: str) -> None:
    make, x = BROKEN[name]
    module = make()
    if isinstance(module, nn.Module):
        module.eval()
    with pytest.raises(ExportError) as caught:
        to_tflite(module, x)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert "; " in message


def test_messages_name_the_operation_the_module_and_the_way_out() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(ExportError) as caught:
        to_tflite(nn.Sequential(module, Case(torch.erfinv)).eval(), torch.randn(1, 4))
    assert str(caught.value).startswith(
        "aten.erfinv in module '1': every operation must have an operator to export, but this "
        "has none; leave it out, or put it together from exp, "
    )


@first(
    ("name", "way_out"),
    [
        ("conv3d", "use torch.nn.Conv2d on frames as channels"),
        ("bilinear-layer", "use torch.nn.Linear on the products of both inputs"),
        ("inverse", "compute it before the network"),
    ],
    1,
)
def test_ways_out(name: str, way_out: str) -> None:
    make, x = BROKEN[name]
    with pytest.raises(ExportError) as caught:
        to_tflite(make().eval(), x)
    assert way_out in str(caught.value)
    assert "operations cannot be exported" not in str(caught.value)


def test_one_message_names_all_refused_operations() -> None:
    module = Case(lambda x: (x.erfinv() + x.lgamma()).cummax(1).values.erfinv()).eval()
    with pytest.raises(ExportError) as caught:
        to_tflite(module, torch.randn(1, 4))
    message = str(caught.value)
    assert message.startswith("3 operations cannot be exported: ")
    assert "in cases.py:" in message  # of `Case.forward`, which is in no submodule
    assert [message.count(f"aten.{name} ") for name in ("erfinv", "lgamma", "cummax")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        *(({"bits": each}, "bits must") for each in (2, 1, 0, -1, True, "8", None, 8.0, {"0": 3})),
        ({"bits": {"features.*": 4}}, "the layers are 0, 2"),
        ({"averages": "Pool"}, "averages must be one of pool, parts, mean, but is 'Pool'"),
        ({"linear_scales": None}, "linear_scales must be one of tensor, output, but is None"),
        ({"bits": {0: 4}}, "but has 0: 4; the layers are 0, 2"),
        ({"metadata": {"labels": "yes"}}, "must be bytes by name, but has 'labels': str; encode"),
        ({"metadata": {1: b"yes"}}, "must be bytes by name, but has 1: bytes; encode"),
    ],
)
def test_settings_of_other_types_are_named(settings: dict[str, Any], said: str) -> None:
    module = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    with pytest.raises(ExportError, match=said):
        to_tflite(module, torch.randn(1, 4), calibration=torch.randn(4, 4), **settings)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "module", [nn.Linear(4, 0), Case(lambda x: x[:, :0]), Case(lambda x: x.relu()[:, 4:].sum(1))]
)
def test_results_have_elements(module: nn.Module) -> None:
    with pytest.raises(ExportError, match="results must have elements, but one has none; leave it"):
        to_tflite(module.eval(), torch.randn(1, 4), calibration=torch.randn(4, 4))


@pytest.mark.parametrize(
    "batch",
    [
        torch.randn(0, 4),
        torch.randn(1, 4).to_sparse(),
        torch.randn(1, 4, device="meta"),
        torch.randn(1, 4, dtype=torch.complex64),
        "text",
        None,
    ],
)
def test_calibration_is_of_dense_numbers(batch: Any) -> None:
    with pytest.raises(ExportError, match="batches must"):
        to_tflite(nn.Linear(4, 2).eval(), torch.randn(1, 4), calibration=[batch])


def test_torch_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError, match="same steps for every input"):
        to_tflite(Case(lambda x: x.relu() if x.sum() > 0 else x).eval(), torch.randn(1, 4))
    assert capfd.readouterr() == ("", "")


def test_consequences_are_no_causes() -> None:
    def forward(x: Tensor) -> Tensor:
        values, places = x.relu().topk(2, 1)
        return torch.zeros(1, 4).scatter_add(1, places, values) + x.erfinv()

    with pytest.raises(ExportError) as caught:
        to_tflite(Case(forward).eval(), torch.randn(1, 4))
    message = str(caught.value)
    assert "the largest alone is max or argmax" in message
    assert "slices and indices that are constants" in message
    assert "put it together from exp, log" in message
