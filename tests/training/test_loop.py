"""The training loop: right answers, named randomness, replicates that do not meet, findings instead
of numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from engine.parts import Finding
from engine.training.device import device, new_accelerator, seeded, tensor
from engine.training.loop import Loss, Training, Turn, train
from engine.training.minibatches import Minibatches, take
from engine.training.stacked import (
    STACK_PAYS,
    StackedLinear,
    Standardise,
    fast_products,
    stacked_mlp,
)
from engine.training.weights import load_weights, save_weights


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def regression(n: int = 256, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x = rng(1).standard_normal((n, d)).astype(np.float32)
    return x, (x @ np.array([1.0, -2.0, 0.5]) + 3 + 0.1 * rng(2).standard_normal(n)).astype(
        np.float32
    )


def squares(model: nn.Module) -> Loss:
    return lambda batch, noise: (model(batch[0]).squeeze(-1) - batch[1]).square().mean()


def linear(seed: int = 0) -> nn.Linear:
    with seeded(rng(seed)):
        return nn.Linear(3, 1)


# ---- accelerate ----------------------------------------------------------------------------------


def test_a_second_accelerator_gets_the_precision_it_asks_for() -> None:
    """Uses private names of accelerate; when they change, this must fail rather than train in
    another precision.
    """
    for precision in ("no", "bf16", "no", "bf16"):
        assert new_accelerator(precision).mixed_precision == precision  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="already been initialized"):
        Accelerator(
            mixed_precision="fp16" if torch.cuda.is_available() else "no",
            cpu=not torch.cuda.is_available(),
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes fp16")
def test_fp16_is_refused_without_a_gpu() -> None:
    with pytest.raises(ValueError, match="bf16"):
        new_accelerator("fp16")


def test_scaled_gradients_go_through_the_accelerators_optimiser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only its step tells the scaler that one was taken, and the scale grows."""
    accelerator = new_accelerator()
    accelerator.scaler = torch.amp.GradScaler("cpu", growth_interval=5)
    before = accelerator.scaler.get_scale()
    monkeypatch.setattr("engine.training.loop.new_accelerator", lambda _: accelerator)
    model = linear()
    train([Turn(model, squares(model), 0.1)], regression(), rng(), Training(steps=10, batch=32))
    assert accelerator.scaler.get_scale() == 4 * before


def test_bf16_is_in_effect_inside_the_loss() -> None:
    model, seen = linear(), []

    def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        seen.append(model(batch[0]).dtype)
        return model(batch[0]).float().square().mean()

    for precision in ("bf16", "no"):
        how = Training(steps=1, batch=8, precision=precision)  # type: ignore[arg-type]
        train([Turn(model, loss, lr=1e-3)], [regression()[0]], rng(), how)
    assert seen == [torch.bfloat16, torch.float32]
    assert next(model.parameters()).dtype == torch.float32


# ---- the loop ------------------------------------------------------------------------------------


def test_training_finds_the_least_squares_solution() -> None:
    x, y = regression()
    model = linear()
    report = train(
        [Turn(model, squares(model), lr=0.05)],
        [x, y],
        rng(),
        Training(steps=600, batch=64, decay=True),
    )
    exact = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    assert np.allclose([*model.weight.detach().ravel(), model.bias.item()], exact, atol=2e-3)
    assert report["steps"] == 600 and report["loss"] < 0.02 < report["loss/first"]


def test_equal_streams_give_equal_bits_and_others_do_not() -> None:
    def weights(seed: int) -> Tensor:
        model = nn.Sequential(linear(), nn.Dropout(0.5))  # dropout reads torch's global stream
        train(
            [Turn(model, squares(model), lr=0.1)],
            regression(),
            rng(seed),
            Training(steps=20, batch=16),
        )
        return model[0].weight.detach()

    first = weights(5)
    torch.manual_seed(99)
    assert torch.equal(first, weights(5))
    assert not torch.equal(first, weights(6))


def test_the_global_stream_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model = linear(3)
    train(
        [Turn(model, squares(model), lr=0.1)],
        regression(),
        rng(),
        Training(steps=3, batch=16),
    )
    assert torch.equal(torch.rand(3), expected)


def test_every_turn_changes_its_own_network_only() -> None:
    one, two, calls = linear(1), linear(2), {"one": 0, "two": 0}

    def both(name: str) -> Loss:
        def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
            calls[name] += 1
            return (one(batch[0]) + two(batch[0]) - batch[1][:, None]).square().mean()

        return loss

    before = two.weight.detach().clone()
    turns = [
        Turn(one, both("one"), lr=0.1, repeats=3, name="one"),
        Turn(two, both("two"), lr=1e-30, name="two"),
    ]
    report = train(turns, regression(), rng(), Training(steps=4, batch=16))
    assert calls == {"one": 12, "two": 4}
    assert torch.allclose(two.weight, before, rtol=0, atol=1e-20) and set(report) >= {
        "one",
        "two",
        "one/first",
    }


def test_ema_is_the_exponential_average_of_the_weights() -> None:
    model, seen = linear(), []
    turn = Turn(
        model, squares(model), lr=0.1, after=lambda: seen.append(model.weight.detach().clone())
    )
    train([turn], regression(), rng(), Training(steps=6, batch=16, ema=0.7))
    average = seen[0]
    for weight in seen[1:]:
        average = 0.7 * average + 0.3 * weight
    assert torch.allclose(model.weight, average, atol=1e-6) and not torch.allclose(
        model.weight, seen[-1], atol=1e-3
    )


