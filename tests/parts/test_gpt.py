"""The language model: its loss against the formula, its density, its cache against no cache, and
what transformers makes of its files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.generators._choices import Tempered
from engine.generators.gpt import Gpt
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples, Traits

SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "warmup": 5}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def text(x: np.ndarray, vocabulary: int, y: np.ndarray | None = None, classes: int = 0) -> Samples:
    """Texts [n, length] of one replicate."""
    traits = Traits("text", classes, 1, vocabulary=vocabulary)
    return Samples(x[:, None].astype(np.uint8), y, traits=traits)


def fit(data: Samples, **params: Any) -> Gpt:
    model = Gpt(**{**SMALL, "steps": 4, **params})
    model.fit(data, rng())
    return model


def language(n: int = 40, **params: Any) -> Samples:
    law = {"outcomes": 4, "length": 6, "replicates": 2, **params}
    data: Samples = make("dataset", "markov", **law).sample(n, rng())
    return data


def log_softmax(logits: np.ndarray) -> np.ndarray:
    values: np.ndarray = torch.from_numpy(logits).double().log_softmax(-1).numpy()
    return values


# ---- the loss ------------------------------------------------------------------------------------


def surprise(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, y, reduction="none")


def test_truncated_cross_entropy_has_the_gradient_of_its_formula() -> None:
    """1[p_y <= gamma] (p - e_y) / number of all tokens, and at gamma = 1 cross entropy's bits."""
    logits = 3 * torch.from_numpy(rng().standard_normal((200, 5)))
    y = torch.from_numpy(rng(1).integers(0, 5, 200))
    p = logits.softmax(-1)
    p_y = p[torch.arange(200), y]
    assert 10 < int((p_y > 0.7).sum()) < 190
    for gamma in (0.7, 1.0):
        at = logits.clone().requires_grad_()
        loss = Gpt(loss="tce", gamma=gamma).learnt(surprise(at, y)).mean()
        loss.backward()
        wanted = (p_y <= gamma)[:, None] * (p - torch.eye(5)[y]) / 200
        assert at.grad is not None and torch.allclose(at.grad, wanted, atol=1e-12)
    assert loss == Gpt().learnt(surprise(logits, y)).mean()
    assert loss.item() == pytest.approx(surprise(logits, y).mean().item(), rel=1e-14)


@pytest.mark.parametrize(
    ("q", "gamma", "wanted"),
    [
        ((0.9, 0.04, 0.03, 0.02, 0.01), 0.8, (0.8, 0.08, 0.06, 0.04, 0.02)),
        ((0.97, 0.02, 0.01), 0.9, (0.9, 0.2 / 3, 0.1 / 3)),
        ((0.6, 0.3, 0.1), 0.8, (0.6, 0.3, 0.1)),
    ],
)
def test_truncated_cross_entropy_comes_to_the_capped_law(
    q: tuple[float, ...], gamma: float, wanted: tuple[float, ...]
) -> None:
    model, share = Gpt(loss="tce", gamma=gamma), torch.tensor(q, dtype=torch.float64)
    logits = torch.zeros(len(q), dtype=torch.float64, requires_grad=True)
    tokens = torch.arange(len(q))
    for step in range(600):
        loss = (share * model.learnt(surprise(logits.expand(len(q), -1), tokens))).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            logits -= 8 / (1 + step / 20) * slope
    assert logits.softmax(0).tolist() == pytest.approx(wanted, abs=0.01)


def test_truncation_hides_no_loss_that_is_not_a_number() -> None:
    assert Gpt(loss="tce").learnt(torch.tensor([torch.nan, 0.0])).isnan().any()


def test_training_comes_near_the_entropy_of_the_language() -> None:
    dataset = make("dataset", "markov", outcomes=4, length=8, concentration=0.3)
    model = fit(dataset.sample(600, rng()), steps=150, lr=0.02)
    found = -float(model.log_density(dataset.held_out(500).x).mean()) / 8
    assert dataset.entropy() < found < dataset.entropy() + 0.05


# ---- density and cache ---------------------------------------------------------------------------


def test_the_density_sums_to_one_and_is_that_of_its_logits() -> None:
    model = fit(language(outcomes=3, length=4))
    every = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), -1).reshape(-1, 1, 4)
    x = np.repeat(every, 2, axis=1)
    density = model.log_density(x)
    assert np.exp(density).sum(0) == pytest.approx([1, 1], abs=1e-5)
    each = np.take_along_axis(log_softmax(model.logits(x)), x[..., None], -1)[..., 0]
    assert each.sum(-1) == pytest.approx(density, abs=1e-4)


def test_with_its_cache_it_writes_what_it_writes_without() -> None:
    model = fit(language(), steps=30)
    greedy = model.sample(5, rng(), bias=0.0).x
    again = np.zeros_like(greedy)
    for i in range(greedy.shape[-1]):
        again[..., i] = model.logits(again)[..., i, :].argmax(-1)
    assert np.array_equal(greedy, again)


def test_prompts_are_kept_and_parents_hand_down_their_texts() -> None:
    """Rows that continue others have the others' past: in what is written, and in the cache."""
    model, seen = fit(language(), steps=10), list[np.ndarray]()

    def choose(logits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        seen.append(logits)
        parents = 2 * rng.integers(0, 5, (5, 2)) + np.arange(2)  # of 5 texts in 2 replicates
        return rng.integers(0, 4, 10), parents.ravel()

    prompts = rng(1).integers(0, 4, (5, 2, 2))
    x = model.generate(5, choose, rng(), prompts)
    assert x.shape == (5, 2, 6) and len(seen) == 4
    begun = {tuple(prompt) for prompt in prompts[:, 0]}
    assert {tuple(text) for text in x[:, 0, :2]} <= begun
    last = 2 * rng_of_parents(4) + np.arange(2)
    expected = model.logits(x)[..., -1, :].reshape(10, 4)
    assert seen[-1][last.ravel()] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="gpt: prompts are 5 x 2 x at most 6 tokens here"):
        model.generate(5, Tempered(), rng(), np.zeros((5, 2, 7), int))


