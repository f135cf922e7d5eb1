"""Traced graphs compute what their modules do; what cannot be traced says why in one line."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export.from_torch.module import to_tflite
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.graph.ir import Graph
from tests.export.from_torch.cases import Case, check_exact, quantize
from tests.train.test_network import run_float


def filled_norms(module: nn.Module) -> nn.Module:
    """Give batch norms statistics and weights as training would."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return module.eval()


def check_equal(module: nn.Module, x: Tensor) -> Graph:
    """Trace, and compare with the module on a batch."""
    graph = trace(module, x)
    with torch.no_grad():
        expected, result = module(x), run_float(graph, x)
    assert result.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()))
    assert float((result - expected).abs().max()) <= 1e-4 * scale
    return graph


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def image(channels: int = 3, height: int = 8, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(3, channels, height, width, generator=torch.Generator().manual_seed(seed))


class TestConvolution:
    def test_symmetric_stride_two_needs_a_pad(self) -> None:
        graph = check_equal(nn.Conv2d(3, 4, 3, 2, 1).eval(), image())
        assert kinds(graph) == ["PAD", "CONV_2D"]
        # The last window starts at row 5 and ends with row 7: no zeros are read behind the map.
        amounts = graph.tensors[graph.ops[0].inputs[1]].data
        assert amounts.tolist() == [[0, 0], [1, 0], [1, 0], [0, 0]]

    def test_odd_maps_and_stride_one_need_none(self) -> None:
        for module, x in (
            (nn.Conv2d(3, 4, 3, 2, 1), image(3, 9, 7)),
            (nn.Conv2d(3, 4, 3, 1, 1), image()),
            (nn.Conv2d(3, 4, 4, 1, "same"), image()),
            (nn.Conv2d(3, 4, 3, 1, "valid"), image()),
            (nn.Conv2d(3, 4, 1, 2), image()),
        ):
            assert kinds(check_equal(module.eval(), x)) == ["CONV_2D"]

    def test_a_pad_that_makes_same_padding_disappears(self) -> None:
        module = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, 2)).eval()
        graph = check_equal(module, image())
        assert kinds(graph) == ["CONV_2D"]
        assert graph.ops[0].padding == "SAME"

    def test_depthwise_with_multiplier(self) -> None:
        graph = check_equal(nn.Conv2d(3, 6, 3, 1, 1, groups=3, bias=False).eval(), image())
        assert kinds(graph) == ["DEPTHWISE_CONV_2D"]
        assert graph.constant_of(graph.ops[0]).shape == (1, 3, 3, 6)

    def test_groups_stay(self) -> None:
        module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 3, 1, 1, groups=2)).eval()
        graph = check_equal(module, image())
        assert kinds(graph) == ["CONV_2D", "CONV_2D"]
        assert graph.constant_of(graph.ops[1]).shape == (6, 3, 3, 4)


class TestBatchNorm:
    def test_is_folded_behind_each_weighted_layer(self) -> None:
        module = nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6()),
            *(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4, affine=False), nn.Flatten()),
            *(nn.Linear(64, 5), nn.BatchNorm1d(5), nn.ReLU()),
        )
        for part in (module[1], module[7]):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.weight, 0.5, 1.5)
        graph = check_equal(module.eval(), image())
        assert kinds(graph) == ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
        assert [op.activation for op in graph.ops] == ["RELU6", "NONE", "RELU"]

    def test_on_its_own_becomes_a_depthwise_convolution(self) -> None:
        maps = filled_norms(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)))
        assert kinds(check_equal(maps, image())) == ["DEPTHWISE_CONV_2D", "CONV_2D"]
        features = filled_norms(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2)))
        graph = check_equal(features, torch.randn(4, 6))
        assert kinds(graph) == ["RELU", "RESHAPE", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]

    def test_is_not_folded_into_what_others_read(self) -> None:
        layers = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        module = Case(lambda x, conv, norm: (y := conv(x)) + norm(y), *layers)
        graph = check_equal(filled_norms(module), image())
        assert kinds(graph) == ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD"]


