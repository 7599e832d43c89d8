"""Samples -> features [n, d], once per set: raw coordinates, n-grams of texts, a classifier trained
on the real data, or a given network.

Distances on different extractors are different quantities: the extractor's name belongs to every
value.  "real_resnet18" is trained here on the real data, "resnet18" is torchvision's with its
        ImageNet weights.  "inception" is torchvision's Inception-v3
with its ImageNet weights; the network of published FIDs is "fid_inception", as torch-fidelity
converted it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from engine._cache import Kept
from engine.distances import ngrams
from engine.distances.extractors import (
    PRETRAINED,
    READ_BY,
    TRAINED,
    architecture,
    chosen,
    damaged,
    digest_beside,
    is_as_fetched,
    known,
    lack,
    misfit,
    note,
    trained,
    weights_folder,
)
from engine.files import UNSHARED, cache_folder, open_regular, write_atomically
from engine.parts import Dataset, declared
from engine.samples import Samples

CLASSIFIER_SEED = 20210  # of every extractor: all lineages of a data set share it
LOG = logging.getLogger(__name__)


def whole(dataset: Dataset) -> Dataset:
    """The data set that extractors are learnt of: of some classes of one, the whole of it."""
    found: Dataset = getattr(dataset, "whole", dataset)
    return found


def resolve(extractor: str, dataset: Dataset) -> str:
    """What "auto" stands for with this data set, see `extractors.chosen`."""
    dataset = whole(dataset)
    if extractor != "auto" or dataset.GIVES != "images":
        return chosen(extractor, dataset.GIVES, False)
    real = dataset.training_set()  # type: ignore[attr-defined]  # finite ones have it
    return chosen(extractor, dataset.GIVES, real.y is not None)


def extract(samples: Samples, extractor: str, dataset: Dataset) -> np.ndarray:
    """Features of all samples, float64: [n, d] of images, [n, replicates, d] of points and texts;
    computed once per set.
    """
    dataset = whole(dataset)
    name, kind = resolve(extractor, dataset), dataset.GIVES
    allowed = READ_BY.get(kind, READ_BY["points"])["extractor"]
    if name not in allowed:
        raise ValueError(
            f"extractor {name!r} does not read {kind}, which {type(dataset).__name__} gives; use "
            f"{' or '.join(map(repr, allowed[1:]))}"
        )
    key = ("features", name, digest(dataset) if name in TRAINED else "")
    if key not in samples.memo:
        found = ngrams.features(samples) if name == "ngrams" else EXTRACT[name](samples.x, dataset)
        samples.memo[key] = found.astype(np.float64)
    values: np.ndarray = samples.memo[key]
    return values


def _raw(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    return x.reshape(len(x), -1) / 255.0 if dataset.GIVES == "images" else x


# ---- classifiers trained on the real training set ------------------------------------------------


def digest(dataset: Dataset) -> str:
    """SHA-256 of the whole real training set of an image data set: pixels, shape and labels."""
    real = dataset.training_set()  # type: ignore[attr-defined]  # finite ones have it
    if "digest" not in real.memo:
        sha = hashlib.sha256(repr(real.x.shape).encode())
        sha.update(np.ascontiguousarray(real.x).data)
        sha.update(b"" if real.y is None else np.ascontiguousarray(real.y, dtype=np.int64).data)
        real.memo["digest"] = sha.hexdigest()
    return str(real.memo["digest"])


def real_classifier(dataset: Dataset, name: str = "lenet") -> Any:
    """The network of TRAINED that learnt the whole real training set: made once per machine, the
    same for all lineages.
    """
    real = dataset.training_set()  # type: ignore[attr-defined]  # finite ones have it
    if name not in real.memo:
        data = digest(dataset)
        real.memo[name], seconds = _load_or_train(real, name, trained(name, data))
        _note(dataset, name, data, seconds)
    return real.memo[name]


def _note(dataset: Dataset, name: str, data: str, seconds: float | None) -> None:
    """Let the next plan know that these files have their extractor, and what it took."""
    if not declared(dataset, "FINITE"):
        return
    contents = dataset.contents()  # type: ignore[attr-defined]  # finite ones have it
    before = known(name, contents)
    if before is None or before.weights != trained(name, data) or seconds is not None:
        note(name, contents, data, seconds)


def _load_or_train(real: Samples, name: str, kept: Kept) -> tuple[Any, float | None]:
    """The network, and the CPU seconds that its training took; None when it was read.

    Of several processes that lack it one trains while the others wait and then read its file.
    """
    if real.y is None:
        raise ValueError(
            f"extractor {name!r} needs labels to be trained on; this data set has none: use "
            "'raw' or 'resnet18'"
        )
    content = kept.read()
    if content is not None:
        return _load(real, name, content), None
    with kept.alone() as alone:
        content = kept.read()
        if content is not None:  # another process trained it while we waited
            return _load(real, name, content), None
        if not alone:
            LOG.warning("%s: %s is trained by this process for itself", UNSHARED, name)
        began = time.process_time()
        model = _train(real, name, kept)
        return model, time.process_time() - began


def _load(real: Samples, name: str, content: bytes) -> Any:
    from safetensors.torch import load

    from engine.training import classifiers

    assert real.y is not None
    classes = int(real.y.max()) + 1
    shape = (real.x.shape[1], real.x.shape[2], real.x.shape[3])
    model = classifiers.of_images(TRAINED[name].network, shape, classes)
    model.load_state_dict(load(content))
    return model.eval()


def _train(real: Samples, name: str, kept: Kept) -> Any:
    from safetensors.torch import save

    from engine.training import classifiers

    assert real.y is not None
    how = TRAINED[name]
    rng = np.random.default_rng(CLASSIFIER_SEED)
    steps, classes = how.steps(len(real)), int(real.y.max()) + 1
    model = classifiers.fit(real, classes, rng, steps=steps, batch=how.batch, network=how.network)
    kept.write(save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}))
    return model


def _trained(name: str) -> Callable[[np.ndarray, Dataset], np.ndarray]:
    def features(x: np.ndarray, dataset: Dataset) -> np.ndarray:
        from engine.training import classifiers

        return classifiers.features(real_classifier(dataset, name), x)

    return features


# ---- given networks, from weights at hand --------------------------------------------------------


def download(name: str, folder: Path | None = None) -> Path:
    """Fetch a network's weights (torchvision and torch check their digests) and keep them as
    safetensors, with the digest of that file beside it; `ouro download`.
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
            architecture(name), weights="DEFAULT", progress=True
        ).state_dict()
    path = (folder or weights_folder()) / f"{name}.safetensors"
    content = save({k: v.contiguous() for k, v in state.items()})
    write_atomically(path, content)
    _say_digest(path, content)
    return path


