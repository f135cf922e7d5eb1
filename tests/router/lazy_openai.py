"""The ``openai`` client, imported at first use: it takes a second, and most workers need none."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("openai"), name)
