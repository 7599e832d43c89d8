"""GAN Memory: unit styles are the base, what was learnt of a task stays to the bit, a task's style
is all that it adds to the files, and whatever no class says is learnt again from the base.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.generators._styles import StyledGenerator, critic_of, normalised
from engine.generators.gan_memory import GanMemory
from engine.generators.wgan import ImageGan
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples
from engine.spec import Part
from engine.training import resume

SMALL: dict[str, Any] = {"steps": 5, "batch": 16, "width": 4, "latent": 6, "critic_steps": 1}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def real() -> Samples:
    digits: Samples = make("dataset", "digits").sample(400, rng())
    return digits


def of(*classes: int) -> Samples:
    """The real digits of these classes."""
    y = real().y
    assert y is not None
    return real().take(np.flatnonzero(np.isin(y, classes)))


def learnt(*tasks: tuple[int, ...], **params: Any) -> GanMemory:
    """A memory of these tasks, each learnt from its own rows and those of all before."""
    memory, seen = GanMemory(**{**SMALL, **params}), list[int]()
    for t, task in enumerate(tasks):
        seen += task
        memory.fit(of(*seen), rng(10 + t))
    return memory


def drawn(memory: GanMemory, *classes: int, n: int = 20) -> np.ndarray:
    return memory.sample(n, rng(2), np.resize(np.array(classes), n)).x


def images(shape: list[int], classes: int) -> ImageGan:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ImageGan(shape, 6, 4, [1] * classes)


@pytest.mark.parametrize("shape", [[8, 8, 1], [30, 21, 3]])
@pytest.mark.parametrize("classes", [0, 3])
def test_unit_styles_are_the_base(shape: list[int], classes: int) -> None:
    """gamma = std, beta = mean, b = the base's: equal but for the rounding of float32."""
    gan = images(shape, classes)
    style = StyledGenerator(gan.generator, gan.latent, classes)
    style.start_from_labels(gan.generator, range(classes))
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    y = torch.arange(50) % 3 if classes else None
    with torch.no_grad():
        own, base = style(z, y), gan.generator(z, y)
        assert torch.allclose(own, base, atol=1e-5)
        assert (gan.write(own).int() - gan.write(base).int()).abs().max() <= 1
        style.beta[1].mul_(1.5)
        assert not torch.allclose(style(z, y), base, atol=1e-3)


def test_a_kernel_is_normalised_by_itself_and_a_flat_one_is_its_mean() -> None:
    weight = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    weight[1, 2] = 0.7
    normal, deviation, mean = normalised(weight)
    assert deviation.shape == mean.shape == (3, 5, 1, 1) and deviation[1, 2] == 0
    assert torch.allclose(normal.mean((2, 3)), torch.zeros(3, 5), atol=1e-6)
    assert torch.allclose(deviation * normal + mean, weight, atol=1e-6)
    assert normalised(weight[:, :, 0, 0])[1].shape == (3, 1), "a row of a dense layer"


def test_a_task_has_two_numbers_for_each_filter_a_bias_and_its_labels() -> None:
    gan = images([28, 28, 1], 4)
    style = StyledGenerator(gan.generator, gan.latent, 2)
    rows, expected = 0, 0
    for name, weight in gan.generator.named_parameters():
        if name.endswith("weight") and weight.ndim > 1:
            out = weight.shape[1] if "ConvTranspose" in _kind(gan, name) else weight.shape[0]
            filters = weight.shape[0] if weight.ndim == 2 else weight.shape[0] * weight.shape[1]
            expected += 2 * filters + out
            rows = rows or out  # of the first layer, which reads the labels
    assert sum(p.numel() for p in style.parameters()) == expected + 2 * rows


def _kind(gan: ImageGan, weight: str) -> str:
    return type(gan.generator.get_submodule(weight.rpartition(".")[0])).__name__


def test_the_critic_of_a_task_begins_as_the_base_s() -> None:
    gan = images([8, 8, 1], 2)
    critic = critic_of(gan.critic, [0, 1, 0], 3)
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.allclose(critic(x, y), gan.critic(x, torch.tensor([0, 1, 0, 0, 1, 0])), atol=1e-6)
    critic.out.weight.data.zero_()
    assert gan.critic.out.weight.abs().max() > 0, "a copy"
    assert torch.equal(critic_of(gan.critic, [], 2).out.weight[1:], torch.zeros(2, 64))


