"""Reading torchvision's data sets from a data root, and fetching them when asked to: never
silently.

Both parts of a set are read once per process and shared by all its lineages (callers never write
into them).
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import shlex
import tarfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import _digests as digests
from engine._cache import Kept
from engine.contents import Contents, Lack
from engine.datasets._finite import shuffled, thumbnail
from engine.datasets._listing import check_idx_pictures, idx_labels
from engine.files import data_root
from engine.samples import Samples

if TYPE_CHECKING:
    from PIL import Image

CLASS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "flowers102": "Flowers102",
}
_IDX = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
FOLDERS = {  # as torchvision names them below the data root
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "flowers102": "flowers-102",
}
FILES = {  # what it wants to find there
    "mnist": tuple(f"{part}-ubyte" for part in _IDX),
    "fashion_mnist": tuple(f"{part}-ubyte" for part in _IDX),
    "cifar10": (*_BATCHES, "test_batch", "batches.meta"),
    "cifar100": ("train", "test", "meta"),
    "flowers102": ("jpg", "imagelabels.mat", "setid.mat"),
}
# MD5 of the files as published: torchvision's, of MNIST's files those of the unpacked ones; of the
# flowers' photographs only that of their archive
PUBLISHED = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    "cifar100": {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    "flowers102": {
        "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
        "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
    },
}
ARCHIVE = ("102flowers.tgz", "52808999861908f626f3c1f4e79d11fa")  # MD5 of the photographs' archive
Parts = tuple[Samples, Samples]


def lack(name: str, root: Path) -> Lack | None:
    """What of a set is not below the root, and the command that fetches it."""
    absent = [file for file in FILES[name] if not (root / FOLDERS[name] / file).exists()]
    if not absent:
        return None
    fix = (
        f"fetch it with `{_command(name, root)}`, or set OUROBOROS_DATA (or the parameter root) to "
        "the folder that holds it"
    )
    return Lack(f"data set {name}", str(root / FOLDERS[name]), fix)


def _command(name: str, root: Path) -> str:
    """What fetches a set into a root."""
    where = [] if root == data_root() else ["--root", str(root)]
    return shlex.join(["ouro", "download", name, *where])


def own_content(name: str, root: Path) -> str:
    """The digest of the files of a set under this name; '' where they are the published ones."""
    folder, published = root / FOLDERS[name], PUBLISHED[name]
    found = digests.each(folder, list(published), "md5")
    whole = [digest.hex() for digest in found] == list(published.values())
    if whole and (name != "flowers102" or _are_of_archive(folder)):
        return ""
    files = [file for file in FILES[name] if (folder / file).is_file()]
    inner = [file for file in FILES[name] if (folder / file).is_dir()]
    for place in inner:
        files += [f"{place}/{file}" for file in sorted(digests.visible_files(folder / place))]
    return digests.of_files(folder, files)


def _are_of_archive(folder: Path) -> bool:
    """Whether the flowers' photographs are those of their published archive, which torchvision
    leaves beside them; without it nothing is known of them.
    """
    name, md5 = ARCHIVE
    path, photographs = folder / name, folder / "jpg"
    if not path.is_file() or digests.each(folder, [name], "md5", only=name)[0].hex() != md5:
        return True
    cached = Kept(f"digests/{md5}.json", "SHA-256 of the files of an archive, by name")
    content = cached.read()
    if content is None:
        content = json.dumps(_in_archive(path)).encode()
        cached.write(content)
    known: dict[str, str] = json.loads(content)
    names = sorted(known)
    if any(not (photographs / name).is_file() for name in names):
        return False
    found = digests.each(photographs, names)
    return [digest.hex() for digest in found] == [known[name] for name in names]


def _in_archive(path: Path) -> dict[str, str]:
    """The SHA-256 of each file of an archive of one folder, by its name there."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                found[posixpath.basename(member.name)] = hashlib.sha256(file.read()).hexdigest()
    return found


