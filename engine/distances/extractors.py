"""Which network stands behind an extractor's name, whether this computer has it, and what training
it would take.

A plan asks this, so nothing heavy is imported here; features.py runs the networks.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from engine import _digests as digests
from engine._cache import Kept
from engine.contents import Contents, Lack
from engine.files import cache_folder, open_regular
from engine.parts import Extractor

PRETRAINED = {
    "resnet18": (512, 224),
    "inception": (2048, 299),
    "fid_inception": (2048, 299),
}  # features, pixels it sees
NGRAM_FEATURES = 64
# what extractors read, by the kind of data
READ_BY: dict[str, dict[str, tuple[str, ...]]] = {
    "points": {"extractor": ("auto", "raw")},
    "images": {
        "extractor": (
            "auto",
            "raw",
            "lenet",
            "real_resnet18",
            "resnet18",
            "inception",
            "fid_inception",
        )
    },
    "text": {"extractor": ("auto", "ngrams")},
}
# of the state dict that each is built from, see `layout`
LAYOUTS = {
    "resnet18": "fc669aac650ab66f",
    "inception": "e3f8856bbddc9bcd",
    "fid_inception": "bd04e829988dd22d",
}
LONGEST_HEADER = 16 << 20  # bytes


@dataclass(frozen=True)
class ClassifierTraining:
    """How a classifier is trained on the real data to give features.

    revision          changes when the network or its training does; part of the cached file's name.
    bounds            of the steps.
    seconds_per_step  of one CPU core on pictures of 32 pixels, measured.
    features          that it gives.
    """

    network: str
    revision: str
    batch: int
    epochs: int
    bounds: tuple[int, int]
    seconds_per_step: float = 1.0
    features: int = 84

    def steps(self, n: int) -> int:
        """Optimiser steps on n pictures."""
        return int(np.clip(self.epochs * n / self.batch, *self.bounds))

    def seconds(self, n: int, shape: tuple[int, ...]) -> float:
        """CPU seconds that are declared for n pictures of this shape, roughly."""
        seen = min(shape[:2])
        if self.network == "lenet":
            seen = min(seen, 32)  # larger pictures are reduced
        else:
            seen = seen // (1 if seen <= 32 else 2 if seen <= 64 else 4)  # by the stem
        return self.steps(n) * self.seconds_per_step * max(seen / 32, 0.5) ** 2


TRAINED = {
    "lenet": ClassifierTraining("lenet", "lenet-1", 128, 3, (600, 1500), 0.012),
    "real_resnet18": ClassifierTraining("resnet18", "resnet18-1", 64, 10, (300, 1000), 1.2, 512),
}


# ---- which one -----------------------------------------------------------------------------------


def chosen(extractor: str, kind: str, labelled: bool) -> str:
    """What "auto" stands for: raw coordinates of points; n-grams of texts; lenet, trained here, for
    labelled images of any size; resnet18 with ImageNet's weights for unlabelled ones.
    """
    if extractor not in get_args(Extractor):
        raise ValueError(f"extractor is {extractor!r}; allowed: {', '.join(get_args(Extractor))}")
    if extractor != "auto":
        return extractor
    if kind != "images":
        return "ngrams" if kind == "text" else "raw"
    return "lenet" if labelled else "resnet18"


def features_of(name: str) -> int:
    """How many features an extractor gives."""
    if name == "ngrams":
        return NGRAM_FEATURES
    return TRAINED[name].features if name in TRAINED else PRETRAINED[name][0]


def suited(shape: tuple[int, ...]) -> str:
    """The classifier to judge images of this shape by: resnet18 for colour from 32 pixels on, else
    lenet; for features lenet always (`chosen`).

    Of 3,000 images of CIFAR-10 it learnt more than LeNet, by 3.1 +- 1.3 points on the same 2,000
    test pictures (48.3 against 45.2 %), in 250 steps and 284 CPU s, where LeNet's 600 steps take 7.
    The features of that short training had noisier floors (conditional FID 67 +- 26 against 13 +-
    1; KID told pure noise by 2.7 floor_sd only).
    """
    return "resnet18" if shape[-1] == 3 and min(shape[:2]) >= 32 else "lenet"


# ---- given networks ------------------------------------------------------------------------------


def weights_folder() -> Path:
    return Path(os.environ.get("OUROBOROS_WEIGHTS") or cache_folder() / "weights")


def architecture(name: str) -> str:
    """torchvision's name of a network."""
    return {"inception": "inception_v3"}.get(name, name)


def digest_beside(path: Path) -> Path:
    """The file beside fetched weights that says their SHA-256, as `sha256sum -c` reads it."""
    return path.with_name(f"{path.name}.sha256")


