"""Samples, generators and strips to files of the store and back.  Nothing is ever unpickled."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from engine.parts import Generator
from engine.samples import Samples
from engine.spec import Part
from engine.store import Row, Store, sha256

SAMPLES, STRIP, WEIGHTS = "samples.safetensors", "strip.safetensors", "weights/"


def sample_files(samples: Samples) -> dict[str, bytes]:
    return {SAMPLES: encode(samples)}


def strip_files(strip: Samples) -> dict[str, bytes]:
    return {STRIP: encode(strip)}


def encode(samples: Samples) -> bytes:
    """One safetensors file.  Points that lie in memory by replicate stay so: sums over them round by the memory order."""
    by_replicate = samples.x.ndim == 3 and not samples.x.flags.c_contiguous and samples.x.swapaxes(0, 1).flags.c_contiguous
    x = {"x_by_replicate": samples.x.swapaxes(0, 1)} if by_replicate else {"x": samples.x}
    arrays = {**x, "y": samples.y, "born": samples.born}
    return save_tensors({k: np.ascontiguousarray(v) for k, v in arrays.items() if v is not None})


def decode(data: bytes) -> Samples:
    """The inverse of `encode`, in memory of its own."""
    arrays = {k: v.copy() for k, v in load_tensors(data).items()}
    x = arrays["x_by_replicate"].swapaxes(0, 1) if "x_by_replicate" in arrays else arrays["x"]
    return Samples(x, arrays.get("y"), arrays["born"])


def generator_files(generator: Generator) -> dict[str, bytes]:
    """What the generator saves, by name within the model's folder."""
    with tempfile.TemporaryDirectory(prefix="ouro-") as name:
        folder = Path(name)
        generator.save(folder)
        found = sorted(p for p in folder.rglob("*") if p.is_file())
        return {WEIGHTS + p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def has_samples(store: Store, row: Row) -> bool:
    return SAMPLES in row["files"] and store.fs.exists(f"{store.folder(row['kind'], row['key'])}/{SAMPLES}")


def read_samples(store: Store, row: Row, name: str = SAMPLES) -> Samples | None:
    """A draw's samples, verified; None when they were pruned."""
    data = store.get(row, name) if name in row["files"] else None
    return None if data is None else decode(data)


def read_strip(store: Store, row: Row) -> Samples | None:
    return read_samples(store, row, STRIP)


def read_generator(store: Store, row: Row, part: Part) -> Generator | None:
    """A model's generator, its files verified; None when they were pruned."""
    files = {name: store.get(row, name) for name in row["files"]}
    if not files or any(data is None for data in files.values()):
        return None
    generator: Generator = part.make()
    with tempfile.TemporaryDirectory(prefix="ouro-") as name:
        for file, data in files.items():
            target = Path(name) / file.removeprefix(WEIGHTS)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data or b"")
        generator.load(Path(name))
    return generator


def differs(row: Row, name: str, data: bytes) -> bool:
    return bool(sha256(data) != row["files"][name]["sha256"])


def machine() -> dict[str, Any]:
    """What the bits of a learned generation may depend on: the versions, the threads, the device."""
    torch = sys.modules.get("torch")
    found: dict[str, Any] = {"numpy": np.__version__}
    if torch is not None:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        found |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": device}
    return found | {"ouroboros": _version()}


@lru_cache(maxsize=1)
def _version() -> str:
    try:
        return importlib.metadata.version("ouroboros-engine")
    except importlib.metadata.PackageNotFoundError:
        return os.environ.get("OUROBOROS_VERSION", "source")
