"""Exporters. `to_tflite` is loaded when first used: importing this package imports no torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micronas.export.from_torch.module import to_tflite

__all__ = ["to_tflite"]


def __getattr__(name: str) -> Any:
    if name != "to_tflite":
        raise AttributeError(f"module 'micronas.export' has no attribute {name!r}")
    from micronas.export.from_torch.module import to_tflite

    return to_tflite
