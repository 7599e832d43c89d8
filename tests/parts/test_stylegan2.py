"""StyleGAN2: its layers are those of the papers, its penalties what they say, its samples those of
the stream.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.generators import _stylegan2 as networks
from engine.generators._augment import Chance, _moved, augmented
from engine.generators.stylegan2 import PATH_DECAY, Stylegan2
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples, given
from engine.training import classifiers

SMALL: dict[str, Any] = {"steps": 4, "batch": 8, "channels": 32, "channels_max": 8, "latent": 8}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(n: int = 200) -> Samples:
    return make("dataset", "digits").sample(n, rng())


@pytest.fixture(scope="module")
def fitted() -> tuple[Stylegan2, Samples]:
    real = digits()
    gan = Stylegan2(**SMALL)
    gan.fit(real, rng(1))
    for conv in gan.model_.generator.convs:
        conv.strength.data.fill_(0.5)  # after four steps the noise would hardly be seen
    return gan, real


# ---- layers --------------------------------------------------------------------------------------


def one_by_one(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, up: bool) -> Tensor:
    """The paper's text, a sample at a time: modulate the weights, normalise each output's,
    convolve.
    """
    out = []
    for image, s in zip(x, style, strict=True):
        own = weight * s[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            wide = functional.conv_transpose2d(image[None], own.transpose(0, 1), stride=2)
            out.append(networks.blur(wide, pad=1, gain=4))
        else:
            out.append(functional.conv2d(image[None], own, padding=weight.shape[-1] // 2))
    return torch.cat(out)


@pytest.mark.parametrize(
    ("demodulate", "up", "kernel"), [(True, False, 3), (True, True, 3), (False, False, 1)]
)
def test_modulated_convolution_is_a_convolution_per_sample(
    demodulate: bool, up: bool, kernel: int
) -> None:
    x, weight, style = (
        normals(5, 3, 6, 6),
        normals(4, 3, kernel, kernel, seed=1),
        normals(5, 3, seed=2),
    )
    gradients = []
    for function in (networks.modulated, one_by_one):
        leaves = [v.clone().requires_grad_() for v in (x, weight, style)]
        y = function(*leaves, demodulate, up)  # type: ignore[operator]
        assert y.shape == ((5, 4, 12, 12) if up else (5, 4, 6, 6))
        gradients.append([y, *torch.autograd.grad((y * normals(*y.shape, seed=3)).sum(), leaves)])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)  # the norms are taken in float32


def test_demodulation_gives_unit_variance_whatever_the_style() -> None:
    style = normals(6, 32, seed=2) * torch.tensor([0.01, 0.1, 1, 3, 10, 100])[:, None]
    y = networks.modulated(normals(6, 32, 40, 40), normals(16, 32, 3, 3, seed=1), style)
    assert torch.allclose(
        y[:, :, 1:-1, 1:-1].var((1, 2, 3)), torch.ones(6, dtype=y.dtype), atol=0.1
    )


def test_blurs_keep_a_constant_and_double_is_the_transpose_of_halving() -> None:
    flat = torch.ones(1, 2, 8, 8)
    assert torch.allclose(
        networks.blur(flat, pad=1, stride=2)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2)
    )
    assert torch.allclose(networks.double(flat)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 12, 12))
    small, large = normals(1, 2, 4, 4), normals(1, 2, 8, 8, seed=1)
    down, up = networks.blur(large, pad=1, stride=2), networks.double(small)
    assert torch.allclose((up * large).sum(), 4 * (small * down).sum())


def test_the_learning_rate_is_equalised() -> None:
    """Weights are stored at unit scale whatever the fan-in, and one Adam step changes the output by
    the same share of it.
    """
    for n in (4, 4096):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            linear, slow = networks.Linear(n, 64), networks.Linear(n, 64, lr=0.01)
        x = torch.randn(64, n, generator=stream(5))
        assert linear.weight.std().item() == pytest.approx(1, abs=0.1) and linear(
            x
        ).std().item() == pytest.approx(1, abs=0.1)
        assert slow(x).std().item() == pytest.approx(1, abs=0.1)
        assert linear.scale == pytest.approx(n**-0.5) and slow.scale == pytest.approx(
            0.01 * n**-0.5
        )
        with torch.no_grad():
            moved = [(layer(x) - _nudged(layer, x)).std().item() for layer in (linear, slow)]
        assert moved[0] == pytest.approx(0.01, rel=0.3) and moved[1] == pytest.approx(1e-4, rel=0.3)


def _nudged(layer: networks.Linear, x: Tensor) -> Tensor:
    """The output after every weight went 0.01 up or down, as Adam's first step moves it."""
    signs = torch.randint(0, 2, layer.weight.shape, generator=stream(1)) * 2.0 - 1
    return functional.linear(x, (layer.weight + 0.01 * signs) * layer.scale, layer.bias * layer.lr)


