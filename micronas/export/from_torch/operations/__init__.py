"""What each operation of torch becomes: operators appended to a trace, and the value they give.

A function takes the trace and the operation's arguments, by the names of its ATen schema.
"""

from collections.abc import Mapping
from typing import Any

Arguments = Mapping[str, Any]
