"""Lowering of torch's operations: each appends operators to a trace and returns their value.

A function takes the trace and the operation's arguments, by the names of its ATen schema.
"""

from collections.abc import Mapping
from typing import Any

Arguments = Mapping[str, Any]
