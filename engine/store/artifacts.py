"""Samples, generators and strips to files of the store and back.  Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from engine.files import weights_folder
from engine.parts import Generator
from engine.samples import MAPPED_BYTES, Samples
from engine.spec import Part
from engine.store.rows import DrawRow, Machine, ModelRow, Row
from engine.store.seal import Damaged, sha256
from engine.store.store import Store

SAMPLES, STRIP, WEIGHTS = "samples.safetensors", "strip.safetensors", "weights/"
BESIDE = "beside."  # before the names of what stands beside rows
DTYPES = {"U8": np.uint8, "U16": np.uint16, "I32": np.int32, "I64": np.int64} | {
    "F32": np.float32,
    "F64": np.float64,
}


def sample_files(samples: Samples) -> dict[str, bytes]:
    return {SAMPLES: encode(samples)}


def strip_files(strip: Samples) -> dict[str, bytes]:
    return {STRIP: encode(strip)}


def encode(samples: Samples) -> bytes:
    """One safetensors file.

    Points that lie in memory by replicate stay so: sums over them round by the memory order.
    """
    by_replicate = (
        samples.x.ndim == 3
        and not samples.x.flags.c_contiguous
        and samples.x.swapaxes(0, 1).flags.c_contiguous
    )
    x = {"x_by_replicate": samples.x.swapaxes(0, 1)} if by_replicate else {"x": samples.x}
    beside = {f"{BESIDE}{name}": own for name, own in samples.beside.items()}
    arrays = {**x, "y": samples.y, "born": samples.born, **beside}
    return save_tensors({k: np.ascontiguousarray(v) for k, v in arrays.items() if v is not None})


def decode(data: bytes) -> Samples:
    """The inverse of `encode`, in memory of its own."""
    return _samples({k: v.copy() for k, v in load_tensors(data).items()})


def _samples(arrays: dict[str, np.ndarray]) -> Samples:
    x = arrays["x_by_replicate"].swapaxes(0, 1) if "x_by_replicate" in arrays else arrays["x"]
    own = {k.removeprefix(BESIDE): v for k, v in arrays.items() if k.startswith(BESIDE)}
    return Samples(x, arrays.get("y"), arrays["born"], beside=own)


def generator_files(generator: Generator) -> dict[str, bytes]:
    """What the generator saves, by name within the model's folder."""
    with weights_folder() as name:
        folder = Path(name)
        generator.save(folder)
        found = sorted(p for p in folder.rglob("*") if p.is_file())
        return {WEIGHTS + p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def has_samples(store: Store, row: DrawRow) -> bool:
    return store.has(row, SAMPLES)


def read_samples(store: Store, row: DrawRow, name: str = SAMPLES) -> Samples | None:
    """A draw's samples, verified; None when they were pruned."""
    data = store.get(row, name) if name in row.files else None
    if data is None:
        return None
    path = f"{store.folder(row.kind, row.key)}/{name}"
    with store.whole(), _decoding(path):
        if store.local and len(data) >= MAPPED_BYTES:
            file = store.disk.open(path)
            if file is not None:
                with file:
                    return mapped(file)
        return decode(data)
    return None


@contextlib.contextmanager
def _decoding(path: str) -> Iterator[None]:
    """Bytes that are those of their row, and yet no samples, are damage."""
    try:
        yield
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Damaged(path, f"no samples: {error}") from None


def mapped(file: BinaryIO) -> Samples:
    """Samples whose arrays are views of the file (copied where they are written to): old
    generations of large images need no memory between two reads.
    """
    whole = np.memmap(file, np.uint8, "c")
    start = 8 + int.from_bytes(
        bytes(whole[:8]), "little"
    )  # safetensors: the header's length, the header as JSON, the arrays
    arrays = {}
    for name, about in json.loads(bytes(whole[8:start])).items():
        begin, end = (start + offset for offset in about["data_offsets"])
        arrays[name] = whole[begin:end].view(DTYPES[about["dtype"]]).reshape(about["shape"])
    return _samples(arrays)


def read_strip(store: Store, row: DrawRow) -> Samples | None:
    return read_samples(store, row, STRIP)


def read_generator(store: Store, row: ModelRow, part: Part) -> Generator | None:
    """A model's generator, its files verified; None when they were pruned."""
    files = {name: store.get(row, name) for name in row.files}
    if not files or any(data is None for data in files.values()):
        return None
    generator: Generator = part.make()
    with weights_folder() as name:
        for file, data in files.items():
            target = Path(name) / file.removeprefix(WEIGHTS)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data or b"")
        generator.load(Path(name))
    return generator


def differs(row: Row, name: str, data: bytes) -> bool:
    return sha256(data) != row.files[name].sha256


def machine() -> Machine:
    """What the bits of a learned generation may depend on: the versions, the threads,
    the device.
    """
    torch = sys.modules.get("torch")
    found: dict[str, str | int] = {"numpy": np.__version__}
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
