"""Lowerings of torch's operations, which append operators to a trace and return their value.

A function takes the trace and the operation's arguments, by the names of its ATen schema.
"""

from collections.abc import Mapping
from typing import Any

Arguments = Mapping[str, Any]
