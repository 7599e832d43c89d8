"""Samples -> features [n, d], once per set: raw coordinates, a classifier trained on the real data,
or a given network.

Distances on different extractors are different quantities: the extractor's name belongs to every
value.  "real_resnet18" is trained here on the real data, "resnet18" is torchvision's with its
        ImageNet weights.  "inception" is torchvision's Inception-v3
with its ImageNet weights; the network of published FIDs is "fid_inception", as torch-fidelity
converted it.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np

from engine.files import cache_folder, write_atomically
from engine.parts import Dataset, Extractor
from engine.samples import Samples

PRETRAINED = {
    "resnet18": (512, 224),
    "inception": (2048, 299),
    "fid_inception": (2048, 299),
}  # features, pixels it sees
# on the real data: network, recipe (changes when the network or its training does), batch, epochs,
# bounds of steps
TRAINED = {
    "lenet": ("lenet", "lenet-1", 128, 3, (600, 1500)),
    "real_resnet18": (
        "resnet18",
        "resnet18-1",
        64,
        10,
        (300, 1000),
    ),  # 7 to 22 CPU minutes, once per machine
}
CLASSIFIER_SEED = 20210  # of every extractor: all lineages of a data set share it


def resolve(extractor: str, dataset: Dataset) -> str:
    """What "auto" stands for: raw coordinates of points; of labelled images the real-trained
    network that suits their size (`suited`: real_resnet18 for colour from 32 pixels on, else
    lenet); resnet18 for unlabelled ones.
    """
    if extractor not in get_args(Extractor):
        raise ValueError(f"extractor is {extractor!r}; allowed: {', '.join(get_args(Extractor))}")
    if extractor != "auto":
        return extractor
    if dataset.GIVES != "images":
        return "raw"
    real = dataset.training_set()  # type: ignore[attr-defined]
    if real.y is None:
        return "resnet18"
    return "real_resnet18" if suited(real.x.shape[1:]) == "resnet18" else "lenet"


def suited(shape: tuple[int, ...]) -> str:
    """The classifier for images of this shape: resnet18 for colour from 32 pixels on, else lenet.

    Of 3,000 images of CIFAR-10 it learnt more than LeNet, by 3.1 +- 1.3 points on the same 2,000
    test pictures (48.3 against 45.2 %), in 250 steps and 284 CPU s, where LeNet's 600 steps take 7.
    The features of that short training had noisier floors (conditional FID 67 +- 26 against 13 +-
    1; KID told pure noise by 2.7 floor_sd only): on a CPU, consider naming `lenet`.
    """
    return "resnet18" if shape[-1] == 3 and min(shape[:2]) >= 32 else "lenet"


def extract(samples: Samples, extractor: str, dataset: Dataset) -> np.ndarray:
    """Features of all samples, float64: [n, d] of images, [n, replicates, d] of points; computed
    once per set.
    """
    name = resolve(extractor, dataset)
    if name != "raw" and dataset.GIVES != "images":
        raise ValueError(
            f"extractor {name!r} reads images, but {type(dataset).__name__} gives "
            f"{dataset.GIVES}; use 'raw'"
        )
    key = ("features", name, digest(dataset) if name in TRAINED else "")
    if key not in samples.memo:
        samples.memo[key] = EXTRACT[name](samples.x, dataset).astype(np.float64)
    return samples.memo[key]


def _raw(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    return x.reshape(len(x), -1) / 255.0 if dataset.GIVES == "images" else x


# ---- classifiers trained on the real training set ------------------------------------------------


def digest(dataset: Dataset) -> str:
    """SHA-256 of the whole real training set of an image data set: pixels, shape and labels."""
    real = dataset.training_set()  # type: ignore[attr-defined]
    if "digest" not in real.memo:
        sha = hashlib.sha256(repr(real.x.shape).encode())
        sha.update(np.ascontiguousarray(real.x).data)
        sha.update(b"" if real.y is None else np.ascontiguousarray(real.y, dtype=np.int64).data)
        real.memo["digest"] = sha.hexdigest()
    return real.memo["digest"]


def real_classifier(dataset: Dataset, name: str = "lenet") -> Any:
    """The network of TRAINED that learnt the whole real training set: made once per machine, the
    same for all lineages.
    """
    real = dataset.training_set()  # type: ignore[attr-defined]
    if name not in real.memo:
        real.memo[name] = _load_or_train(
            real, name, cache_folder() / f"{TRAINED[name][1]}-{digest(dataset)[:32]}.safetensors"
        )
    return real.memo[name]


def _load_or_train(real: Samples, name: str, path: Path) -> Any:
    from safetensors.torch import load, save

    from engine.training import classifiers

    if real.y is None:
        raise ValueError(
            f"extractor {name!r} needs labels to be trained on; this data set has none: use "
            "'raw' or 'resnet18'"
        )
    network, _, batch, epochs, bounds = TRAINED[name]
    classes = int(real.y.max()) + 1
    if path.exists():
        model: Any = classifiers.of_images(network, real.x.shape[1:], classes)  # type: ignore[arg-type]
        model.load_state_dict(load(path.read_bytes()))
        return model.eval()
    steps = int(np.clip(epochs * len(real) / batch, *bounds))
    rng = np.random.default_rng(CLASSIFIER_SEED)
    model = classifiers.fit(real, classes, rng, steps=steps, batch=batch, network=network)
    write_atomically(path, save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}))
    return model


def _trained(name: str) -> Callable[[np.ndarray, Dataset], np.ndarray]:
    def features(x: np.ndarray, dataset: Dataset) -> np.ndarray:
        from engine.training import classifiers

        return classifiers.features(real_classifier(dataset, name), x)

    return features


# ---- given networks, from weights at hand --------------------------------------------------------


def weights_folder() -> Path:
    return Path(os.environ.get("OUROBOROS_WEIGHTS") or cache_folder() / "weights")


def download(name: str, folder: Path | None = None) -> Path:
    """Fetch a network's weights (torchvision and torch check their digests) and keep them as
    safetensors; `ouro download`.
    """
    from safetensors.torch import save
    from torch.hub import load_state_dict_from_url

    from engine._torchvision import torchvision

    if name not in PRETRAINED:
        raise ValueError(f"no weights called {name!r}; there are: {', '.join(PRETRAINED)}")
    if name == "fid_inception":
        state = load_state_dict_from_url(
            _fidelity().URL_INCEPTION_V3, check_hash=True, weights_only=True
        )
    else:
        state = torchvision.models.get_model(
            _architecture(name), weights="DEFAULT", progress=True
        ).state_dict()
    path = (folder or weights_folder()) / f"{name}.safetensors"
    write_atomically(path, save({k: v.contiguous() for k, v in state.items()}))
    return path


def _architecture(name: str) -> str:
    return {"inception": "inception_v3"}.get(name, name)


def _pretrained(name: str) -> Callable[[np.ndarray, Dataset], np.ndarray]:
    def features(x: np.ndarray, dataset: Dataset) -> np.ndarray:
        return _run_pretrained(name, x)

    return features


def _run_pretrained(name: str, x: np.ndarray) -> np.ndarray:
    """The pooled values before the classifier, [n, 512] or [n, 2048]; pixels normalised as for
    ImageNet.
    """
    import torch

    from engine.training.device import device, tensor

    model, pixels = load_pretrained(name, weights_folder()).to(device()), PRETRAINED[name][1]
    if name == "fid_inception":
        return _run_fid_inception(model, x)
    mean, sd = (
        torch.tensor(v, device=device()).view(1, 3, 1, 1)
        for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    out = []
    with torch.inference_mode():
        for i in range(0, len(x), 64):
            images = tensor(x[i : i + 64], device()).permute(0, 3, 1, 2).float() / 255
            images = images.expand(-1, 3, -1, -1)  # grey becomes colour
            images = torch.nn.functional.interpolate(
                images, (pixels, pixels), mode="bilinear", antialias=True
            )
            out.append(model((images - mean) / sd).cpu())
    return torch.cat(out).numpy()


def _run_fid_inception(model: Any, x: np.ndarray) -> np.ndarray:
    """[n, 2048]; the network resizes and scales the pixels itself, as TensorFlow did."""
    import torch

    from engine.training.device import device, tensor

    batches = (
        tensor(x[i : i + 64], device()).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        for i in range(0, len(x), 64)
    )
    with torch.inference_mode():
        return torch.cat([model(images)[0].cpu() for images in batches]).numpy()


def _fidelity() -> Any:
    """torch-fidelity's module of the network; ModuleNotFoundError says what to install."""
    from engine._torchvision import torchvision  # noqa: F401  (before anything that imports torchvision itself)

    try:
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "extractor 'fid_inception' needs the package torch-fidelity: pip install torch-fidelity"
        ) from error


