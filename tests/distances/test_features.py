"""Features: by name, once per set, from a LeNet that is trained once per machine."""

from __future__ import annotations

import re
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import save

from engine._torchvision import torchvision
from engine.distances import extractors, features
from engine.distances.extractors import ClassifierTraining
from engine.registry import make
from engine.samples import Samples
from engine.training import classifiers
from engine.training.classifiers import ResNet18


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def digits() -> Any:
    return make("dataset", "digits")


def of_images(x: np.ndarray, y: np.ndarray | None = None) -> Any:
    """A data set that consists of these images."""
    real = Samples(x, y)
    return SimpleNamespace(GIVES="images", CLASSES=0, training_set=lambda: real)


def test_auto_means_the_extractor_of_the_data() -> None:
    assert features.resolve("auto", make("dataset", "mixture")) == "raw"
    assert features.resolve("auto", digits()) == "lenet"
    assert features.resolve("auto", of_images(np.zeros((2, 8, 8, 3), np.uint8))) == "resnet18"
    photos = of_images(np.zeros((2, 32, 32, 3), np.uint8), np.arange(2))
    assert features.resolve("auto", photos) == "lenet", "whatever their size and colours"
    for shape in ((32, 32, 1), (28, 28, 3)):
        assert (
            features.resolve("auto", of_images(np.zeros((2, *shape), np.uint8), np.arange(2)))
            == "lenet"
        )
    assert features.resolve("raw", digits()) == "raw"
    with pytest.raises(ValueError, match="'vgg'; allowed: auto, raw"):
        features.resolve("vgg", digits())
    with pytest.raises(ValueError, match="use 'raw'"):
        features.extract(Samples(np.zeros((3, 1, 2))), "lenet", make("dataset", "mixture"))


def test_raw_features_are_the_coordinates() -> None:
    mixture = make("dataset", "mixture", replicates=2)
    points = mixture.sample(7, rng())
    assert np.array_equal(features.extract(points, "auto", mixture), points.x)
    images = digits().held_out(5)
    raw = features.extract(images, "raw", digits())
    assert raw.shape == (5, 64) and raw.dtype == np.float64 and raw.max() <= 1
    assert np.allclose(raw, images.x.reshape(5, 64) / 255)


def test_features_are_computed_once_per_set() -> None:
    held_out = digits().held_out(300)
    first = features.extract(held_out, "lenet", digits())
    assert features.extract(held_out, "auto", digits()) is first
    assert first.shape == (300, 84) and first.dtype == np.float64 and (first >= 0).all()
    assert features.extract(held_out, "raw", digits()).shape == (300, 64), (
        "another extractor is another entry"
    )


def test_the_lenet_reads_held_out_digits_and_its_features_separate_them() -> None:
    held_out = digits().held_out(597)
    guess = classifiers.logits(features.real_classifier(digits()), held_out.x).argmax(1)
    assert np.mean(guess == held_out.y) > 0.96
    x = features.extract(held_out, "lenet", digits())
    centres = np.stack([x[held_out.y == k].mean(0) for k in range(10)])
    nearest = ((x[:, None] - centres) ** 2).sum(-1).argmin(1)
    assert np.mean(nearest == held_out.y) > 0.95


def test_the_trained_lenet_is_cached_and_the_cache_gives_the_same_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path))
    x, y = rng().integers(0, 256, (300, 8, 8, 1)).astype(np.uint8), np.arange(300) % 3
    trained = features.extract(Samples(x), "lenet", of_images(x, y))
    files = list(tmp_path.glob("lenet-1-*.safetensors"))
    assert len(files) == 1 and not list(tmp_path.glob("*.tmp"))
    stamp = files[0].stat().st_mtime_ns
    assert np.array_equal(features.extract(Samples(x), "lenet", of_images(x.copy(), y)), trained)
    assert files[0].stat().st_mtime_ns == stamp, "the second time it must be read, not trained"
    files[0].unlink()
    assert np.array_equal(features.extract(Samples(x), "lenet", of_images(x.copy(), y)), trained), (
        "training is deterministic"
    )


def test_another_training_set_is_another_extractor() -> None:
    x, y = rng().integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), np.arange(40) % 2
    brighter, renamed = x.copy(), 1 - y
    brighter[0, 0, 0] ^= 1
    keys = {
        features.digest(of_images(*pair))
        for pair in ((x, y), (brighter, y), (x, renamed), (x.reshape(40, 4, 16, 1), y))
    }
    assert len(keys) == 4 and features.digest(of_images(x.copy(), y.copy())) in keys


