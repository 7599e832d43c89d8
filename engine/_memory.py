"""The threads, the memory and the share of a GPU of a worker process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MOST = 0.8  # of this machine's memory
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def set_threads(n: int) -> None:
    """Limit every thread pool of this process, of libraries loaded now or later; let it keep freed
    memory.
    """
    from threadpoolctl import threadpool_limits

    for name in POOLS:
        os.environ[name] = str(n)
    threadpool_limits(n)
    keep_freed_memory()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(n)


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
    """Put back afterwards what this module and `set_threads` change in a process that is not ours:
    thread pools, their variables, the limit of its memory.
    """
    import resource

    from threadpoolctl import threadpool_limits

    variables = {name: os.environ.get(name) for name in POOLS}
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    try:
        with threadpool_limits(limits=None):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        if torch:
            torch.set_num_threads(threads)
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def share_gpu(share: float) -> None:
    """Limit this process to its share of a GPU's memory: lineages packed on one GPU cannot crowd
    each other out.
    """
    if 0 < share < 1:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(share)


def release_gpu() -> None:
    """Give back what torch keeps for later, so that the others on this GPU find it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def keep_freed_memory() -> None:
    """Let glibc keep what was freed instead of returning it page by page: a training step allocates
    the same tensors again.

    Measured: x1.3 on the convolutional VAE, x1.5 on 16 stacked WGANs and on regressions of 1,000
    replicates.  Elsewhere than on glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the largest it takes
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def limit_memory(n_bytes: float | None) -> None:
    """Let this process allocate so much more than it began with; None: most of what the machine
    has.

    What asks for more gets a MemoryError on its own line, before the kernel ends this process, or
    another one, without a word. Only on Linux, and not beside a GPU, whose driver reserves
    addresses that nobody uses.
    """
    if not Path("/proc/self/status").exists() or Path("/dev/nvidiactl").exists():
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _begun_with() + int(n_bytes or MOST * memory_here())
    resource.setrlimit(
        resource.RLIMIT_DATA,
        (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard),
    )


def memory_here() -> int:
    """Bytes of memory of this machine, or of the container that this is."""
    limits = [
        text
        for place in CGROUPS
        if Path(place).exists() and (text := Path(place).read_text().strip()).isdigit()
    ]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *map(int, limits)])


@lru_cache(maxsize=1)
def _begun_with() -> int:
    """Bytes of data that this process had when it was first asked."""
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0