def test_images_stay_uint8_until_the_loss() -> None:
    model, seen = nn.Linear(4, 1), []

    def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        seen.append((batch[0].dtype, batch[0].device.type))
        return model(batch[0].float()).mean()

    train(
        [Turn(model, loss, lr=1e-3)],
        [np.ones((9, 4), np.uint8)],
        rng(),
        Training(steps=1, batch=4),
    )
    assert seen == [(torch.uint8, device().type)]


def test_read_only_arrays_are_copied_not_warned_about() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    assert torch.equal(tensor(array), torch.arange(3.0, dtype=torch.float64))


# ---- minibatches ---------------------------------------------------------------------------------


def test_an_epoch_visits_every_row_once() -> None:
    rows = Minibatches(12, 4, rng())
    epochs = [torch.cat([next(rows) for _ in range(3)]) for _ in range(2)]
    assert all(sorted(e.tolist()) == list(range(12)) for e in epochs) and not torch.equal(*epochs)
    ragged = Minibatches(10, 4, rng())
    assert [len(next(ragged)) for _ in range(5)] == [4] * 5
    assert len(next(Minibatches(3, 64, rng()))) == 3


def test_replicates_are_shuffled_apart() -> None:
    rows = next(Minibatches(50, 50, rng(), replicates=3))
    assert rows.shape == (50, 3)
    assert all(sorted(rows[:, r].tolist()) == list(range(50)) for r in range(3))
    assert not torch.equal(rows[:, 0], rows[:, 1])
    x = torch.arange(300).view(50, 3, 2)
    taken, labels = take([x, torch.arange(50)], rows)
    assert torch.equal(taken[7, 1], x[rows[7, 1], 1]) and torch.equal(labels, rows)


# ---- findings ------------------------------------------------------------------------------------


def test_divergence_is_a_finding() -> None:
    model = linear()

    def bursts(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        return model(batch[0]).exp().exp().mean()

    with pytest.raises(Finding, match="not finite at step") as caught:
        train(
            [Turn(model, bursts, lr=50.0)],
            [regression()[0]],
            rng(),
            Training(steps=30, batch=16),
        )
    assert caught.value.status == "diverged"


def test_a_diverged_replicate_is_named() -> None:
    model = StackedLinear(3, 2, 1)
    x = np.zeros((8, 3, 2), np.float32)

    def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        return model(batch[0].transpose(0, 1)).mean((1, 2)) / torch.tensor([1.0, 0.0, 1.0])

    with pytest.raises(Finding, match=r"replicates \[1\] of 3"):
        train(
            [Turn(model, loss, lr=1e-3)],
            [x],
            rng(),
            Training(steps=1, batch=4, replicates=3),
        )


def test_data_that_are_not_finite_are_refused_before_training() -> None:
    x, y = regression()
    x[5, 1] = np.nan
    with pytest.raises(Finding, match="training set"):
        train(
            [Turn(linear(), squares(linear()), lr=0.1)],
            [x, y],
            rng(),
            Training(steps=1, batch=4),
        )


# ---- stacks and files ----------------------------------------------------------------------------


def test_a_stack_computes_what_its_members_would() -> None:
    stack = stacked_mlp(3, (2, 5, 1), nn.Tanh)
    x = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(0))
    for r in range(3):
        first, last = stack[0], stack[2]
        alone = torch.tanh(x[r] @ first.weight[r] + first.bias[r]) @ last.weight[r] + last.bias[r]
        assert torch.allclose(stack(x)[r], alone, atol=1e-6)


@pytest.mark.parametrize("replicates", [2, STACK_PAYS])
def test_replicates_do_not_meet_in_training(replicates: int) -> None:
    def trained(x: np.ndarray) -> Tensor:
        with seeded(rng(3)):
            model = stacked_mlp(replicates, (2, 8, 1), nn.ReLU)

        def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
            return (model(batch[0].transpose(0, 1)) - 1).square().mean((1, 2))

        how = Training(steps=15, batch=16, replicates=replicates)
        train([Turn(model, loss, lr=0.01)], [x], rng(4), how)
        return model[0].weight.detach()

    x = rng(5).standard_normal((40, replicates, 2)).astype(np.float32)
    other = x.copy()
    other[:, 1] += 3
    a, b = trained(x), trained(other)
    assert torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])


def test_fast_products_are_exact_and_switched_back() -> None:
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    setting.fp32_precision = before = "none"
    a = torch.randn(8, 32, 32, generator=torch.Generator().manual_seed(1))
    with pytest.raises(KeyError), fast_products(16):
        assert torch.allclose(
            torch.bmm(a, a).double(), torch.bmm(a.double(), a.double()), atol=1e-4
        )
        raise KeyError
    assert setting.fp32_precision == before


def test_standardise_and_its_inverse() -> None:
    x = (rng().standard_normal((200, 3, 2)) * [4, 0.1] + [10, -3]).astype(np.float32)
    x[:, 2] = 5.0  # a constant replicate stays finite
    scale = Standardise(3, 2)
    scale.learn(x)
    z = scale(torch.from_numpy(x).transpose(0, 1))
    assert (
        torch.allclose(z[:2].std(1, correction=0), torch.ones(2, 2), atol=1e-4)
        and z[:2].mean(1).abs().max() < 1e-4
    )
    assert torch.isfinite(z).all() and torch.allclose(
        scale.inverse(z).transpose(0, 1), torch.from_numpy(x), atol=1e-4
    )


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    save_weights(model, tmp_path, {"channels": 2})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "weights.safetensors"]

    def build(config: dict[str, Any]) -> nn.Module:
        channels = config["channels"]
        return nn.Sequential(nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels))

    loaded, config = load_weights(tmp_path, build)
    assert config == {"channels": 2} and not loaded.training
    assert all(
        torch.equal(a, b.cpu())
        for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
