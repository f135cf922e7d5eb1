"""Many experts on disk, some in the host's memory, a few on the device: what switching costs.

The scheme is that of the SN40L (arXiv 2405.07518): least recently used experts make room, the
router stays, and read-only weights are never copied back. What is not of that paper: a bounded
host tier in front of a disk, and batches by expert.
"""

from micronas.router.store.batch import Batch, BatchQueue
from micronas.router.store.lru import Counts
from micronas.router.store.simulate import Level, Simulation, simulate
from micronas.router.store.trace import read_trace, zipf_trace

__all__ = [
    "Batch",
    "BatchQueue",
    "Counts",
    "Level",
    "Simulation",
    "read_trace",
    "simulate",
    "zipf_trace",
]
