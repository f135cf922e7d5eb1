import numpy as np
import pytest
import torch

from micronas.errors import ConfigError, DataError
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Op, Tensor
from micronas.train.convolutions import linear
from micronas.train.network import (
    Network,
    from_tflite,
    interpret,
    nonnegative_tensors,
    submodule_names,
)
from micronas.train.operators import nchw, nhwc, unweighted
from testing.graphs import random_shapes


def run_float(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """Interpret a float graph with the weights it holds."""

    def weighted(op: Op, value: torch.Tensor) -> torch.Tensor:
        weight, bias = (graph.constant_of(op, position).data for position in (1, 2))
        return linear(op, value, from_tflite(op, weight), torch.tensor(bias))

    return interpret(graph, x, weighted)


def one_op(op: Op, source: tuple[int, ...], target: tuple[int, ...]) -> Graph:
    tensors = {"input": Tensor("input", source), "output": Tensor("output", target)}
    return Graph(tensors, (op,), ("input",), ("output",))


class TestInterpret:
    def test_maps_are_joined_along_nhwc_axes(self) -> None:
        x = torch.arange(6.0).reshape(1, 1, 2, 3)
        for axis, target in ((1, (1, 4, 3, 1)), (2, (1, 2, 6, 1)), (3, (1, 2, 3, 2))):
            join = Op("CONCATENATION", "output", ("input", "input"), ("output",), axis=axis)
            y = run_float(one_op(join, (1, 2, 3, 1), target), x)
            nhwc = x.permute(0, 2, 3, 1).numpy()
            assert (y.permute(0, 2, 3, 1).numpy() == np.concatenate([nhwc, nhwc], axis)).all()

    def test_values_can_be_replaced_after_each_operator(self) -> None:
        op = Op("ADD", "output", ("input", "input"), ("output",))
        seen: list[str] = []

        def plus_one(name: str, value: torch.Tensor) -> torch.Tensor:
            seen.append(name)
            return value + 1

        graph = one_op(op, (1, 1, 1, 1), (1, 1, 1, 1))
        y = interpret(graph, torch.zeros(1, 1, 1, 1), lambda op, x: x, plus_one)
        assert seen == ["input", "output"]
        assert y.item() == 3

    def test_input_of_another_shape_is_refused(self) -> None:
        network = Network(random_shapes(0, family="mobilenet"))
        with pytest.raises(DataError, match=r"inputs must be \[N, 3, .* got \[2, 3, 1, 1\]"):
            network(torch.zeros(2, 3, 1, 1))


def randomise_norms(network: Network, generator: torch.Generator) -> Network:
    """Statistics and factors as training could leave them."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, -2.0, 2.0),
                (module.bias, -1.0, 1.0),
                (module.running_mean, -1.0, 1.0),
                (module.running_var, 0.1, 2.0),
            ):
                with torch.no_grad():
                    tensor.uniform_(low, high, generator=generator)
    return network.eval()


class TestNetwork:
    @pytest.mark.parametrize("family", ["ds_cnn", "mobilenet"])
    @pytest.mark.parametrize("seed", range(4))
    def test_folded_graph_computes_the_same(self, family: str, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        graph = random_shapes(seed, family=family)
        network = randomise_norms(Network(graph, generator=generator), generator)
        _, height, width, channels = graph.tensors["input"].shape
        x = torch.randn(3, channels, height, width, generator=generator)
        folded = network.graph()
        assert folded.ops == graph.ops
        assert folded.tensors == graph.tensors  # names and shapes; data is not compared
        for op in folded.ops:
            for name in op.inputs[1:]:
                tensor = folded.tensors[name]
                assert not tensor.constant or tensor.data.shape == tensor.shape
        with torch.no_grad():
            torch.testing.assert_close(run_float(folded, x), network(x), rtol=1e-4, atol=1e-4)

    def test_only_the_classifier_has_a_bias(self) -> None:
        builder = Builder((8, 8, 3))
        hidden = builder.depthwise(builder.input, "block/dw", (3, 3), stride=(2, 2))
        hidden = builder.conv(builder.global_average(hidden, "pool"), "head.conv", 5)
        logits = builder.conv(hidden, "classifier", 4)
        network = Network(builder.finish(builder.reshape(logits, "logits", (1, 4))))
        assert {name: unit.bias is not None for name, unit in network.units.items()} == {
            "block_dw": False,
            "head_conv": False,
            "classifier": True,
        }
        assert sum(parameter.numel() for parameter in network.parameters()) == (
            (27 + 2 * 3) + (15 + 2 * 5) + (20 + 4)
        )
        assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 4)

    def test_every_weight_gets_a_gradient(self) -> None:
        graph = random_shapes(1, family="mobilenet")
        network = Network(graph, generator=torch.Generator().manual_seed(0))
        _, height, width, channels = graph.tensors["input"].shape
        x = torch.randn(4, channels, height, width, generator=torch.Generator().manual_seed(1))
        network(x).square().sum().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())

    def test_generator_decides_the_initial_weights(self) -> None:
        graph = random_shapes(2, family="ds_cnn")
        first, again, other = (
            Network(graph, generator=torch.Generator().manual_seed(seed)).state_dict()
            for seed in (5, 5, 6)
        )
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["units.stem.weight"], other["units.stem.weight"])

    def test_initial_weights_have_the_scale_of_torchs_own(self) -> None:
        builder = Builder((4, 4, 64))
        graph = builder.finish(builder.conv(builder.input, "stem", 256, (3, 3)))
        ours = Network(graph, generator=torch.Generator().manual_seed(0)).units["stem"].weight
        assert ours.abs().max().item() == pytest.approx(1 / np.sqrt(64 * 9), rel=1e-3)
        assert ours.std().item() == pytest.approx(1 / np.sqrt(3 * 64 * 9), rel=1e-2)

    def test_weights_are_channels_last(self) -> None:
        network = Network(random_shapes(2, family="mobilenet"))
        weight = network.units["block0_expand"].weight
        assert weight.is_contiguous(memory_format=torch.channels_last)

    def test_printout_names_operators(self) -> None:
        text = repr(Network(random_shapes(0, family="mobilenet")))
        assert "(block0_dw): Unit(\n      DEPTHWISE_CONV_2D" in text
        assert "stride 2x2, activation RELU6" in text

    def test_names_that_would_clash_are_refused(self) -> None:
        builder = Builder((4, 4, 1))
        hidden = builder.conv(builder.input, "a/b", 2)
        graph = builder.finish(builder.conv(hidden, "a.b", 2))
        with pytest.raises(ConfigError, match=r"'a/b' and 'a\.b'"):
            Network(graph)


def test_names_of_torch_containers_are_free_to_use() -> None:
    names = ["update", "training", "block/conv", "block.norm"]
    found = submodule_names(names)
    assert found == {
        "update": "update_",
        "training": "training_",
        "block/conv": "block_conv",
        "block.norm": "block_norm",
    }
    torch.nn.ModuleDict({name: torch.nn.ReLU() for name in found.values()})


def test_nonnegative_tensors_by_hand() -> None:
    ops = (
        Op("RELU", "a", ("input",), ("a",)),
        Op("ADD", "b", ("a", "a"), ("b",)),
        Op("ADD", "c", ("a", "input"), ("c",)),
        Op("CONCATENATION", "d", ("b", "a"), ("d",), axis=1),
        Op("CONCATENATION", "e", ("b", "c"), ("e",), axis=1),
        Op("HARD_SWISH", "f", ("a",), ("f",)),
        Op("LOGISTIC", "g", ("c",), ("g",)),
    )
    graph = Graph({}, ops, ("input",), ("g",))
    assert nonnegative_tensors(graph) == {"a", "b", "d", "g"}


class TestElements:
    """Values of maps are NCHW in torch; those of every other rank are as in the graph."""

    @pytest.mark.parametrize(
        ("left", "right", "is_constant"),
        [
            ((1, 2, 3, 4), (4,), True),
            ((1, 2, 3, 4), (3, 1), True),
            ((1, 2, 3, 4), (1, 2, 1, 4), True),
            ((1, 2, 3, 4), (1, 4), False),
            ((1, 5, 2, 3, 4), (1, 2, 3, 4), False),
            ((1, 3, 4), (1, 1, 3, 4), False),
        ],
    )
    def test_operands_are_spread_as_in_the_graph(
        self, left: tuple[int, ...], right: tuple[int, ...], is_constant: bool
    ) -> None:
        shape = np.broadcast_shapes(left, right)
        x, other = (
            np.arange(np.prod(sizes), dtype=np.float32).reshape(sizes) for sizes in (left, right)
        )
        tensors = {
            "x": Tensor("x", left),
            "other": Tensor("other", right, constant=is_constant, data=other),
            "y": Tensor("y", shape),
        }
        op = Op("SUB", "y", ("x", "other"), ("y",))
        graph = Graph(tensors, (op,), ("x",), ("y",))
        batch = np.concatenate([x, 2 * x])  # examples behave alike
        values = nchw(torch.tensor(batch))
        second = torch.tensor(other) if is_constant else torch.tensor(np.concatenate([other] * 2))
        found = nhwc(unweighted(graph, op, [values, nchw(second)])).numpy()
        np.testing.assert_array_equal(found, np.concatenate([x - other, 2 * x - other]))

    def test_a_root_of_nothing_has_a_value_and_no_gradient(self) -> None:
        tensors = {"x": Tensor("x", (1, 2)), "y": Tensor("y", (1, 2))}
        graph = Graph(tensors, (Op("RSQRT", "y", ("x",), ("y",)),), ("x",), ("y",))
        x = torch.tensor([[0.0, 4.0]], requires_grad=True)
        found = interpret(graph, x, lambda op, value: value)
        found.sum().backward()
        assert found[0, 1] == 0.5
        assert found.isfinite().all()
        assert x.grad.tolist() == [[0.0, -1 / 16]]
