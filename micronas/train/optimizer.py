"""torch's optimisers without the import of its compiler.

The methods of `torch.optim` import `torch._dynamo` at their first call, to exempt themselves from
compilation: two seconds of every process that trains. Nothing is compiled here, so each method is
called without that decorator. With a torch that decorates otherwise only the start is slower.

Steps are fused, one pass over each parameter: on a CPU an eighth of the time for the parameters of
a supernet, of which a network's step uses a part and all move.
"""

import inspect
from typing import Any

import torch
from torch.optim.optimizer import Optimizer


class _Eager(Optimizer):
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _behind(Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        _behind(Optimizer.zero_grad)(self, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = _behind(Optimizer.state_dict)(self)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _behind(Optimizer.load_state_dict)(self, state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _behind(super().step)(self)


class Adam(_Eager, torch.optim.Adam):
    """`torch.optim.Adam`."""


class AdamW(_Eager, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)
        for group in self.param_groups:
            # torch has no fused steps for tensors without values
            group["fused"] = not any(each.is_meta for each in group["params"])


def _behind(method: Any) -> Any:
    """Return the function of a method without its decorators."""
    return inspect.unwrap(getattr(method, "__func__", method))
