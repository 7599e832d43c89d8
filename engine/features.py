"""Samples -> features [n, d], once per set: raw coordinates, a LeNet trained on the real data, or a given ImageNet network.

Distances on different extractors are different quantities: the extractor's name belongs to every value.  "inception" is
torchvision's Inception-v3 with its ImageNet weights, not the network of published FIDs.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.parts import Dataset
from engine.samples import Samples

Extractor = Literal["auto", "raw", "lenet", "resnet18", "inception"]
PRETRAINED = {"resnet18": (512, 224), "inception": (2048, 299)}  # name: (features, pixels it was trained at)
LENET_RECIPE = "lenet-1"  # changes when the network or its training changes
LENET_SEED = 20210  # of every extractor: all lineages of a data set share it


def resolve(extractor: str, dataset: Dataset) -> str:
    """What "auto" stands for: raw coordinates of points; lenet for labelled images, resnet18 for unlabelled ones."""
    known = ["auto", "raw", "lenet", *PRETRAINED]
    if extractor not in known:
        raise ValueError(f"extractor is {extractor!r}; allowed: {', '.join(known)}")
    if extractor != "auto":
        return extractor
    if dataset.GIVES != "images":
        return "raw"
    return "resnet18" if dataset.training_set().y is None else "lenet"  # type: ignore[attr-defined]


def extract(samples: Samples, extractor: str, dataset: Dataset) -> np.ndarray:
    """Features of all samples, float64: [n, d] of images, [n, replicates, d] of points; computed once per set."""
    name = resolve(extractor, dataset)
    if name != "raw" and dataset.GIVES != "images":
        raise ValueError(f"extractor {name!r} reads images, but {type(dataset).__name__} gives {dataset.GIVES}; use 'raw'")
    key = ("features", name, digest(dataset) if name == "lenet" else "")
    if key not in samples.memo:
        samples.memo[key] = EXTRACT[name](samples.x, dataset).astype(np.float64)
    return samples.memo[key]


def _raw(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    return x.reshape(len(x), -1) / 255.0 if dataset.GIVES == "images" else x


# ---- LeNet, trained on the real training set ----------------------------------------------------------------------------


def digest(dataset: Dataset) -> str:
    """SHA-256 of the whole real training set of an image data set: pixels, shape and labels."""
    real = dataset.training_set()  # type: ignore[attr-defined]
    if "digest" not in real.memo:
        sha = hashlib.sha256(repr(real.x.shape).encode())
        sha.update(np.ascontiguousarray(real.x).data)
        sha.update(b"" if real.y is None else np.ascontiguousarray(real.y, dtype=np.int64).data)
        real.memo["digest"] = sha.hexdigest()
    return real.memo["digest"]


def real_classifier(dataset: Dataset) -> Any:
    """The LeNet trained on the whole real training set: made once per machine, the same for all lineages."""
    real = dataset.training_set()  # type: ignore[attr-defined]
    if "lenet" not in real.memo:
        real.memo["lenet"] = _load_or_train(real, cache() / f"{LENET_RECIPE}-{digest(dataset)[:32]}.safetensors")
    return real.memo["lenet"]


def _load_or_train(real: Samples, path: Path) -> Any:
    from safetensors.torch import load, save

    from engine import lenet

    if real.y is None:
        raise ValueError("extractor 'lenet' needs labels to be trained on; this data set has none: use 'raw' or 'resnet18'")
    classes = int(real.y.max()) + 1
    if path.exists():
        model: Any = lenet.LeNet(real.x.shape[1:], classes)
        model.load_state_dict(load(path.read_bytes()))
        return model.eval()
    steps = int(np.clip(3 * len(real) / 128, 600, 1500))
    model = lenet.fit(real, classes, np.random.default_rng(LENET_SEED), steps=steps)
    write_atomically(path, save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}))
    return model


def _lenet(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    from engine import lenet

    return lenet.features(real_classifier(dataset), x)


# ---- ImageNet networks, from weights at hand ----------------------------------------------------------------------------


def weights_folder() -> Path:
    return Path(os.environ.get("OUROBOROS_WEIGHTS") or cache() / "weights")


def download(name: str, folder: Path | None = None) -> Path:
    """Fetch ImageNet weights by torchvision (which checks their digest) and keep them as safetensors."""
    from safetensors.torch import save

    from engine.vision import torchvision

    if name not in PRETRAINED:
        raise ValueError(f"no weights called {name!r}; there are: {', '.join(PRETRAINED)}")
    model = torchvision.models.get_model(_architecture(name), weights="DEFAULT", progress=True)
    path = (folder or weights_folder()) / f"{name}.safetensors"
    write_atomically(path, save({k: v.contiguous() for k, v in model.state_dict().items()}))
    return path


def _architecture(name: str) -> str:
    return {"inception": "inception_v3"}.get(name, name)


def _pretrained(name: str) -> Callable[[np.ndarray, Dataset], np.ndarray]:
    def features(x: np.ndarray, dataset: Dataset) -> np.ndarray:
        return _run_pretrained(name, x)

    return features


def _run_pretrained(name: str, x: np.ndarray) -> np.ndarray:
    """The pooled values before the classifier, [n, 512] or [n, 2048]; pixels normalised as for ImageNet."""
    import torch

    from engine import nets

    model, pixels = load_pretrained(name, weights_folder()).to(nets.device()), PRETRAINED[name][1]
    mean, sd = (torch.tensor(v, device=nets.device()).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    out = []
    with torch.inference_mode():
        for i in range(0, len(x), 64):
            images = nets.tensor(x[i : i + 64], nets.device()).permute(0, 3, 1, 2).float() / 255
            images = images.expand(-1, 3, -1, -1)  # grey becomes colour
            images = torch.nn.functional.interpolate(images, (pixels, pixels), mode="bilinear", antialias=True)
            out.append(model((images - mean) / sd).cpu())
    return torch.cat(out).numpy()


@lru_cache(maxsize=1)
def load_pretrained(name: str, folder: Path) -> Any:
    """The network without its classifier; FileNotFoundError says how to get its weights."""
    import torch
    from safetensors.torch import load

    from engine.vision import torchvision

    path = folder / f"{name}.safetensors"
    if not path.exists():
        command = f"python -c \"from engine.features import download; download('{name}')\""
        raise FileNotFoundError(
            f"the weights of {name} are not at {path}; fetch them with `{command}`, or set OUROBOROS_WEIGHTS to a folder that "
            f"holds {name}.safetensors (the state dict of torchvision's {_architecture(name)})"
        )
    extra = {"init_weights": False, "transform_input": True} if name == "inception" else {}  # as torchvision with its weights
    model = torchvision.models.get_model(_architecture(name), weights=None, **extra)
    model.load_state_dict(load(path.read_bytes()))
    model.fc = torch.nn.Identity()
    return model.eval()


# ---- the cache ----------------------------------------------------------------------------------------------------------


def cache() -> Path:
    """$OUROBOROS_CACHE, or the user's cache folder."""
    base = os.environ.get("OUROBOROS_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ouroboros"


def write_atomically(path: Path, content: bytes) -> None:
    """Under a temporary name, then renamed: several processes may write the same file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


EXTRACT: dict[str, Callable[[np.ndarray, Dataset], np.ndarray]] = {
    "raw": _raw,
    "lenet": _lenet,
    **{name: _pretrained(name) for name in PRETRAINED},
}
