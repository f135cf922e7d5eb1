"""Functions of one value, which a device looks up in a table of 256 codes."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

ROWS = "rows"
"""Name in place of a function for a table of 256 rows, numbered by values."""
HIT, PLACE = "hit", "place"
"""Functions towards the place of a largest value: 255 where a value is the largest, and from 255
less a place to the place.

Both have outputs of scale 1, so that every place has a code."""
_SMALLEST = 1e-6
"""Smallest absolute value of a divisor."""

FUNCTIONS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "gelu": lambda x, _: F.gelu(x),
    "gelu_tanh": lambda x, _: F.gelu(x, approximate="tanh"),
    "silu": lambda x, _: F.silu(x),
    "mish": lambda x, _: F.mish(x),
    "softplus": lambda x, beta: F.softplus(x, beta),
    "softsign": lambda x, _: F.softsign(x),
    "selu": lambda x, _: F.selu(x),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "celu": lambda x, alpha: F.celu(x, alpha),
    "hardsigmoid": lambda x, _: F.hardsigmoid(x),
    "log_sigmoid": lambda x, _: F.logsigmoid(x),
    "exp": lambda x, _: torch.exp(x),
    "log": lambda x, _: torch.log(x.clamp(min=torch.finfo(x.dtype).tiny)),
    "sqrt": lambda x, _: torch.sqrt(x.clamp(min=torch.finfo(x.dtype).tiny)),
    "erf": lambda x, _: torch.erf(x),
    "sin": lambda x, _: torch.sin(x),
    "cos": lambda x, _: torch.cos(x),
    "reciprocal": lambda x, _: torch.where(x.abs() < _SMALLEST, _SMALLEST, x).reciprocal(),
    "sign": lambda x, _: torch.sign(x),
    "floor": lambda x, _: torch.floor(x),
    "ceil": lambda x, _: torch.ceil(x),
    "round": lambda x, _: torch.round(x),
    "trunc": lambda x, _: torch.trunc(x),
    "log1p": lambda x, _: torch.log1p(x.clamp(min=_SMALLEST - 1)),
    "expm1": lambda x, _: torch.expm1(x),
    "atan": lambda x, _: torch.atan(x),
    "exponential": lambda x, base: torch.pow(base, x),
    "gt": lambda x, other: (x > other).to(x.dtype),
    "ge": lambda x, other: (x >= other).to(x.dtype),
    "lt": lambda x, other: (x < other).to(x.dtype),
    "le": lambda x, other: (x <= other).to(x.dtype),
    "eq": lambda x, other: (x == other).to(x.dtype),
    "ne": lambda x, other: (x != other).to(x.dtype),
    HIT: lambda x, _: 255 * (x >= 0).to(x.dtype),
    PLACE: lambda x, _: 255 - x,
    "power": lambda x, exponent: torch.pow(x, exponent),
}
"""Functions by name, of x and of a number that some of them need."""
