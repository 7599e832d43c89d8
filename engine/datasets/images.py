"""Your own pictures: a folder with one subfolder per class (torchvision's ImageFolder), or an npz
of `images` and `labels`.

Pictures are cut to a central square of `size` pixels; a fixed stratified share is held out.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from engine._torchvision import torchvision
from engine.datasets._finite import FiniteImages, stratified_split, thumbnail
from engine.datasets._torchvision import data_root, kept, thumbnails
from engine.parts import Fraction, PositiveInt
from engine.samples import Samples


class Images(FiniteImages):
    """uint8 [n, size, size, channels]; labels 0.. in the order of the names of the folders (npz: of
    the label values).
    """

    GIVES = "images"
    CLASSES = (
        0  # the folders are counted when the pictures are read: from then on an object's own value
    )
    TINY = {"path": "flowers5", "size": 8}

    def __init__(
        self,
        *,
        path: str,  # under the data root, or absolute
        size: PositiveInt = 32,
        held_out_fraction: Fraction = 0.2,
        root: str | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(balanced=balanced)
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                f"held_out_fraction must lie strictly between 0 and 1, got {held_out_fraction}"
            )
        self.path, self.size, self.held_out_fraction, self.root = (
            path,
            size,
            held_out_fraction,
            root,
        )

    def read(self) -> tuple[Samples, Samples]:
        train, held_out = read_images(
            data_root(self.root) / self.path, self.size, self.held_out_fraction
        )
        self.CLASSES = 0 if train.y is None else int(train.y.max()) + 1
        return train, held_out


@lru_cache(maxsize=2)
def read_images(path: Path, size: int, held_out_fraction: float) -> tuple[Samples, Samples]:
    if not path.exists():
        raise FileNotFoundError(
            f"no pictures at {path}: path is a folder with one subfolder per class, or an .npz "
            "file "
            "with `images` (uint8 [n, h, w] or [n, h, w, c]) and, if there are any, `labels`"
        )
    x, y = _from_npz(path, size) if path.suffix == ".npz" else _from_folder(path, size)
    return stratified_split(x, y, len(x) - round(held_out_fraction * len(x)))


def _from_folder(path: Path, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    folder = torchvision.datasets.ImageFolder(str(path))
    name = f"{path.name}-{size}-{_fingerprint([Path(file) for file, _ in folder.samples], path)}"
    return kept(name, lambda: thumbnails((folder[i] for i in range(len(folder))), size))


def _fingerprint(files: list[Path], root: Path) -> str:
    """Changes when a picture is added, removed, renamed or written anew."""
    listing = [
        (str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns)
        for file in files
    ]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def _from_npz(path: Path, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    with np.load(path, allow_pickle=False) as file:
        if "images" not in file:
            raise ValueError(
                f"{path} holds {', '.join(file)}; it needs `images` and, if there are any, `labels`"
            )
        images, labels = file["images"], file.get("labels")
    if images.dtype != np.uint8:
        raise ValueError(f"`images` of {path} must be uint8, got {images.dtype}")
    x = np.stack([thumbnail(Image.fromarray(image.squeeze()), size) for image in images])
    y = None if labels is None else np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return x[..., None] if x.ndim == 3 else x, y