class TestProducts:
    def test_of_equal_shapes_with_an_activation(self) -> None:
        graph = check_equal(Case(lambda x: F.relu(x * x)).eval(), image())
        assert kinds(graph) == ["MUL"]
        assert graph.ops[0].activation == "RELU"

    def test_channels_are_weighted(self) -> None:
        def forward(x: Tensor, conv: nn.Module, gate: nn.Module) -> Tensor:
            y = conv(x)
            return torch.sigmoid(gate(y.mean((2, 3)))).reshape(-1, 4, 1, 1) * y

        module = Case(forward, nn.Conv2d(3, 4, 1), nn.Linear(4, 4))
        graph = check_equal(module.eval(), image())
        assert kinds(graph)[-2:] == ["LOGISTIC", "MUL"]
        integers = quantize(graph, [image(seed=seed) for seed in range(4)])
        check_exact(integers, torch.cat([image(seed=seed) for seed in range(9)]))

    def test_positions_are_weighted(self) -> None:
        module = Case(lambda x, conv: x * conv(x).sigmoid(), nn.Conv2d(3, 1, 1))
        assert kinds(check_equal(module.eval(), image())) == ["CONV_2D", "LOGISTIC", "MUL"]

    def test_constants_go_into_the_weights_in_front(self) -> None:
        module = Case(
            lambda x, conv: conv(x) * 2 + torch.arange(4.0).view(4, 1, 1), nn.Conv2d(3, 4, 1)
        )
        assert kinds(check_equal(module.eval(), image())) == ["CONV_2D"]

    def test_of_other_ranks_are_spread(self) -> None:
        module = Case(lambda x: x * x.mean((0, 2, 3)).relu()).eval()
        graph = check_equal(module, image(4, 4, 4)[:1])
        assert kinds(graph)[-1] == "MUL"


class TestLayout:
    def test_flatten_reorders_the_weights(self) -> None:
        for flatten in (
            lambda x: x.flatten(1),
            lambda x: x.reshape(x.shape[0], -1),
            lambda x: x.permute(0, 2, 3, 1).contiguous().view(x.shape[0], -1),
            lambda x: x.permute(0, 3, 1, 2).flatten(1).clone(),
            lambda x: F.dropout(x, 0.5, False).transpose(1, 2).reshape(-1, 60),
        ):
            module = Case(
                lambda x, conv, fc, f=flatten: fc(f(conv(x))), nn.Conv2d(3, 5, 3), nn.Linear(60, 4)
            )
            graph = check_equal(module.eval(), image(3, 5, 6))
            assert kinds(graph) == ["CONV_2D", "FULLY_CONNECTED"]

    def test_concatenated_features_of_maps_reorder_the_weights(self) -> None:
        module = Case(
            lambda x, left, right, fc: fc(torch.cat([left(x).flatten(1), right(x).flatten(1)], 1)),
            *(nn.Conv2d(3, 2, 3), nn.Conv2d(3, 5, 5), nn.Linear(2 * 36 + 5 * 16, 3)),
        )
        graph = check_equal(module.eval(), image())
        assert "TRANSPOSE" not in kinds(graph)
        assert kinds(graph).count("CONCATENATION") == 1

    def test_features_that_masks_multiply_stay_as_they_are(self) -> None:
        def forward(x: Tensor, first: nn.Module, mask: nn.Module, last: nn.Module) -> Tensor:
            features = first(x)
            masks = mask(features).sigmoid().view(-1, 2, 4, 9)
            return last((masks * features.unsqueeze(1)).flatten(1, 2)).mean(2)

        module = Case(forward, nn.Conv1d(3, 4, 1), nn.Conv1d(4, 8, 1), nn.Conv1d(8, 2, 1))
        found = kinds(check_equal(module.eval(), image(width=9)[:, :, 0]))
        assert found.count("TRANSPOSE") == 0

    def test_in_place_operations_change_what_others_read(self) -> None:
        def forward(x: Tensor, conv: nn.Module) -> Tensor:
            y = conv(x)
            z = y
            y += x
            F.relu_(y)
            return z + y

        graph = check_equal(Case(forward, nn.Conv2d(3, 3, 1)).eval(), image())
        assert kinds(graph) == ["CONV_2D", "ADD", "ADD"]

    def test_names_are_module_paths(self) -> None:
        class Residual(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

            def forward(self, x: Tensor) -> Tensor:
                return x + self.conv(self.conv(x))

        module = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()), Residual(), nn.Hardswish()
        ).eval()
        graph = check_equal(module, image())
        assert [op.name for op in graph.ops] == ["0.0", "1.conv.0", "1.conv.0_1", "1.add", "2"]
        assert list(graph.tensors)[:3] == ["input", "0.0/weights", "0.0/bias"]

    def test_names_torch_reserves_can_still_be_quantised(self) -> None:
        module = nn.Sequential()
        for name in ("update", "training_", "input", "values"):
            module.add_module(name, nn.Conv2d(3, 3, 1))
        x = image()
        assert len(to_tflite(module.eval(), x, calibration=x)) > 1000


