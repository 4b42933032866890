"""How many cores this process may use.

torch counts the node's. With a limit of 4 cores on a node of 64 its 64 threads would use up their
time in a moment and wait for the next period, all of them, in every operation.
"""

import math
import os
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")


def limit(cgroup: Path = CGROUP) -> int | None:
    """Return the limit of this process's control group in whole cores; None without one."""
    for quota, period in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (cgroup / quota).read_text().split()
            words += (cgroup / period).read_text().split() if period else []
            microseconds, per = (int(word) for word in words)
        except (OSError, ValueError):  # no such version of control groups, or "max"
            continue
        if microseconds > 0 and per > 0:
            return max(1, math.ceil(microseconds / per))
    return None


def available() -> int:
    """Return how many cores this process may run on."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(allowed, limit() or allowed)


def keep_to_the_limit() -> None:
    """Have torch use no more threads than there are cores, unless somebody said a number."""
    cores = limit()
    if cores is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(cores, torch.get_num_threads()))
