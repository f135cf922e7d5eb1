"""Equations as MathML, which browsers draw themselves: blocks that are fenced as ``math``.

Such blocks are what code hosts draw too, so a page reads the same there and on the site.
"""

from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Tell the Markdown extension for fences what ``math`` is."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": _equation}]
    return config


def _equation(source: str, *_: Any, **__: Any) -> str:
    drawn = convert(source, display="block")
    if "\\" in drawn:
        raise PluginError(f"an equation has a command that cannot be drawn: {source}")
    return drawn