class TestPooling:
    def test_global_pools_and_means_become_average_pools(self) -> None:
        for pool in (
            lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
            lambda x: x.mean((2, 3)),
            lambda x: x.mean([-1, -2], keepdim=True)[:, :, 0, 0],
            lambda x: F.avg_pool2d(x, (4, 6)).squeeze(3).squeeze(2),
        ):
            module = Case(lambda x, fc, f=pool: fc(f(x)), nn.Linear(3, 2)).eval()
            graph = check_equal(module, image(3, 4, 6))
            assert kinds(graph) == ["AVERAGE_POOL_2D", "FULLY_CONNECTED"]

    def test_windows(self) -> None:
        for pool, expected in (
            (nn.MaxPool2d(2), ["MAX_POOL_2D"]),
            (nn.MaxPool2d(3, 1, 1), ["MAX_POOL_2D"]),
            (nn.AvgPool2d(3, 2), ["AVERAGE_POOL_2D"]),
            (nn.AvgPool2d(3, 1, 1), ["PAD", "AVERAGE_POOL_2D"]),
            (nn.AvgPool2d(3, 1, 1, count_include_pad=False), ["AVERAGE_POOL_2D"]),
            (nn.AdaptiveAvgPool2d((4, 2)), ["AVERAGE_POOL_2D"]),
            (nn.AdaptiveMaxPool2d(1), ["MAX_POOL_2D"]),
            (nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)), ["RELU", "PAD", "MAX_POOL_2D"]),
        ):
            assert kinds(check_equal(pool.eval(), image())) == expected


def test_torch_records_sources_again_afterwards() -> None:
    """Tracing leaves them out for itself, whether it succeeds or not."""

    def recorded() -> bool:
        program = torch.export.export(nn.ReLU(), (torch.randn(1, 3),))
        return any(node.meta.get("stack_trace") for node in program.graph.nodes)

    assert recorded()
    trace(nn.ReLU().eval(), torch.randn(1, 3))
    assert recorded()
    with pytest.raises(ExportError):
        trace(Case(lambda x: x if x.sum() > 0 else -x).eval(), torch.randn(1, 3))
    assert recorded()


def test_a_graph_shares_no_memory_with_its_module() -> None:
    """Training the module on must not move what was traced before."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    module.eval()
    graph = trace(module, torch.randn(1, 3, 2, 2))
    before = {name: np.array(each.data) for name, each in graph.tensors.items() if each.constant}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)
    for name, data in before.items():
        assert (graph.tensors[name].data == data).all(), name


def test_a_norm_behind_a_norm_is_folded_too() -> None:
    """Factors of both are multiplied before the weights are, in float64."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    x = torch.randn(2, 3, 5, 5)
    graph = trace(filled_norms(module), x)
    assert kinds(graph) == ["CONV_2D"]
    np.testing.assert_allclose(run_float(graph, x), module(x).detach(), rtol=1e-5, atol=1e-5)


def test_an_output_may_be_returned_twice_and_inputs_may_be_returned() -> None:
    def several(x: Tensor, layer: nn.Module) -> dict[str, Tensor]:
        logits = layer(x)
        features = F.dropout(logits, training=False)
        return {"logits": logits, "features": features, "x": x, "": x + 1}

    module, x = Case(several, nn.Linear(8, 4)).eval(), torch.randn(4, 8)
    graph = trace(module, x)
    assert graph.outputs == ("logits", "features", "x", "add")
    assert verify(to_tflite(module, x, calibration=x), np.zeros((2, 8), np.int8)).mismatches == 0


def test_changes_of_buffers_and_inputs_that_no_one_reads_are_left_out() -> None:
    def counted(x: Tensor, norm: nn.Module) -> Tensor:
        norm.num_batches_tracked += 1
        return norm(x.mul_(2))

    x = torch.randn(1, 4)
    given = x.clone()
    graph = trace(Case(counted, nn.BatchNorm1d(4, affine=False)).eval(), given)
    assert torch.equal(given, x)
    np.testing.assert_allclose(run_float(graph, x), 2 * x / (1 + 1e-5) ** 0.5, rtol=1e-5)


def test_tokens_stay_in_front_of_their_features() -> None:
    """A class token that is left out makes no sequence of channels of the others."""
    x = torch.randn(2, 6, 8)
    for function, shape in (
        (lambda x, layer: layer(x)[:, 1:], (1, 5, 8)),
        (lambda x, layer: layer(x).flip(1), (1, 6, 8)),
    ):
        graph = check_equal(Case(function, nn.Linear(8, 8)).eval(), x)
        assert graph.tensors[graph.outputs[0]].shape == shape


def test_assertions_of_torch_are_left_out() -> None:
    x = torch.tensor([[0.1, 0.7, -0.2], [0.6, 0.2, 0.3]])
    for function in (
        lambda x: F.one_hot((x * 2).argmax(1), 3).float(),
        lambda x: ((x * 2 > 0.5) & (x < 0.65)).float(),
    ):
        check_equal(Case(function).eval(), x)