def test_the_deviation_over_a_group_is_one_more_channel() -> None:
    x = normals(8, 3, 4, 4)
    y = networks.beside_deviation(x)
    assert y.shape == (8, 4, 4, 4) and torch.equal(y[:, :3], x)
    for group in (slice(0, 4), slice(4, 8)):
        expected = x[group].std(0, unbiased=False).mean()
        assert torch.allclose(y[group, 3], expected.expand(4, 4, 4), atol=1e-5)
    same = networks.beside_deviation(x[:1].expand(6, 3, 4, 4))  # groups of three
    assert same[:, 3].abs().max() < 1e-3
    assert networks.beside_deviation(x[:7]).shape == (7, 4, 4, 4)  # groups of one


# ---- penalties -----------------------------------------------------------------------------------


class Ramp(nn.Module):
    """A linear discriminator: its gradient is its weight, whatever the image."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor, y: Tensor | None) -> Tensor:
        return (images * self.weight).sum((1, 2, 3))


def test_r1_of_a_linear_discriminator() -> None:
    gan = Stylegan2(r1_weight=0.3, r1_every=8)
    weight = torch.randn(1, 8, 8, generator=stream())
    gan.model_ = nn.ModuleDict({"discriminator": Ramp(weight)})
    loss = gan._r1((torch.from_numpy(digits(20).x),), stream())
    assert loss.item() == pytest.approx(0.3 / 2 * 8 * weight.square().sum().item(), rel=1e-5)
    loss.backward()
    assert torch.allclose(gan.model_.discriminator.weight.grad, 0.3 * 8 * weight, rtol=1e-4)


def test_r1_of_the_network_is_its_finite_difference(fitted: tuple[Stylegan2, Samples]) -> None:
    gan, real = fitted
    discriminator = gan.model_.discriminator.double()
    try:
        x = torch.from_numpy(real.x[:2]).permute(0, 3, 1, 2).double() / 127.5 - 1
        y, h = torch.from_numpy(real.y[:2]), 1e-6  # type: ignore[index]
        with torch.no_grad():
            steps = [
                x.clone().index_put_(
                    (torch.tensor([k % 2]), *(torch.tensor([v]) for v in (0, k // 16, k // 2 % 8))),
                    torch.tensor(h, dtype=x.dtype),
                    accumulate=True,
                )
                for k in range(128)
            ]
            base = _double_logits(discriminator, x, y).sum()
            squares = sum(
                ((_double_logits(discriminator, s, y).sum() - base) / h).square() for s in steps
            )
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(_double_logits(discriminator, leaf, y).sum(), leaf)
        assert gradient.square().sum().item() == pytest.approx(float(squares), rel=1e-3)
    finally:
        discriminator.float()
    loss = gan._r1((torch.from_numpy(real.x[:2]), y), stream())
    assert loss.item() == pytest.approx(float(squares) / 2 * 0.64 / 2 * gan.r1_every, rel=1e-2)


def _double_logits(discriminator: networks.Discriminator, x: Tensor, y: Tensor) -> Tensor:
    """The network's logits without its last rounding to float32."""
    features = discriminator.blocks(networks.leaky(discriminator.from_image(x)))
    features = networks.leaky(discriminator.conv(_deviation_in_double(features)))
    features = networks.leaky(discriminator.dense(features.flatten(1)))
    assert discriminator.embed is not None
    label = networks.unit(
        discriminator.embed(functional.one_hot(y, discriminator.classes).to(x.dtype))
    )
    return discriminator.out(features)[:, 0] + (features * label).sum(1) * features.shape[1] ** -0.5


def _deviation_in_double(x: Tensor) -> Tensor:
    deviation = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()
    return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], dim=1)


class Plane(nn.Module):
    """A linear generator w -> image: the path length of v is |J^T v|."""

    path_mean: Tensor

    def __init__(self, jacobian: Tensor) -> None:
        super().__init__()
        self.jacobian, self.noise_sizes = nn.Parameter(jacobian), [1]
        self.register_buffer("path_mean", torch.zeros(()))

    def mapping(self, z: Tensor, y: Tensor | None) -> Tensor:
        return z.requires_grad_()

    def draw(self, w: Tensor, noise: Tensor) -> Tensor:
        return (w @ self.jacobian).view(len(w), 1, 8, 8)


