"""Diffusion: its samplers reach a known Gaussian, its loss vanishes for a perfect network, its
files are diffusers'.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.generators import _noise, _unet, ddpm
from engine.generators._noise import Denoiser, integrate, sampling_times, signal_shares
from engine.generators.ddpm import Ddpm
from engine.parts import Finding
from engine.pipelines import ConditionalDDPMPipeline
from engine.registry import make
from engine.samples import Samples, given
from engine.training import classifiers

from diffusers import DDPMPipeline, DDPMScheduler  # isort: skip

SMALL: dict[str, Any] = {
    "steps": 3,
    "batch": 8,
    "channels": [8, 16],
    "attention": [],
    "sampling_steps": 4,
    "ema": 0.0,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pictures(shape: tuple[int, int, int], labelled: bool = True, n: int = 24) -> Samples:
    return Samples(
        rng().integers(0, 256, (n, *shape)).astype(np.uint8), np.arange(n) % 3 if labelled else None
    )


@pytest.fixture(scope="module")
def fitted() -> Ddpm:
    model = Ddpm(**SMALL)
    model.fit(pictures((8, 8, 1)), rng(1))
    return model


# ---- the samplers, on a case with a known answer -------------------------------------------------

MEAN, SD = 0.1, 0.2


def exact(signal: np.ndarray) -> Denoiser:
    """E[x_0 | x_t] for x_0 ~ N(MEAN, SD^2)."""

    def denoiser(x: Tensor, t: int) -> Tensor:
        a = signal[t]
        return MEAN + SD**2 * a**0.5 / (a * SD**2 + 1 - a) * (x - a**0.5 * MEAN)

    return denoiser


def drawn(
    sampler: str, steps: int, schedule: str, n: int = 4000, timesteps: int = 1000
) -> tuple[Tensor, Tensor]:
    signal = signal_shares(timesteps, schedule)
    z = torch.from_numpy(rng().standard_normal((n, 1, 1, 1)))
    return z, integrate(exact(signal), z, sampler, steps, signal, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("sampler", "steps"), [("dpm-solver++", 20), ("dpm-solver++", 40), ("unipc", 20), ("ddim", 400)]
)
def test_deterministic_samplers_carry_each_latent_to_its_place_in_the_data(
    sampler: str, steps: int, schedule: str
) -> None:
    z, x = drawn(sampler, steps, schedule)
    assert float((x - (MEAN + SD * z)).abs().max()) < 0.02 * SD * float(z.abs().max())


def test_fewer_timesteps_of_training_end_in_noise_too() -> None:
    z, x = drawn("dpm-solver++", 20, "linear", timesteps=500)
    assert signal_shares(500, "linear")[-1] < 1e-4
    assert float((x - (MEAN + SD * z)).abs().max()) < 0.02 * SD * float(z.abs().max())


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_ancestral_sampling_draws_from_the_data(schedule: str) -> None:
    _, x = drawn("ddpm", 1000, schedule)
    assert abs(float(x.mean()) - MEAN) < 4 * SD / np.sqrt(4000)
    assert abs(float(x.std()) / SD - 1) < 4 / np.sqrt(2 * 4000) + 0.01


def test_ancestral_sampling_is_that_of_diffusers() -> None:
    signal, z = (
        signal_shares(60, "linear"),
        torch.randn(_noise.BATCH_OUT, 1, 2, 2, generator=torch.Generator().manual_seed(0)),
    )
    ours = integrate(exact(signal), z, "ddpm", 60, signal, torch.Generator().manual_seed(1))
    theirs: Any = DDPMScheduler(
        **_noise.schedule_of(60, "linear"), prediction_type="sample", clip_sample=False
    )
    theirs.set_timesteps(60)
    x, noise = z, torch.Generator().manual_seed(1)
    for t in theirs.timesteps:
        x = theirs.step(exact(signal)(x, int(t)), t, x, generator=noise).prev_sample
    assert torch.allclose(ours.float(), x, atol=1e-4)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 20, 250, 999, 1000])
def test_sampling_times_are_as_many_as_asked_and_fall(schedule: str, steps: int) -> None:
    times = sampling_times(steps, signal_shares(1000, schedule))
    assert len(times) == steps and (np.diff(times) < 0).all() and times[-1] >= 0 and times[0] < 1000
    if steps == 20:
        signal = signal_shares(1000, schedule)[times]
        gaps = np.diff(np.log(signal / (1 - signal)))
        assert np.quantile(gaps, 0.8) < 1.3 * np.quantile(
            gaps, 0.2
        )  # even in log SNR but for the rounding at the end


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_perfect_network_has_no_loss_and_gives_the_image_back(
    prediction: Any, schedule: Any
) -> None:
    """For a picture of one brightness c the noise in x_t is known,
    so the right prediction is too.
    """
    model, c = Ddpm(prediction=prediction, schedule=schedule), 200 / 127.5 - 1
    signal = torch.from_numpy(model.signal).float()

    def predict(x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        a = signal[t].view(-1, 1, 1, 1)
        epsilon = (x - a.sqrt() * c) / (1 - a).sqrt()
        return epsilon if prediction == "epsilon" else a.sqrt() * epsilon - (1 - a).sqrt() * c

    def encode(batch: tuple[Tensor, ...], noise: torch.Generator) -> tuple[Tensor, None]:
        return torch.full((64, 1, 4, 4), c), None

    model.net_ = SimpleNamespace(predict=predict, encode=encode)  # type: ignore[assignment]
    assert float(model._loss(signal, (), torch.Generator().manual_seed(0))) < 1e-5
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for t in (0, 500, 900):
        assert torch.allclose(
            model.clean(x, predict(x, torch.full((5,), t), None), t), torch.tensor(c), atol=1e-3
        )


def test_training_lowers_the_loss_and_every_time_is_seen() -> None:
    real = make("dataset", "digits").sample(300, rng())
    report = Ddpm(steps=30, batch=16, channels=[8, 16], attention=[]).fit(real, rng(1))
    assert report["loss"] < 0.6 * report["loss/first"] and report["steps"] == 30
    times = (
        _unet.even_times((100,), torch.Generator().manual_seed(0), torch.device("cpu")) * 100
    ).long()
    assert sorted(times.tolist()) == list(range(100)) and times.tolist() != list(range(100))


# ---- labels and guidance -------------------------------------------------------------------------


def test_guidance_is_mads() -> None:
    assert (
        _unet.guidance(None) == _unet.guidance(1.0) == 0
        and _unet.guidance(0.5) == 1
        and _unet.guidance(0.8) == 0.25
    )
    for bad in (0.0, -0.5, 2.0):
        with pytest.raises(ValueError, match="allowed: above 0"):
            _unet.guidance(bad)


def test_guidance_extrapolates_from_the_null_class_through_the_label(fitted: Ddpm) -> None:
    net = fitted.net_
    assert net is not None and net.classes == 3
    x, t, y = torch.randn(5, 1, 8, 8), torch.full((5,), 300), torch.tensor([0, 1, 2, 0, 1])
    with torch.inference_mode():
        given_label, given_nothing = (
            net.module(x, t, y).sample,
            net.module(x, t, torch.full((5,), 3)).sample,
        )
        assert torch.allclose(net.predict(x, t, y), given_label)
        assert torch.allclose(net.predict(x, t, y, 1.0), 2 * given_label - given_nothing, atol=1e-5)
    assert not torch.allclose(given_label, given_nothing)
    plain, honest, guided = (
        fitted.sample(6, rng(2), np.arange(6) % 3, bias=b).x for b in (None, 1.0, 0.5)
    )
    assert np.array_equal(plain, honest) and not np.array_equal(plain, guided)


def test_labels_are_kept_and_dropped_as_often_as_said(fitted: Ddpm) -> None:
    labels = np.array([2, 0, 1, 1])
    sample = fitted.sample(4, rng(), labels)
    assert sample.y is not None and sample.y.tolist() == labels.tolist()
    assert not np.array_equal(sample.x, fitted.sample(4, rng(), labels[::-1].copy()).x)
    assert np.bincount(fitted.sample(12, rng()).y).tolist() == [4, 4, 4]  # type: ignore[arg-type]
    with pytest.raises(Finding, match="class 3"):
        fitted.sample(1, rng(), np.array([3]))
    assert fitted.net_ is not None
    batch = (torch.zeros(4000, 8, 8, 1, dtype=torch.uint8), torch.ones(4000, dtype=torch.int64))
    y = fitted.net_.encode(batch, torch.Generator().manual_seed(0))[1]
    assert (
        y is not None
        and set(y.tolist()) == {1, 3}
        and abs(float((y == 3).float().mean()) - 0.1) < 0.02
    )


@pytest.mark.parametrize(("how", "labelled"), [({"conditional": False}, True), ({}, False)])
def test_without_labels_there_are_none_and_no_guidance(how: dict[str, Any], labelled: bool) -> None:
    model = Ddpm(**SMALL, **how)
    model.fit(pictures((8, 8, 1), labelled), rng())
    assert model.sample(3, rng(), np.arange(3) if labelled else None).y is None
    with pytest.raises(ValueError, match="needs labels"):
        model.sample(3, rng(), bias=0.5)


def test_guidance_needs_dropped_labels() -> None:
    model = Ddpm(**SMALL, label_dropout=0.0)
    model.fit(pictures((8, 8, 1)), rng())
    with pytest.raises(ValueError, match="label_dropout above 0"):
        model.sample(3, rng(), bias=0.5)


# ---- what comes out ------------------------------------------------------------------------------


def test_each_sampler_draws_something_else_from_the_same_latents(fitted: Ddpm) -> None:
    assert fitted.net_ is not None
    draws = []
    for sampler in ("ddpm", "ddim", "dpm-solver++", "unipc"):
        other = Ddpm(**SMALL, sampler=sampler)  # type: ignore[arg-type]
        other.net_ = fitted.net_
        draws.append(other.sample(4, rng(3)).x)
        assert np.array_equal(draws[-1], other.sample(4, rng(3)).x)
    assert all(not np.array_equal(a, b) for i, a in enumerate(draws) for b in draws[:i])


@pytest.mark.parametrize("sampler", ["ddpm", "dpm-solver++"])
def test_the_ith_image_depends_on_the_stream_only(
    fitted: Ddpm, sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddpm, "BATCH_OUT", 4)
    model = Ddpm(**SMALL, sampler=sampler)
    model.net_ = fitted.net_
    few, many = model.sample(6, rng(5), np.arange(6) % 3), model.sample(9, rng(5), np.arange(9) % 3)
    assert (
        np.abs(few.x.astype(int) - many.x[:6].astype(int)).max() <= 1
    )  # another batch size may round otherwise


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((8, 8, 1), [8, 8, 8]), ((28, 28, 1), [8, 8, 8, 8]), ((10, 12, 3), [8, 8, 8])],
)
def test_sides_of_any_length_are_padded_and_cut(
    shape: tuple[int, int, int], channels: list[int]
) -> None:
    model = Ddpm(**{**SMALL, "channels": channels, "attention": [2]})
    model.fit(pictures(shape), rng())
    drawn = model.sample(3, rng())
    assert drawn.x.shape == (3, *shape) and drawn.x.dtype == np.uint8
    assert model.net_ is not None
    step, image = 2 ** (len(channels) - 1), torch.from_numpy(pictures(shape).x)
    seen, _ = model.net_.encode((image, torch.zeros(24, dtype=torch.int64)), torch.Generator())
    assert seen.shape[2] % step == 0 and seen.shape[3] % step == 0
    assert np.array_equal(model.net_.decode(seen), image.numpy()), (
        "decode must be the inverse of encode"
    )


def test_warm_start_continues() -> None:
    real = make("dataset", "digits").sample(300, rng())
    model = Ddpm(steps=30, batch=16, channels=[8, 16], attention=[], ema=0.0, warm_start=True)
    first, second = model.fit(real, rng(1)), model.fit(real, rng(2))
    assert second["loss/first"] < 0.8 * first["loss/first"]


def test_numbers_of_a_size_can_be_replaced_one_by_one() -> None:
    model = Ddpm(size="32", steps=7, attention=[])
    assert (
        model.size == _unet.with_own(_unet.SIZES["32"], steps=7, attention=())
        and model.size.channels[0] == 128
    )
    with pytest.raises(ValueError, match="cannot be more than the timesteps"):
        Ddpm(sampling_steps=600, timesteps=500)
    with pytest.raises(ValueError, match="levels 0 to 1"):
        Ddpm(channels=[8, 16], attention=[2]).fit(pictures((8, 8, 1)), rng())


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prediction", "schedule"), [("epsilon", "linear"), ("v", "cosine")])
def test_diffusers_opens_a_saved_model(prediction: Any, schedule: Any, tmp_path: Path) -> None:
    model = Ddpm(
        **SMALL, conditional=False, prediction=prediction, schedule=schedule, timesteps=100
    )
    model.fit(pictures((8, 8, 3)), rng())
    model.save(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]
    pipeline: Any = DDPMPipeline.from_pretrained(tmp_path, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 60])
    assert model.net_ is not None
    with torch.inference_mode():
        assert torch.equal(pipeline.unet(x, t).sample, model.net_.module(x, t).sample)
    assert np.allclose(pipeline.scheduler.alphas_cumprod.numpy(), model.signal)
    assert (
        pipeline.scheduler.config.prediction_type
        == {"epsilon": "epsilon", "v": "v_prediction"}[prediction]
    )
    assert pipeline(batch_size=2, num_inference_steps=4, output_type="np").images.shape == (
        2,
        8,
        8,
        3,
    )


def test_a_conditional_model_is_opened_by_our_pipeline(fitted: Ddpm, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    pipeline: Any = ConditionalDDPMPipeline.from_pretrained(tmp_path, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed
    plain, guided, other = (
        pipeline(
            labels, guidance=w, generator=seed(0), num_inference_steps=3, output_type="np"
        ).images
        for labels, w in (([0, 1], 0.0), ([0, 1], 1.0), ([2, 1], 0.0))
    )
    assert plain.shape == (2, 8, 8, 1) and not np.array_equal(plain, guided)
    assert not np.array_equal(plain[0], other[0])


def test_load_is_the_inverse_of_save_also_twice(fitted: Ddpm, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    model = fitted
    for folder in folders:
        folder.mkdir()
        model.save(folder)
        model = Ddpm(**SMALL)
        model.load(folder)
    assert np.array_equal(fitted.sample(5, rng(1)).x, model.sample(5, rng(1)).x)
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1] and all(
        (folders[0] / f).read_bytes() == (folders[1] / f).read_bytes() for f in files[0]
    )


# ---- it learns -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_draws_digits_that_a_real_classifier_knows() -> None:
    real = make("dataset", "digits").sample(1200, rng())
    model = Ddpm(steps=500)
    model.fit(real, rng(1))
    judge = classifiers.fit(real, 10, rng(3), steps=200, lr=1e-2)
    right = {}
    for bias in (1.0, 0.5):
        sample = model.sample(300, rng(2), given(real, 300), bias=bias)
        right[bias] = np.mean(classifiers.logits(judge, sample.x).argmax(1) == sample.y)
    assert right[1.0] > 0.7 and right[0.5] > 0.9