def _say_digest(path: Path, content: bytes) -> None:
    said = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    write_atomically(digest_beside(path), said)


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
    # before anything that imports torchvision itself
    from engine._torchvision import torchvision  # noqa: F401

    try:
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "extractor 'fid_inception' needs the package torch-fidelity: pip install torch-fidelity"
        ) from error


def _weights(name: str, folder: Path) -> bytes:
    """A given network's file, read and looked at whatever a plan has found before."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise FileNotFoundError(str(lack(name, folder)))
    with open_regular(path, follow=True) as file:
        content = file.read()
    if not is_as_fetched(path, hashlib.sha256(content).hexdigest()):
        raise FileNotFoundError(f"{path} is damaged: {damaged(name, path)}")
    if said := misfit(name, path):
        raise FileNotFoundError(f"{path} holds no weights of {name}: {said}")
    if path.is_relative_to(cache_folder()) and not digest_beside(path).exists():
        LOG.warning("%s has no digest beside it: from now on it is held to the one it has", path)
        with contextlib.suppress(OSError):
            _say_digest(path, content)
    return content


@lru_cache(maxsize=1)
def load_pretrained(name: str, folder: Path) -> Any:
    """The network without its classifier; FileNotFoundError says how to get its weights."""
    import torch
    from safetensors.torch import load

    from engine._torchvision import torchvision

    content = _weights(name, folder)
    if name == "fid_inception":
        fidelity, state = _fidelity(), load(content)
        with mock.patch.object(
            fidelity, "load_state_dict_from_url", lambda *_, **__: state
        ):  # it would fetch or unpickle
            return fidelity.FeatureExtractorInceptionV3(name, ["2048"])
    extra = (
        {"init_weights": False, "transform_input": True} if name == "inception" else {}
    )  # as torchvision with its weights
    model = torchvision.models.get_model(architecture(name), weights=None, **extra)
    model.load_state_dict(load(content))
    model.fc = torch.nn.Identity()
    return model.eval()


EXTRACT: dict[str, Callable[[np.ndarray, Dataset], np.ndarray]] = {
    "raw": _raw,
    **{name: _trained(name) for name in TRAINED},
    **{name: _pretrained(name) for name in PRETRAINED},
}
