"""What this machine has and lacks for a sweep: looked at, tried by writing, and said in a line
each.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from engine import _cache as cache
from engine import files
from engine.store.disk import Unwritable
from engine.store.store import Store

LEAST_FREE = 2_000_000_000  # bytes; below this a sweep may start, but not be believed to end
RAY_FULL = 0.95  # Ray stops working on a disk that is fuller
LIBRARIES = (
    "ray",
    "torch",
    "torchvision",
    "diffusers",
    "accelerate",
    "mlflow",
    "numpy",
    "scipy",
    "scikit-learn",
    "pot",
)
GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `good` False means that sweeps will fail, or do work again (cache)."""

    name: str
    text: str
    good: bool = True


def cpus_here() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def preflight(store: Store, wanted: int = 0) -> str:
    """Why nothing could be written to this output, or ''."""
    probe = store.path(files.staged_name(".probe"))
    try:
        store.write(probe, b"ouroboros")
        store.remove(probe)
    except Unwritable as error:
        return str(error)
    except Exception as error:
        return f"cannot write to {store.url}: {error}"
    if store.local and (free := shutil.disk_usage(store.root).free) < wanted:
        return (
            f"{store.root} has {free / GB:.1f} GB free, the forecast is {wanted / GB:.1f} "
            "GB; free some, or use keep: last"
        )
    return ""


def examine(out: Path) -> list[Finding]:
    """Everything, in the order in which it matters."""
    return [
        Finding(
            "python",
            f"{platform.python_version()} at {sys.executable}",
            sys.version_info >= (3, 11),
        ),
        *_libraries(),
        Finding("cpu", f"{cpus_here()} of {os.cpu_count()} usable, load {os.getloadavg()[0]:.1f}"),
        _gpu(),
        _disk(out),
        _write(out),
        _shared_memory(),
        _scratch(),
        _ports(),
        _torch(),
        *_data(),
    ]


def _libraries() -> list[Finding]:
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    have = Finding("libraries", ", ".join(found))
    return (
        [have, Finding("missing", ", ".join(missing) + "; pip install -e . brings them", False)]
        if missing
        else [have]
    )


def _gpu() -> Finding:
    """By the driver's own tool: importing torch would cost seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("gpu", "none (no nvidia-smi); everything runs on the CPU")
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return Finding(
        "gpu",
        "; ".join(answer.stdout.split("\n")).strip("; ") or answer.stderr.strip() or "none answers",
    )


def _disk(out: Path) -> Finding:
    place = _existing(out)
    usage = shutil.disk_usage(place)
    good = usage.free > LEAST_FREE and usage.used / usage.total < RAY_FULL
    advice = (
        ""
        if good
        else "; too little: Ray stops on a disk more than 95 % full, and models need room"
    )
    return Finding(
        "disk", f"{usage.free / GB:.0f} of {usage.total / GB:.0f} GB free at {place}{advice}", good
    )


def _write(out: Path) -> Finding:
    made = not out.exists()
    problem = preflight(Store(str(out)))
    if made and out.exists() and not any(out.iterdir()):
        out.rmdir()
    return Finding("write", problem or f"{out} can be written", not problem)


def _shared_memory() -> Finding:
    shm = Path("/dev/shm")
    if not shm.is_dir():
        return Finding("shared memory", "no /dev/shm; Ray uses a file instead")
    free = shutil.disk_usage(shm).free
    small = free < 128 * 2**20
    return Finding(
        "shared memory",
        f"{free / GB:.2f} GB free"
        + ("; small (docker: --shm-size=1g), Ray uses a file" if small else ""),
    )


def _scratch() -> Finding:
    dead = files.of_dead_processes()
    n_bytes = sum(
        f.stat().st_size
        for folder in dead
        for f in folder.rglob("*")
        if f.is_file() and not f.is_symlink()
    )
    text = (
        f"{len(dead)} folders of dead runs, {n_bytes / GB:.2f} GB; the next run removes them"
        if dead
        else "no folders of dead runs"
    )
    return Finding("ray scratch", text)


def _ports() -> Finding:
    """Whether this machine can listen on its own address, as Ray does, and whether `ouro ui` has
    its port.
    """
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("ports", f"cannot listen on loopback: {error}", False)
    with socket.socket() as ui:
        taken = ui.connect_ex(("127.0.0.1", 5000)) == 0
    return Finding(
        "ports",
        "loopback works; 5000 is taken (ouro ui --port)"
        if taken
        else "loopback works; 5000 is free for ouro ui",
    )


def _torch() -> Finding:
    """Whether torch loads, and what it sees."""
    try:
        import torch
    except Exception as error:
        return Finding("torch", f"does not load: {error}", False)
    seen = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return Finding("torch", f"loads, sees {seen}, {torch.get_num_threads()} threads by default")


def _data() -> list[Finding]:
    """The data sets found, the cache folder."""
    from engine.datasets._published_texts import TEXTS
    from engine.datasets._torchvision import FOLDERS
    from engine.files import data_root

    root, folders = data_root(), {**FOLDERS, **{name: own.folder for name, own in TEXTS.items()}}
    there = [name for name, folder in folders.items() if (root / folder).is_dir()]
    lacks = [name for name in folders if name not in there]
    text = f"{', '.join(there) or 'none'} in {root}" + (
        f"; ouro download fetches {', '.join(lacks)}" if lacks else ""
    )
    no_cache = cache.problem()
    return [
        Finding("cache", no_cache or f"{files.cache_folder()} can be written", not no_cache),
        Finding("data", f"digits (embedded), {text}"),
    ]


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() or path == path.parent else _existing(path.parent)