def test_unlabelled_pictures_cannot_train_a_lenet() -> None:
    with pytest.raises(ValueError, match="needs labels"):
        features.extract(
            Samples(np.zeros((3, 8, 8, 1), np.uint8)),
            "lenet",
            of_images(np.zeros((9, 8, 8, 1), np.uint8)),
        )


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3), (48, 32, 1)])
def test_the_lenet_takes_any_size(shape: tuple[int, int, int]) -> None:
    x = rng().integers(0, 256, (5, *shape)).astype(np.uint8)
    model = classifiers.LeNet(shape, 7)
    assert classifiers.logits(model, x).shape == (5, 7) and classifiers.features(
        model, x
    ).shape == (5, 84)


@pytest.mark.parametrize(
    ("shape", "stride"), [((8, 8, 1), 1), ((32, 32, 3), 1), ((48, 40, 3), 2), ((80, 80, 1), 4)]
)
def test_the_resnet_is_sized_to_the_image(shape: tuple[int, int, int], stride: int) -> None:
    """Its first stage sees the image reduced by the stem alone;
    logits are those of its features.
    """
    x = rng().integers(0, 256, (3, *shape)).astype(np.uint8)
    model = ResNet18(shape, 7)
    seen = []
    model.body.layer1.register_forward_hook(
        lambda module, given, answer: seen.append(tuple(answer.shape))
    )
    found = classifiers.features(model, x)
    assert found.shape == (3, 512) and seen == [(3, 64, shape[0] // stride, shape[1] // stride)]
    np.testing.assert_allclose(
        classifiers.logits(model, x),
        model.head(torch.from_numpy(found)).detach(),
        rtol=1e-5,
        atol=1e-5,
    )


def test_the_real_resnet_is_trained_once_per_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = ClassifierTraining("resnet18", "tiny", 8, 1, (2, 2))
    monkeypatch.setitem(extractors.TRAINED, "real_resnet18", tiny)
    r = rng()
    x, y = r.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8), np.arange(40) % 2
    images = Samples(x[:5])
    found = features.extract(images, "real_resnet18", of_images(x, y))
    assert found.shape == (5, 512) and found.dtype == np.float64
    monkeypatch.setattr(classifiers, "fit", None)
    again = features.extract(Samples(x[:5]), "real_resnet18", of_images(x.copy(), y.copy()))
    assert np.array_equal(found, again), "weights from the file must give the same bits"
    with pytest.raises(ValueError, match="'real_resnet18' needs labels"):
        features.extract(Samples(x), "real_resnet18", of_images(x))


def test_missing_weights_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_WEIGHTS", str(tmp_path))
    for name in extractors.PRETRAINED:
        with pytest.raises(FileNotFoundError, match=f"`ouro download {name}`"):
            features.extract(digits().held_out(2), name, digits())
    with pytest.raises(ValueError, match="there are: resnet18, inception, fid_inception"):
        features.download("vgg", tmp_path)


def test_weights_are_those_that_were_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their digest stands beside them; a plan looks at it, and whoever reads them."""
    small = torch.nn.Linear(2, 2)
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **__: small)
    path = features.download("resnet18", tmp_path)
    monkeypatch.setitem(extractors.LAYOUTS, "resnet18", extractors.layout(path))
    assert extractors.lack("resnet18", tmp_path) is None
    assert not extractors.unchecked("resnet18", tmp_path)
    assert features._weights("resnet18", tmp_path) == save(small.state_dict())
    whole = path.read_bytes()
    for harmed in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-1], b""):
        path.write_bytes(harmed)
        found = extractors.lack("resnet18", tmp_path)
        assert found is not None and found.what == "undamaged weights of resnet18"
        assert "`ouro download resnet18`" in found.fix
        with pytest.raises(FileNotFoundError, match=r"resnet18.safetensors is damaged: its digest"):
            features._weights("resnet18", tmp_path)
    path.write_bytes(whole)
    extractors.digest_beside(path).write_text("cut")
    assert extractors.lack("resnet18", tmp_path) is not None
    extractors.digest_beside(path).unlink()  # a user's own, of which nothing is known
    assert extractors.lack("resnet18", tmp_path) is None
    assert f"SHA-256 {sha256(whole).hexdigest()[:16]}" in extractors.unchecked("resnet18", tmp_path)


@pytest.mark.parametrize("name", ["resnet18", "inception", "fid_inception"])
def test_the_arrays_of_a_network_are_those_that_a_plan_looks_for(name: str, tmp_path: Path) -> None:
    if name == "fid_inception":
        fidelity, state = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3"), {}
        keep = mock.patch.object(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        with mock.patch.object(fidelity, "load_state_dict_from_url", lambda *_, **__: {}), keep:
            state = fidelity.FeatureExtractorInceptionV3(name, ["2048"]).state_dict()
    else:
        extra = {"init_weights": False} if name == "inception" else {}
        of = torchvision.models.get_model(extractors.architecture(name), weights=None, **extra)
        state = of.state_dict()
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(save(state))
    assert extractors.lack(name, tmp_path) is None
    for arrays, said in (
        ({**state, "more": torch.zeros(1)}, "arrays of other names or shapes"),
        ({**state, "fc.weight": torch.zeros(10, 4)}, "arrays of other names or shapes"),
    ):
        path.write_bytes(save(arrays))
        assert said in str(extractors.lack(name, tmp_path))
        with pytest.raises(FileNotFoundError, match=f"{path} holds no weights of {name}: .*{said}"):
            features._weights(name, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no safetensors"),
        (b"PK\x03\x04" * 9, "no safetensors"),
        ((2).to_bytes(8, "little") + b"[]", "no safetensors"),
        ((2).to_bytes(8, "little") + b"{]", "delimiter|double quotes"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "no safetensors"),
        (save({"x": torch.zeros(9)})[:-4], "bytes, and its arrays"),
    ],
)
def test_weights_that_no_network_can_read_are_found_by_a_plan(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "resnet18.safetensors").write_bytes(content)
    found = extractors.lack("resnet18", tmp_path)
    assert found is not None and re.search(said, found.fix) and "ouro download" in found.fix


def test_weights_of_an_earlier_version_are_held_to_what_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They were fetched into the cache, and cannot be made again without the network."""
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path))
    monkeypatch.delenv("OUROBOROS_WEIGHTS", raising=False)
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "resnet18.safetensors"
    path.write_bytes(weights := save({"x": torch.zeros(1)}))
    monkeypatch.setitem(extractors.LAYOUTS, "resnet18", extractors.layout(path))
    assert features._weights("resnet18", extractors.weights_folder()) == weights
    assert features._weights("resnet18", extractors.weights_folder()) == weights
    assert caplog.text.count("no digest beside it") == 1
    path.write_bytes(b"Weights")
    assert extractors.lack("resnet18", extractors.weights_folder()) is not None