def test_an_old_task_never_changes_and_a_file_grows_by_the_style_alone(tmp_path: Path) -> None:
    memory, seen = GanMemory(**SMALL), list[int]()
    before: dict[tuple[int, ...], np.ndarray] = {}
    sizes = []
    for t, task in enumerate([(0, 1), (2, 3), (4, 5, 6)]):
        seen += task
        memory.fit(of(*seen), rng(t))
        for old, x in before.items():
            assert np.array_equal(drawn(memory, *old), x), f"{old} after {task}"
        before[task] = drawn(memory, *task)
        folder = tmp_path / str(t)
        folder.mkdir()
        memory.save(folder)
        sizes.append({p.name: p.read_bytes() for p in (folder / "base").iterdir()})
        assert memory.tasks_[-1] == list(task)
    assert sizes[0] == sizes[1] == sizes[2], "the base is what it was"
    numbers = [sum(p.numel() for p in memory.styles_[t].parameters()) for t in (1, 2)]
    bytes_ = [(tmp_path / str(t) / "weights.safetensors").stat().st_size for t in range(3)]
    for t in (1, 2):
        header = bytes_[t] - bytes_[t - 1] - 4 * numbers[t - 1]
        assert 0 < header < 2500, "names and shapes"
    loaded = GanMemory(**SMALL)
    loaded.load(tmp_path / "2")
    assert np.array_equal(drawn(loaded, *seen), drawn(memory, *seen))
    again = GanMemory(**SMALL)
    again.load(tmp_path / "1")  # as a lineage goes on: from the files of the generation before
    again.fit(of(*seen), rng(2))
    assert np.array_equal(drawn(again, *seen), drawn(memory, *seen))


def test_a_task_comes_to_the_same_whatever_was_learnt_between() -> None:
    short, long = learnt((0, 1)), learnt((0, 1), (7,))
    for memory in (short, long):
        memory.fit(of(2, 3), rng(5))
    assert np.array_equal(drawn(short, 2, 3), drawn(long, 2, 3))
    assert not np.array_equal(drawn(short, 2), drawn(short, 3)), "classes of a task differ"


def test_without_a_new_class_each_task_is_learnt_again_from_the_base() -> None:
    memory = learnt((0, 1), (2, 3), (4, 5))
    before = {task: drawn(memory, *task) for task in ((0, 1), (2, 3), (4, 5))}
    report = memory.fit(of(0, 1, 2), rng(8))
    assert {k for k in report if k.startswith("critic/task")} == {"critic/task_0", "critic/task_1"}
    assert not np.array_equal(drawn(memory, 0, 1), before[0, 1])
    assert np.array_equal(drawn(memory, 4, 5), before[4, 5]), "none of its rows was there"
    with pytest.raises(Finding, match="class 3") as caught:
        drawn(memory, 2, 3)
    assert caught.value.status == "extinct"
    assert np.array_equal(drawn(learnt((0, 1)), 0, 1), before[0, 1])
    memory.fit(of(0, 3), rng(8))
    assert memory.tasks_ == [[0, 1], [2], [4, 5], [3]], "a class that was gone is new again"


def test_a_base_from_a_folder_is_frozen_and_every_task_has_a_style(tmp_path: Path) -> None:
    gan = make("generator", "wgan", steps=5, width=4, latent=6, conditional=True)
    gan.fit(of(8, 9), rng(3))
    gan.save(tmp_path)
    params = {k: v for k, v in SMALL.items() if k not in ("width", "latent")}
    memory = GanMemory(**params, base=str(tmp_path))
    memory.fit(of(0, 1, 2), rng(4))
    for name, weight in gan.model_.generator.state_dict().items():
        assert torch.equal(memory.base_.model_.generator.state_dict()[name], weight), name
    assert sorted(memory.styles_) == [0]
    with pytest.raises(Finding, match="class 8"):
        drawn(memory, 8)
    still = GanMemory(**{**params, "steps": 1, "lr": 1e-12}, base=str(tmp_path))
    still.fit(of(0, 1), rng(4))  # a style that has learnt nothing draws as the base
    own, base = drawn(still, 0, 1), gan.sample(20, rng(2), np.resize([8, 9], 20)).x
    assert np.abs(own.astype(int) - base.astype(int)).max() <= 1


