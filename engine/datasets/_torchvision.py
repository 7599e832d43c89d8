"""Reading torchvision's data sets from a data root, and fetching them when asked to: never
silently.

Both parts of a set are read once per process and shared by all its lineages (callers never write
into them).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine._torchvision import torchvision
from engine.datasets._finite import shuffled, thumbnail
from engine.files import cache_folder, write_atomically
from engine.samples import Samples

CLASS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "flowers102": "Flowers102",
}
Parts = tuple[Samples, Samples]


def data_root(given: str | None = None) -> Path:
    """Where data sets lie: the parameter, else $OUROBOROS_DATA, else the cache folder."""
    return Path(given or os.environ.get("OUROBOROS_DATA") or cache_folder() / "data")


def download(name: str, root: str | None = None) -> Path:
    """Fetch a set into the data root with a progress bar (torchvision checks its digests); for
    `ouro download`.
    """
    if name not in CLASS:
        raise ValueError(
            f"no data set to download is called {name!r}; there are: {', '.join(CLASS)}"
        )
    folder = data_root(root)
    folder.mkdir(parents=True, exist_ok=True)
    for part in _arguments(name):
        _cls(name)(folder, download=True, **part)
    return folder


def _arguments(name: str) -> list[dict[str, Any]]:
    """torchvision's names of the parts of a set."""
    if name == "flowers102":
        return [{"split": "train"}, {"split": "test"}, {"split": "val"}]
    return [{"train": True}, {"train": False}]


def _cls(name: str) -> Callable[..., Any]:
    return getattr(torchvision.datasets, CLASS[name])


def open_part(name: str, root: Path, **part: Any) -> Any:
    """torchvision's own object; FileNotFoundError with the command that fetches the set when it is
    not there.
    """
    try:
        return _cls(name)(root, download=False, **part)
    except (RuntimeError, FileNotFoundError) as error:
        raise FileNotFoundError(
            f"the data set {name} is not in {root}; fetch it with `ouro download {name}`, "
            f"or set OUROBOROS_DATA (or the parameter root) to the folder that holds it"
        ) from error


@lru_cache(maxsize=4)
def read_arrays(name: str, root: Path) -> Parts:
    """The official training and test part of a set that torchvision keeps as one array."""
    train, test = (open_part(name, root, **part) for part in _arguments(name))
    return _samples(train), shuffled(_samples(test))


def _samples(part: Any) -> Samples:
    x = np.asarray(part.data, dtype=np.uint8)
    return Samples(x[..., None] if x.ndim == 3 else x, np.asarray(part.targets, dtype=np.int64))


def kept(
    name: str, make: Callable[[], tuple[np.ndarray, np.ndarray | None]]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decoded and resized pictures, made once per machine: cached as npz under this name."""
    path = cache_folder() / "images" / f"{name}.npz"
    if not path.exists():
        x, y = make()
        write_atomically(path, _npz_bytes({"x": x} if y is None else {"x": x, "y": y}))
    with np.load(path, allow_pickle=False) as file:
        return file["x"], file.get("y")


def _npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def thumbnails(
    pictures: Iterable[tuple[Image.Image, int]], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every picture cut to size x size, and its label."""
    x, y = zip(*((thumbnail(picture, size), label) for picture, label in pictures), strict=True)
    return np.stack(x), np.array(y, dtype=np.int64)