def official(
    name: str, root: Path, size: tuple[int, int], shape: tuple[int, ...], classes: int
) -> Contents | Lack:
    """A set that is there whole, or not at all: its published sizes, with equally large classes."""
    absent = lack(name, root)
    if absent is not None:
        return absent
    folder, content = root / FOLDERS[name], own_content(name, root)
    if content:  # torchvision would not read them
        fetch = f"remove them and fetch them anew with `{_command(name, root)}`"
        fix = f"their digests are others; {fetch}"
        return Lack(f"published files of data set {name}", str(folder), fix)
    return Contents(
        name,
        *size,
        why="the official test part",
        shape=shape,
        classes=tuple(map(str, range(classes))),
        per_class=(size[0] // classes,) * classes,
        fingerprint=name,
    )


def idx_contents(name: str, root: Path) -> Contents | Lack:
    """MNIST and its drop-ins: labels are read, pictures are not; ValueError where a file is cut."""
    absent = lack(name, root)
    if absent is not None:
        return absent
    folder = root / FOLDERS[name]
    train, test = (idx_labels(folder / FILES[name][i]) for i in (1, 3))
    for i, labels in ((0, train), (2, test)):
        check_idx_pictures(folder / FILES[name][i], len(labels))
    kinds, counts = np.unique(train, return_counts=True)
    content = own_content(name, root)
    return Contents(
        name,
        len(train),
        len(test),
        "the official test part",
        shape=(28, 28, 1),
        classes=tuple(map(str, kinds)),
        per_class=tuple(map(int, counts)),
        fingerprint=f"{name} {content}",
        content=content,
    )


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
    from engine._torchvision import torchvision  # takes seconds; a plan has no need of it

    cls: Callable[..., Any] = getattr(torchvision.datasets, CLASS[name])
    return cls


def open_part(name: str, root: Path, **part: Any) -> Any:
    """torchvision's own object; FileNotFoundError with the command that fetches the set when it is
    not there.
    """
    try:
        return _cls(name)(root, download=False, **part)
    except (RuntimeError, FileNotFoundError) as error:
        raise FileNotFoundError(
            f"the data set {name} is not in {root}; fetch it with `{_command(name, root)}`, "
            f"or set OUROBOROS_DATA (or the parameter root) to the folder that holds it"
        ) from error


def read_arrays(name: str, root: Path) -> Parts:
    """The official training and test part of a set that torchvision keeps as one array."""
    return _read_arrays(name, root, "" if lack(name, root) else own_content(name, root))


@lru_cache(maxsize=4)
def _read_arrays(name: str, root: Path, content: str) -> Parts:
    """One object as long as the files hold the same."""
    train, test = (open_part(name, root, **part) for part in _arguments(name))
    return _samples(train), shuffled(_samples(test))


def _samples(part: Any) -> Samples:
    x = np.asarray(part.data, dtype=np.uint8)
    return Samples(x[..., None] if x.ndim == 3 else x, np.asarray(part.targets, dtype=np.int64))


def kept(
    name: str, make: Callable[[], tuple[np.ndarray, np.ndarray | None]]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decoded and resized pictures, made once per machine: cached as npz under this name, which is
    that of what the files hold.
    """
    cached = Kept(f"images/{name}.npz", "central squares, x uint8 [n, size, size, channels], y [n]")
    content = cached.read()
    if content is not None:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return file["x"], file.get("y")
    x, y = make()
    buffer = io.BytesIO()
    arrays = {"x": x} if y is None else {"x": x, "y": y}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # none is called allow_pickle
    cached.write(buffer.getvalue())
    return x, y


def thumbnails(
    pictures: Iterable[tuple[Image.Image, int]], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every picture cut to size x size, and its label."""
    x, y = zip(*((thumbnail(picture, size), label) for picture, label in pictures), strict=True)
    return np.stack(x), np.array(y, dtype=np.int64)