def test_a_base_is_in_the_key_by_what_it_holds(tmp_path: Path) -> None:
    gan, folders = make("generator", "wgan", steps=1, width=4, latent=6), []
    for name, classes in (("one", (8,)), ("again", (8,)), ("other", (9,))):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        gan.fit(of(*classes), rng(3))
        gan.save(folders[-1])
    one, again, other = (Part("generator", "gan_memory", {"base": str(f)}) for f in folders)
    assert one.canonical == again.canonical != other.canonical
    assert one.continues and "base" in one.canonical


@pytest.mark.parametrize(
    ("shape", "text", "said"),
    [
        ((8, 8, 3), None, r"draws images \[8, 8, 1\]"),
        ((8, 8, 1), "{}", "holds another network"),
        ((8, 8, 1), "no JSON", "cannot be read"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(
    shape: tuple[int, ...], text: str | None, said: str, tmp_path: Path
) -> None:
    gan = make("generator", "wgan", steps=1, width=4, latent=6)
    gan.fit(of(8), rng(3))
    gan.save(tmp_path)
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    memory = GanMemory(steps=1, base=str(tmp_path))
    with pytest.raises(ValueError, match=said):
        memory.fit(Samples(np.zeros((4, *shape), np.uint8), np.zeros(4, np.int64)), rng())
    with pytest.raises(ValueError, match="width belong to base"):
        GanMemory(width=8, base=str(tmp_path))


def test_unlabelled_images_are_one_task() -> None:
    memory, data = GanMemory(**SMALL), Samples(real().x, None)
    memory.fit(data, rng(1))
    first = memory.sample(9, rng(2))
    memory.fit(data, rng(1))
    second = memory.sample(9, rng(2))
    assert first.y is None and second.y is None and not np.array_equal(first.x, second.x)
    assert memory.tasks_ == [[0]] and sorted(memory.styles_) == [0]


class Memory:
    """A keeper that stops the training at its n-th state."""

    def __init__(self, writes: int) -> None:
        self.writes, self.states = writes, dict[str, bytes]()

    def read_partial(self, name: str) -> bytes | None:
        return self.states.get(name)

    def write_partial(self, name: str, data: bytes) -> None:
        self.states[name] = data
        self.writes -= 1
        if self.writes == 0:
            raise KeyboardInterrupt


def test_a_style_half_learnt_continues_to_the_same_bits() -> None:
    plain = learnt((0, 1), (2, 3), ema=0.5)
    memory, keeper = learnt((0, 1), ema=0.5), Memory(2)
    place = {"key": "k", "machine": "here", "seconds": 0.0}
    with (
        pytest.raises(KeyboardInterrupt),
        resume.keeping(resume.Place(keeper, **place)),  # type: ignore[arg-type]
    ):
        memory.fit(of(0, 1, 2, 3), rng(11))
    again = learnt((0, 1), ema=0.5)
    with resume.keeping(resume.Place(keeper, **place)) as used:  # type: ignore[arg-type]
        again.fit(of(0, 1, 2, 3), rng(11))
    assert used.speed["resumed_at_step"] == 2
    assert np.array_equal(drawn(again, 0, 1, 2, 3), drawn(plain, 0, 1, 2, 3))


@pytest.mark.slow
def test_two_tasks_of_digits_are_known_to_a_classifier_of_real_ones() -> None:
    from engine.training import classifiers

    whole = make("dataset", "digits").sample(1200, rng())
    memory = GanMemory(steps=300)
    for classes in ((0, 1), (0, 1, 2, 3)):
        memory.fit(whole.take(np.flatnonzero(np.isin(whole.y, classes))), rng(1))
    judge = classifiers.fit(whole, 10, rng(3), steps=200, lr=1e-2)
    labels = np.arange(400) % 4
    found = classifiers.logits(judge, memory.sample(400, rng(2), labels).x).argmax(1)
    assert [np.mean((found == labels)[labels == k]) > 0.6 for k in range(4)] == [True] * 4