def rng_of_parents(asked: int) -> np.ndarray:
    """The parents that the last of so many choices picked."""
    stream = rng()
    for _ in range(asked):
        parents = stream.integers(0, 5, (5, 2))
        stream.integers(0, 4, 10)
    return parents


def test_a_sample_is_what_the_plain_choice_generates() -> None:
    model = fit(language())
    assert np.array_equal(model.sample(7, rng(3)).x, model.generate(7, Tempered(), rng(3)))


@pytest.mark.parametrize("on_a_gpu", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_the_choice_follows_its_law(temperature: float, on_a_gpu: bool) -> None:
    """Of arrays, and of tensors, which are what it is given on a GPU."""
    p = np.array([0.5, 0.0, 0.3, 0.2])
    with np.errstate(divide="ignore"):
        logits: Any = np.tile(np.log(p), (20_000, 1)).astype(np.float32)
    if on_a_gpu:
        logits = torch.from_numpy(logits)
    tokens, _ = Tempered(temperature)(logits, rng())
    found = np.bincount(tokens, minlength=4) / 20_000
    wanted = p ** (1 / temperature) if temperature else np.array([1.0, 0, 0, 0])
    assert found[1] == 0
    assert np.abs(found - wanted / wanted.sum()).max() < 4 * 0.5 / np.sqrt(20_000)


# ---- labels --------------------------------------------------------------------------------------


def test_each_class_has_a_beginning_of_its_own() -> None:
    """Two classes of one token each: drawn by label, and a mixture in the density."""
    y = np.arange(40) % 2
    model = fit(text(np.tile(y[:, None], 5), 3, y, 3), steps=60, lr=0.02)
    drawn = model.sample(20, rng(), y[:20])
    assert (drawn.x[:, 0] == y[:20, None]).mean() > 0.95
    assert np.exp(model.log_density(drawn.x)).max() == pytest.approx(0.5, abs=0.1)
    with pytest.raises(Finding, match="class 2 is asked for"):
        model.sample(3, rng(), np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="trained on 2 classes; give the labels"):
        model.generate(3, Tempered(), rng())


# ---- what may be degenerate ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((30, 6)),
        rng().integers(0, 2, (30, 6)),
        rng().integers(0, 2, (3, 6)),
        rng().integers(0, 2, (30, 1)),
        rng().integers(0, 2, (1, 1)),
    ],
    ids=["all equal", "two tokens", "fewer than a batch", "of one token", "a single token"],
)
def test_it_learns_what_is_degenerate(x: np.ndarray) -> None:
    model = fit(text(x, 2), steps=25, lr=0.03)
    drawn = model.sample(50, rng()).x
    assert drawn.shape == (50, 1, x.shape[1])
    assert abs(drawn.mean() - x.mean()) < 0.35
    assert np.isfinite(model.log_density(drawn)).all()


def test_a_learning_rate_that_is_too_high_is_a_finding() -> None:
    with pytest.raises(Finding, match="diverged"):
        fit(language(), lr=1e30, steps=10)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="gpt: width 20 is not an even number of units for each"):
        Gpt(width=20, heads=4)
    with pytest.raises(ValueError, match="would never learn"):
        Gpt(gamma=0.0)
    unknown = Samples(np.zeros((4, 1, 3), np.uint8), traits=Traits("text", 0, 1))
    with pytest.raises(ValueError, match="declare VOCABULARY"):
        fit(unknown)


def test_micro_batches_and_weight_decay_change_what_they_say() -> None:
    """Parts of a batch add up to its step; weight decay lessens matrices."""
    data = language(n=16)
    whole, split, decayed = (
        fit(data, steps=3, batch=8, **own)
        for own in ({}, {"micro_batch": 3}, {"weight_decay": 50.0})
    )
    assert split.logits(data.x) == pytest.approx(whole.logits(data.x), abs=1e-3)
    usual, less = (m.nets_[0].module.get_input_embeddings().weight for m in (whole, decayed))
    assert less.detach().norm() < 0.9 * usual.detach().norm()


# ---- warm starts and files -----------------------------------------------------------------------


def test_it_goes_on_from_networks_of_the_same_shape_alone() -> None:
    data, other = language(), language(outcomes=5)
    warm = fit(data, warm_start=True)
    first = warm.nets_[0].module
    warm.fit(data, rng(1))
    assert warm.nets_[0].module is first
    warm.fit(other, rng(1))
    assert warm.nets_[0].module is not first and len(warm.nets_) == 2


def test_transformers_opens_what_it_saves(tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    data = text(rng().integers(0, 65, (20, 10)), 65)
    model = fit(data, width=64, layers=2, heads=4)
    model.save(tmp_path)
    opened: Any = LlamaForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert opened.num_parameters() == 102_592 and opened.config.bos_token_id == 65
    x = torch.from_numpy(data.x[:, 0].astype(np.int64))
    fed = torch.cat([torch.full((20, 1), 65), x[:, :-1]], 1)
    with torch.no_grad():
        logits = opened(fed).logits[..., :65].numpy()
    assert logits == pytest.approx(model.logits(data.x)[:, 0], abs=1e-5)