def test_path_lengths_of_a_linear_generator_and_their_moving_mean() -> None:
    gan = Stylegan2(path_weight=2.0, path_every=4, latent=50)
    jacobian = torch.randn(50, 64, generator=stream())
    gan.model_ = nn.ModuleDict({"generator": Plane(jacobian)})
    batch = (torch.zeros(400, 8, 8, 1, dtype=torch.uint8),)
    loss = gan._path_loss(batch, stream())
    mean = gan.model_.generator.path_mean.item()
    length = mean / PATH_DECAY  # v is normal with variance 1 / pixels: E |J^T v|^2 = |J|^2 / 64
    assert length == pytest.approx((jacobian.square().sum().item() / 64) ** 0.5, rel=0.03)
    spread = loss.item() / 8 - (length - mean) ** 2  # E (l - a)^2 = var l + (E l - a)^2
    assert 0 < spread < 0.1 * length**2
    gan._path_loss(batch, stream(1))
    assert gan.model_.generator.path_mean.item() == pytest.approx(mean * (2 - PATH_DECAY), rel=0.02)
    loss.backward()
    assert gan.model_.generator.jacobian.grad.abs().max() > 0


# ---- augmentation --------------------------------------------------------------------------------


def test_augmentation_is_the_identity_at_0_and_changes_every_image_at_1() -> None:
    x = torch.rand(64, 3, 16, 16, generator=stream()) * 2 - 1
    assert torch.equal(augmented(x, torch.tensor(0.0), stream(), flip=True), x)
    changed = (augmented(x, torch.tensor(1.0), stream()) != x).flatten(1).any(1)
    assert changed.all()
    some = (augmented(x, torch.tensor(0.1), stream()) != x).flatten(1).any(1)
    assert 0.2 < some.float().mean() < 0.7  # at most 1 - 0.9^6 = 0.47 of them, give or take
    flipped, unflipped = (augmented(x, torch.tensor(1.0), stream(), flip=f) for f in (True, False))
    assert not torch.equal(flipped, unflipped)


def test_augmentation_is_differentiable_twice() -> None:
    x = (normals(4, 3, 8, 8) / 3).requires_grad_()
    y = augmented(x, torch.tensor(0.7), stream()).square().sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    direction = normals(4, 3, 8, 8, seed=1)
    h = 1e-5
    with torch.no_grad():
        up, down = (
            augmented(x + s * h * direction, torch.tensor(0.7), stream()).square().sum()
            for s in (1, -1)
        )
    assert (gradient * direction).sum().item() == pytest.approx(
        ((up - down) / (2 * h)).item(), rel=1e-3
    )
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert torch.isfinite(second).all() and second.abs().max() > 0


def test_a_shift_moves_whole_pixels_and_reflects_at_the_edge() -> None:
    rows = torch.arange(16.0).view(1, 1, 16, 1).expand(200, 1, 16, 16)
    moved = _moved(rows, Chance(rows, torch.tensor(1.0), stream()), flip=False)
    shifts = moved[:, 0, 8, 0] - 8
    assert set(shifts.int().tolist()) == {-2, -1, 0, 1, 2} and torch.equal(shifts, shifts.round())
    two = moved[shifts == 2][0, 0, :, 0]
    assert two.tolist() == [*range(2, 16), 14, 13]


@pytest.mark.parametrize(("logit", "moves"), [(5.0, 1), (-5.0, -1)])
def test_the_probability_follows_the_sign_of_the_discriminator_on_real_images(
    logit: float, moves: int
) -> None:
    gan = Stylegan2(augment="ada", augment_images=1000)
    gan.model_ = nn.ModuleDict({"discriminator": networks.Discriminator([4, 4], 1, 0)})
    discriminator = gan.model_.discriminator
    discriminator.augment_p.fill_(0.5)
    discriminator.real_sign.fill_(gan.augment_target)
    gan._adapt(torch.full((10,), logit))
    assert discriminator.augment_p.item() == pytest.approx(0.5 + moves * 0.01)
    for _ in range(200):
        gan._adapt(torch.full((10,), logit))
    assert discriminator.augment_p.item() == (1 if moves > 0 else 0)


# ---- the part ------------------------------------------------------------------------------------