@pytest.mark.parametrize("name", ["resnet18", pytest.param("inception", marks=pytest.mark.slow)])
def test_imagenet_features_from_weights_at_hand(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last layer of torchvision's own network, applied to our features, gives that network's
    answer.
    """
    monkeypatch.setenv("OUROBOROS_WEIGHTS", str(tmp_path))
    extra = {"transform_input": True, "init_weights": True} if name == "inception" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.get_model(
            {"inception": "inception_v3"}.get(name, name), weights=None, **extra
        ).eval()
    (tmp_path / f"{name}.safetensors").write_bytes(save(model.state_dict()))
    n_features, pixels = extractors.PRETRAINED[name]
    x = rng().integers(0, 256, (2, pixels, pixels, 3)).astype(np.uint8)
    samples = Samples(x)
    features.extract(samples, "raw", digits())
    got = features.extract(samples, name, digits())
    normalised = (
        torch.from_numpy(x).permute(0, 3, 1, 2) / 255
        - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    ) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        logits = model(normalised)
        assert got.shape == (2, n_features) and torch.allclose(
            model.fc(torch.from_numpy(got).float()), logits, atol=1e-3
        )
    assert features.extract(digits().held_out(2), name, digits()).shape == (2, n_features)


@pytest.mark.slow
def test_the_network_of_published_fids_is_torch_fidelitys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Random(module.FeatureExtractorInceptionV3):  # type: ignore[name-defined,misc]
        def load_state_dict(self, state: Any) -> None:  # type: ignore[override]
            """Keeps its random weights."""

    monkeypatch.setenv("OUROBOROS_WEIGHTS", str(tmp_path))
    with torch.random.fork_rng(devices=[]), monkeypatch.context() as patched:
        torch.manual_seed(0)
        patched.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        network = Random("random", ["2048"])
    (tmp_path / "fid_inception.safetensors").write_bytes(save(network.state_dict()))
    grey = Samples(rng().integers(0, 256, (2, 20, 20, 1)).astype(np.uint8))
    got = features.extract(grey, "fid_inception", digits())
    expected = network(torch.from_numpy(grey.x.repeat(3, axis=3)).permute(0, 3, 1, 2))[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert got.shape == (2, 2048) and got.std() > 0


def test_without_torch_fidelity_its_network_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ModuleNotFoundError, match="pip install torch-fidelity"):
        features.download("fid_inception")
