"""Optimisers are torch's to the bit, and start without its compiler."""

import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from micronas.train import optimizer


def trained(kind: Callable[..., torch.optim.Optimizer]) -> tuple[list[torch.Tensor], str]:
    """Weights and state after some steps, with the state saved and loaded half-way."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Linear(4, 3)
    module.load_state_dict(
        {
            name: torch.randn(each.shape, generator=generator)
            for name, each in module.state_dict().items()
        }
    )
    options = {"lr": 0.01, "weight_decay": 0.1}
    own = kind(module.parameters(), **options)
    for step in range(8):
        own.zero_grad()
        module(torch.randn(5, 4, generator=generator)).pow(2).sum().backward()
        own.step()
        if step == 3:
            state, own = own.state_dict(), kind(module.parameters(), **options)
            own.load_state_dict(state)
    return list(module.parameters()), str(own.state_dict())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(optimizer.Adam, torch.optim.Adam), (optimizer.AdamW, partial(torch.optim.AdamW, fused=True))],
)
def test_weights_and_state_are_those_of_torch(
    ours: Callable[..., torch.optim.Optimizer],
    theirs: Callable[..., torch.optim.Optimizer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, state = trained(theirs)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # an import of it raises an error
    own, own_state = trained(ours)
    assert all(map(torch.equal, own, weights))
    assert own_state == state
