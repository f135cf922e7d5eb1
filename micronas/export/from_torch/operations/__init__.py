"""Lowerings of torch's operations, which append operators to a trace and return their value.

A function takes the trace and the operation's arguments, by the names of its ATen schema.
"""

from collections.abc import Mapping
from typing import Any

import torch

Arguments = Mapping[str, Any]


def named(names: str) -> list[Any]:
    """Return operations of ATen by name, with the overload where that is not ``default``."""
    found = (name.partition(".") for name in names.split())
    return [getattr(getattr(torch.ops.aten, name), way or "default") for name, _, way in found]
