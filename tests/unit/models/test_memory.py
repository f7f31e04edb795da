"""Freed memory that stays with the process saves the kernel's work of handing out fresh pages."""

import subprocess
import sys

import pytest

from places import ROOT

SCRIPTS = ROOT / "scripts"
COUNT = """
import sys, resource
import numpy as np
from atlas.models.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1); sys.exit()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(22):
    if turn == 2:
        before = faults()
    np.ones(6 << 20, np.float64)
print(faults() - before)
"""


def test_large_buffers_are_used_again():
    found = {}
    for how in ("keep", "leave"):
        done = subprocess.run(
            [sys.executable, "-c", COUNT, how], capture_output=True, text=True, cwd=SCRIPTS, check=True
        )
        found[how] = int(done.stdout)
    if found["keep"] < 0:
        pytest.skip("the C library has no mallopt")
    assert found["keep"] < 0.1 * found["leave"]
