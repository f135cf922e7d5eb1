"""Scales of any size for the tensors of a graph."""

import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from micronas.graph.ir import Graph, Quantization


def rescaled(graph: Graph, exponents: Mapping[str, float]) -> Graph:
    """Give these tensors scales of such powers of ten."""
    tensors = dict(graph.tensors)
    for name, exponent in exponents.items():
        old = tensors[name].quantization
        assert old is not None
        scale = np.full(old.scale.shape, 10.0**exponent).astype(np.float32)
        tensors[name] = replace(tensors[name], quantization=Quantization(scale, old.zero_point))
    return replace(graph, tensors=tensors)


def with_any_scales(graph: Graph, source: random.Random) -> Graph:
    """Draw other scales, from 1e-30 to 1e30, for some of a graph's tensors."""
    names = [name for name, tensor in graph.tensors.items() if tensor.quantization is not None]
    some = source.sample(names, source.choice((1, min(2, len(names)), len(names))))
    return rescaled(graph, {name: source.choice((30, 1)) * source.uniform(-1, 1) for name in some})