def is_as_fetched(path: Path, sha256: str) -> bool:
    """Whether weights with this digest (or beginning of it) are those that were fetched; of a
    user's own, with no digest beside them, nothing is known.
    """
    try:
        said = digest_beside(path).read_text(errors="replace").partition(" ")[0]
    except FileNotFoundError:
        return True
    return len(said) == 64 and said.startswith(sha256)


def damaged(name: str, path: Path) -> str:
    """What to do about weights that are not those that were fetched."""
    return (
        f"its digest is not the one in {digest_beside(path).name} beside it; fetch it again with "
        f"`ouro download {name}`, or remove both to give your own"
    )


def layout(path: Path) -> str:
    """A digest of the names and shapes of the arrays in a safetensors file; ValueError where it is
    none, or is cut.

    Counts of batches are left out, which older versions of torch did not write.
    """
    with open_regular(path, follow=True) as file:
        size = os.fstat(file.fileno()).st_size
        n = int.from_bytes(file.read(8), "little")
        if not 1 < n <= min(size - 8, LONGEST_HEADER):
            raise ValueError("this is no safetensors file")
        header = json.loads(file.read(n))
    try:
        arrays = {name: about for name, about in header.items() if name != "__metadata__"}
        end = max((about["data_offsets"][1] for about in arrays.values()), default=0)
        shapes = sorted(f"{name} {list(about['shape'])}" for name, about in arrays.items())
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError("this is no safetensors file") from error
    if size != 8 + n + end:
        raise ValueError(f"it has {size:,} bytes, and its arrays {8 + n + end:,}")
    known = [shape for shape in shapes if "num_batches_tracked" not in shape]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def misfit(name: str, path: Path) -> str:
    """Why a file cannot be the weights of a network, or ''."""
    try:
        found = layout(path)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if found == LAYOUTS[name] else "it holds arrays of other names or shapes"


def unchecked(name: str, folder: Path) -> str:
    """What is to be said of weights of one's own, which nothing beside them vouches for, or ''."""
    path = folder / f"{name}.safetensors"
    held = path.is_relative_to(cache_folder())  # from its first use on
    if held or not path.exists() or digest_beside(path).exists():
        return ""
    return (
        f"{path} is taken as it is, SHA-256 {digests.of_file(path)[:16]}...: values do not tell "
        f"one file from another; `sha256sum {path.name} > {digest_beside(path).name}` beside it "
        "has it looked at each time"
    )


def lack(name: str, folder: Path) -> Lack | None:
    """What this computer lacks to run a given network, and how to get it."""
    path = folder / f"{name}.safetensors"
    owner = f"torchvision's {architecture(name)}"
    if name == "fid_inception":
        owner = "torch-fidelity's FID network"
    fix = (
        f"fetch them with `ouro download {name}`, or set OUROBOROS_WEIGHTS to a folder that "
        f"holds {name}.safetensors (the state dict of {owner})"
    )
    if not path.exists():
        return Lack(f"weights of {name}", str(path), fix)
    if not is_as_fetched(path, digests.of_file(path)):
        return Lack(f"undamaged weights of {name}", str(path), damaged(name, path))
    if said := misfit(name, path):
        return Lack(f"weights of {name}", str(path), f"{said}; {fix}")
    if name == "fid_inception" and importlib.util.find_spec("torch_fidelity") is None:
        return Lack("package torch-fidelity", sys.executable, "pip install torch-fidelity")
    return None


# ---- networks trained here -----------------------------------------------------------------------


def trained(name: str, data: str) -> Kept:
    """Where the cache has the network that learnt the training set with this digest."""
    revision = TRAINED[name].revision
    made_by = f"{name} ({revision}) trained on {data}"
    return Kept(f"{revision}-{data[:32]}.safetensors", made_by)


@dataclass(frozen=True)
class Known:
    """What an earlier training on the same files left: its weights, and its CPU seconds."""

    weights: Kept
    seconds: float | None


def note(name: str, contents: Contents, data: str, seconds: float | None) -> None:
    """Write down for the next plan on which training set (its digest) these files gave a network,
    and what that took.
    """
    _note(name, contents).write(json.dumps({"data": data, "seconds": seconds}).encode())


def known(name: str, contents: Contents) -> Known | None:
    """What an earlier training left, as noted; None when nothing is known of these files."""
    content = _note(name, contents).read()
    if content is None:
        return None
    value = json.loads(content)
    return Known(trained(name, value["data"]), value["seconds"])


def _note(name: str, contents: Contents) -> Kept:
    of = hashlib.sha256(contents.fingerprint.encode()).hexdigest()
    revision = TRAINED[name].revision
    return Kept(f"trained/{revision}-{of[:16]}.json", f"{name} ({revision}) of files {of}")
