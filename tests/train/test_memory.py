"""Freed memory is kept, so that a training step need not ask the kernel for it again."""

import platform
import subprocess
import sys

import pytest

PAGES = 64 * 2**20 // 4096
SCRIPT = """
import resource
import torch
from micronas.train.memory import keep_freed_memory

def faults():
    torch.ones(64 * 2**20 // 4)  # once for the allocator to settle
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(64 * 2**20 // 4)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 4

print(faults())
keep_freed_memory()
print(faults())
"""


@pytest.mark.long
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_a_block_that_was_freed_is_had_again_without_a_page_fault() -> None:
    """64 MiB over and over: the kernel hands out all pages each time, or none."""
    command = [sys.executable, "-c", SCRIPT]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    returned, kept = map(int, output.split())
    assert returned > PAGES / 600  # pages may be of 2 MiB
    assert kept < returned / 10
