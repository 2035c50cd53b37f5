"""Claims about what a member's process does before it takes part."""

from __future__ import annotations

import subprocess
import sys

from hansa.federation.warm_up import compile_kernels

KEPT = """
import resource
from hansa.federation.warm_up import keep_freed_memory

def faults():
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytearray(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun

before = faults()
keep_freed_memory()
bytearray(16 << 20)
print(before, faults())
"""


def test_compiling_twice_changes_nothing() -> None:
    compile_kernels()
    compile_kernels()


def test_memory_that_was_freed_is_not_paid_for_again() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], check=True, capture_output=True, text=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 4
