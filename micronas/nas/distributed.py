"""One search on several processes, started by ``torchrun``: data-parallel, as DDP is.

All processes hold the same supernet and gates and draw the same networks. Each computes gradients
on its own part of every batch, and all take the mean. Batch norm takes the statistics of the part,
as DDP does without SyncBN. The first process alone does everything but steps of the supernet.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from micronas.errors import ConfigError, MicronasError

Value = TypeVar("Value")

_PATIENCE = timedelta(days=30)
"""Timeout of the others while the first trains; where a process dies, torchrun ends them all."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of one search.

    Processes are numbered from 0; where `size` is 1 every method does nothing.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Return whether this process saves, reports and does other work that is done once."""
        return self.rank == 0

    def check_batch(self, batch_size: int) -> None:
        """Raise ConfigError where batches cannot be cut into equal parts of two or more."""
        if batch_size % self.size or batch_size < 2 * self.size:
            raise ConfigError(
                "search.batch_size must be a multiple of the number of processes, and two or more "
                f"for each: batch_size={batch_size}, processes={self.size}; set "
                f"search.batch_size={max(-(-batch_size // self.size), 2) * self.size}"
            )

    def part(self, index: Tensor) -> Tensor:
        """Return this process's examples of a batch."""
        return index[self.rank :: self.size]

    def own(self, generator: torch.Generator) -> torch.Generator:
        """Return a generator of this process's own; the common one stays in step."""
        if self.size == 1:
            return generator
        seed = int(torch.randint(2**62, (), generator=generator))
        return torch.Generator().manual_seed(seed + self.rank)

    def average(self, module: nn.Module, loss: Tensor) -> Tensor:
        """Replace the gradients of a module by their mean over all processes.

        Returns the mean of the losses, a scalar without gradient.
        """
        loss = loss.detach()
        if self.size == 1:
            return loss
        gradients = [each.grad for each in module.parameters() if each.grad is not None]
        # one message: each costs a round trip over a network
        flat = torch.cat([loss.view(1).float(), *(each.flatten() for each in gradients)])
        dist.all_reduce(flat)
        flat /= self.size
        mean, *parts = torch.split(flat, [1, *(each.numel() for each in gradients)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return mean[0]

    def once(self, function: Callable[[], Value]) -> Value:
        """Call a function in the first process and return its result in all.

        A `MicronasError` is raised in all, too.
        """
        if self.size == 1:
            return function()
        box: list[tuple[Value | None, MicronasError | None]] = [(None, None)]
        if self.first:
            try:
                box = [(function(), None)]
            except MicronasError as error:
                box = [(None, error)]
        dist.broadcast_object_list(box)
        value, failure = box[0]
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]


def ranks() -> Ranks:
    """Return this process's rank in the initialised process group, or that of a lone process."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, unless already joined."""
    launched = dist.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not launched or "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        yield ranks()
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield ranks()
    finally:
        dist.destroy_process_group()
