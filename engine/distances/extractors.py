"""Which network stands behind an extractor's name, whether this computer has it, and what training
it would take.

A plan asks this, so nothing heavy is imported here; features.py runs the networks.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from engine.contents import Contents, Lack
from engine.files import cache_folder, write_atomically
from engine.parts import Extractor

PRETRAINED = {
    "resnet18": (512, 224),
    "inception": (2048, 299),
    "fid_inception": (2048, 299),
}  # features, pixels it sees


@dataclass(frozen=True)
class ClassifierTraining:
    """How a classifier is trained on the real data to give features.

    revision          changes when the network or its training does; part of the cached file's name.
    bounds            of the steps.
    seconds_per_step  of one CPU core on pictures of 32 pixels, measured.
    """

    network: str
    revision: str
    batch: int
    epochs: int
    bounds: tuple[int, int]
    seconds_per_step: float = 1.0

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
    "real_resnet18": ClassifierTraining("resnet18", "resnet18-1", 64, 10, (300, 1000), 1.2),
}


# ---- which one -----------------------------------------------------------------------------------


def chosen(extractor: str, kind: str, labelled: bool, shape: tuple[int, ...]) -> str:
    """What "auto" stands for: raw coordinates of points; of labelled images the real-trained
    network that suits their shape; resnet18 for unlabelled ones.
    """
    if extractor not in get_args(Extractor):
        raise ValueError(f"extractor is {extractor!r}; allowed: {', '.join(get_args(Extractor))}")
    if extractor != "auto":
        return extractor
    if kind != "images":
        return "raw"
    if not labelled:
        return "resnet18"
    return "real_resnet18" if suited(shape) == "resnet18" else "lenet"


def suited(shape: tuple[int, ...]) -> str:
    """The classifier for images of this shape: resnet18 for colour from 32 pixels on, else lenet.

    Of 3,000 images of CIFAR-10 it learnt more than LeNet, by 3.1 +- 1.3 points on the same 2,000
    test pictures (48.3 against 45.2 %), in 250 steps and 284 CPU s, where LeNet's 600 steps take 7.
    The features of that short training had noisier floors (conditional FID 67 +- 26 against 13 +-
    1; KID told pure noise by 2.7 floor_sd only): on a CPU, consider naming `lenet`.
    """
    return "resnet18" if shape[-1] == 3 and min(shape[:2]) >= 32 else "lenet"


# ---- given networks ------------------------------------------------------------------------------


def weights_folder() -> Path:
    return Path(os.environ.get("OUROBOROS_WEIGHTS") or cache_folder() / "weights")


def architecture(name: str) -> str:
    """torchvision's name of a network."""
    return {"inception": "inception_v3"}.get(name, name)


def lack(name: str, folder: Path) -> Lack | None:
    """What this computer lacks to run a given network, and how to get it."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        owner = (
            "torch-fidelity's FID network"
            if name == "fid_inception"
            else f"torchvision's {architecture(name)}"
        )
        fix = (
            f"fetch them with `ouro download {name}`, or set OUROBOROS_WEIGHTS to a folder that "
            f"holds {name}.safetensors (the state dict of {owner})"
        )
        return Lack(f"weights of {name}", str(path), fix)
    if name == "fid_inception" and importlib.util.find_spec("torch_fidelity") is None:
        return Lack("package torch-fidelity", sys.executable, "pip install torch-fidelity")
    return None


# ---- networks trained here -----------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What an earlier training on the same files left: its weights, and its CPU seconds."""

    weights: Path
    seconds: float | None


def note(name: str, contents: Contents, weights: Path, seconds: float | None) -> None:
    """Write down where the network that was trained on these files lies, for the next plan; a cache
    that cannot be written keeps no notes.
    """
    value = {"weights": weights.name, "seconds": seconds}
    with contextlib.suppress(OSError):
        write_atomically(_note(name, contents), json.dumps(value))


def known(name: str, contents: Contents) -> Known | None:
    """What an earlier training left, as noted; None when nothing is known of these files."""
    try:
        value = json.loads(_note(name, contents).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(value, Mapping) or not isinstance(value.get("weights"), str):
        return None
    seconds = value.get("seconds")
    weights = cache_folder() / Path(value["weights"]).name
    return Known(weights, float(seconds) if isinstance(seconds, int | float) else None)


def _note(name: str, contents: Contents) -> Path:
    of = hashlib.sha256(contents.fingerprint.encode()).hexdigest()[:16]
    return cache_folder() / "trained" / f"{TRAINED[name].revision}-{of}.json"