@lru_cache(maxsize=1)
def load_pretrained(name: str, folder: Path) -> Any:
    """The network without its classifier; FileNotFoundError says how to get its weights."""
    import torch
    from safetensors.torch import load

    from engine._torchvision import torchvision

    path = folder / f"{name}.safetensors"
    if not path.exists():
        owner = (
            "torch-fidelity's FID network"
            if name == "fid_inception"
            else f"torchvision's {_architecture(name)}"
        )
        raise FileNotFoundError(
            f"the weights of {name} are not at {path}; fetch them with `ouro download {name}`, "
            "or set OUROBOROS_WEIGHTS to a "
            f"folder that holds {name}.safetensors (the state dict of {owner})"
        )
    if name == "fid_inception":
        fidelity, state = _fidelity(), load(path.read_bytes())
        with mock.patch.object(
            fidelity, "load_state_dict_from_url", lambda *_, **__: state
        ):  # it would fetch or unpickle
            return fidelity.FeatureExtractorInceptionV3(name, ["2048"])
    extra = (
        {"init_weights": False, "transform_input": True} if name == "inception" else {}
    )  # as torchvision with its weights
    model = torchvision.models.get_model(_architecture(name), weights=None, **extra)
    model.load_state_dict(load(path.read_bytes()))
    model.fc = torch.nn.Identity()
    return model.eval()


EXTRACT: dict[str, Callable[[np.ndarray, Dataset], np.ndarray]] = {
    "raw": _raw,
    **{name: _trained(name) for name in TRAINED},
    **{name: _pretrained(name) for name in PRETRAINED},
}