def test_truncation_to_0_leaves_one_picture_per_class(fitted: tuple[Stylegan2, Samples]) -> None:
    gan = fitted[0]
    labels = np.repeat(np.arange(10), 20)
    convs = gan.model_.generator.convs
    strengths = [conv.strength.data.clone() for conv in convs]
    noisy = gan.sample(200, rng(2), labels, bias=0.0).x
    for conv in convs:
        conv.strength.data.zero_()
    try:
        spread = [
            np.mean(
                [
                    gan.sample(200, rng(2), labels, bias=b).x[labels == k].std(0).mean()
                    for k in range(10)
                ]
            )
            for b in (0.0, 0.5, 1.0)
        ]
        still = gan.sample(200, rng(2), labels, bias=0.0).x
    finally:
        for conv, strength in zip(convs, strengths, strict=True):
            conv.strength.data.copy_(strength)
    assert spread[0] < 0.2 and spread[0] < spread[1] < spread[2]
    assert len({still[labels == k][0].tobytes() for k in range(10)}) == 10, "each class has its own"
    assert noisy[labels == 3].std(0).mean() > 1, "what is left is the noise"


def test_the_ith_sample_depends_on_the_stream_and_its_label_only(
    fitted: tuple[Stylegan2, Samples],
) -> None:
    gan = fitted[0]
    labels = np.arange(300) % 10
    few, many = gan.sample(7, rng(5), labels[:7]), gan.sample(300, rng(5), labels)
    assert (
        np.abs(few.x.astype(int) - many.x[:7].astype(int)).max() <= 1
    )  # another batch size may round otherwise
    other = gan.sample(300, rng(5), np.roll(labels, 1))
    assert not np.array_equal(other.x, many.x)
    assert not np.array_equal(gan.sample(7, rng(6), labels[:7]).x, few.x)


@pytest.mark.parametrize(("shape", "labelled"), [((28, 28, 1), True), ((12, 20, 3), False)])
def test_pictures_of_any_size_and_colour(
    shape: tuple[int, int, int], labelled: bool, tmp_path: Path
) -> None:
    x = rng().integers(0, 256, (16, *shape)).astype(np.uint8)
    gan = Stylegan2(**{**SMALL, "steps": 1}, augment="ada", flip=True, path_weight=1.0)
    gan.fit(Samples(x, np.arange(16) % 3 if labelled else None), rng())
    drawn = gan.sample(5, rng())
    assert (
        drawn.x.shape == (5, *shape)
        and drawn.x.dtype == np.uint8
        and (drawn.y is not None) == labelled
    )
    gan.save(tmp_path)
    loaded = Stylegan2(**SMALL)
    loaded.load(tmp_path)
    assert np.array_equal(drawn.x, loaded.sample(5, rng()).x)


def test_what_is_kept_is_the_average_of_the_weights() -> None:
    real = digits(60)
    kept = {}
    for ema in (0.0, 0.5, 0.999):
        gan = Stylegan2(**SMALL, ema=ema)
        gan.fit(real, rng(1))
        kept[ema] = torch.cat([p.detach().flatten() for p in gan.model_.generator.parameters()])
    untrained = Stylegan2(**{**SMALL, "steps": 1, "lr": 1e-12}, ema=0.0)
    untrained.fit(real, rng(1))
    start = torch.cat([p.detach().flatten() for p in untrained.model_.generator.parameters()])
    way = [(kept[ema] - start).norm().item() for ema in (0.0, 0.5, 0.999)]
    assert way[0] > way[1] > way[2] > 0


def test_unconditional_warm_start_and_findings(tmp_path: Path) -> None:
    real = digits(60)
    gan = Stylegan2(**SMALL, conditional=False, warm_start=True)
    gan.fit(real, rng(1))
    assert gan.sample(3, rng(), np.arange(3)).y is None
    gan.save(tmp_path)
    again = Stylegan2(
        **{**SMALL, "steps": 1, "lr": 1e-9}, conditional=False, warm_start=True, ema=0.0
    )
    again.load(tmp_path)
    before = again.model_.discriminator.out.weight.detach().clone()
    again.fit(real, rng(2))
    assert torch.allclose(again.model_.discriminator.out.weight, before, atol=1e-6)
    with pytest.raises(Finding, match="class 12"):
        labelled = Stylegan2(**{**SMALL, "steps": 1})
        labelled.fit(real, rng())
        labelled.sample(1, rng(), np.array([12]))
    with pytest.raises(Finding) as caught:
        Stylegan2(**{**SMALL, "steps": 30}, lr=1e12).fit(real, rng())
    assert caught.value.status == "diverged"


@pytest.mark.slow
def test_its_digits_are_known_to_a_classifier_of_real_ones() -> None:
    real = digits(1200)
    gan = Stylegan2(steps=500, ema=0.99)
    gan.fit(real, rng(1))
    judge = classifiers.fit(real, 10, rng(3), steps=200, lr=1e-2)
    drawn = gan.sample(500, rng(2), given(real, 500))
    assert np.mean(classifiers.logits(judge, drawn.x).argmax(1) == drawn.y) > 0.6
