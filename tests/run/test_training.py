"""Training that is interrupted, split, shared between processes or asked to be lazy gives what
plain training gives.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.registry import make
from engine.store.store import Store
from engine.training import resume
from engine.training.device import seeded
from engine.training.loop import Loss, Training, Turn, _gradient, train
from tests.support.sweeps import files, lineages, results, run, sweep_of

VAE = """
# Question: a test of long generations
base:
  dataset: digits
  generator: {name: vae, steps: 40, width: 8, latent: 4, batch: 32, ema: 0.9}
  n_real: 100
seeds: 1
generations: 1
metrics: [classifier_accuracy]
"""


class Stopped(BaseException):
    """The machine is taken away."""


class Memory:
    """A keeper of half-trained models in memory; takes the machine away after so many writes."""

    def __init__(self, writes: int = 10**9) -> None:
        self.kept: dict[str, bytes] = {}
        self.writes = writes

    def read_partial(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def write_partial(self, name: str, data: bytes) -> None:
        self.kept[name] = data
        self.writes -= 1
        if self.writes == 0:
            raise Stopped


def digits(n: int = 120) -> Any:
    return make("dataset", "digits").sample(n, np.random.default_rng(0))


def weights(generator: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    generator.save(folder)
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def fitted(
    name: str, data: Any, **params: Any
) -> tuple[Any, np.random.Generator, dict[str, float]]:
    generator, rng = make("generator", name, **params), np.random.default_rng(3)
    return generator, rng, generator.fit(data, rng)


KINDS = {
    "conv": ("vae", {"steps": 30, "width": 8, "latent": 4, "batch": 32, "ema": 0.9}),
    "bf16": ("vae", {"steps": 30, "width": 8, "latent": 4, "batch": 32, "precision": "bf16"}),
    "words": ("gpt", {"steps": 12, "width": 8, "layers": 1, "heads": 2, "weight_decay": 0.1}),
    "stacked": ("wgan", {"steps": 12, "width": 8, "batch": 16, "critic_steps": 2, "ema": 0.5}),
}
OTHER_DATA = {"stacked": "mixture", "words": "markov"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stops", [(1,), (3, 7), (1, 1, 1)])
def test_a_training_continues_to_the_same_bits(
    kind: str, stops: tuple[int, ...], tmp_path: Path
) -> None:
    """Stopped after every n-th state that was kept and begun again: weights, report and the stream
    afterwards are the same.
    """
    name, params = KINDS[kind]
    data = digits()
    if kind in OTHER_DATA:
        dataset = make("dataset", OTHER_DATA[kind], replicates=3 if kind == "stacked" else 1)
        data = dataset.sample(100, np.random.default_rng(0))
    plain, rng, report = fitted(name, data, **params)
    keeper = Memory()
    for stop in (*stops, 10**9):
        keeper.writes = stop
        try:
            with resume.keeping(resume.Place(keeper, "key", "here", seconds=0)) as place:
                again, again_rng, again_report = fitted(name, data, **params)
        except Stopped:
            continue
    assert weights(again, tmp_path / "a") == weights(plain, tmp_path / "b")
    assert again_report == report and again_rng.random() == rng.random()
    assert place.speed["resumed_at_step"] == sum(stops)


class Slow(Memory):
    """Takes so many seconds of a clock for every state, beside those of making its bytes."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now, self.seconds = 0.0, seconds

    def write_partial(self, name: str, data: bytes) -> None:
        self.now += self.seconds
        super().write_partial(name, data)

    def bytes_of(self) -> bytes:
        self.now += self.seconds / 2
        return b"state"


@pytest.mark.parametrize(("write", "wait"), [(0.2, 180.0), (6.0, 180.0), (40.0, 1200.0)])
def test_states_take_a_twentieth_of_the_time_at_most(write: float, wait: float) -> None:
    """Between two is what a training of a day waits: 180 s, or 20 times what the last one took."""
    keeper = Slow(write)
    place = resume.Place(keeper, "key", clock=lambda: keeper.now)
    began: list[float] = []
    ended: list[float] = []
    while keeper.now < 86_400:
        if place.due():
            began.append(keeper.now)
            place.write("state", keeper.bytes_of)
            ended.append(keeper.now)
        keeper.now += 1.0
    waits = [b - a for a, b in zip([0.0, *ended], began, strict=False)]
    assert waits[0] == 180.0 and set(np.round(waits[1:], 6)) == {wait}
    share = len(began) * 1.5 * write / keeper.now
    assert share <= 0.05 and len(began) > 60


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("channels_last", [False, True])
def test_images_continue_in_either_memory_order(channels_last: bool, ema: float) -> None:
    """Where moments of Adam lay in another order than the weights, each weight would take a step
    by another one's: they would part by far more than by rounding.
    """
    x = np.random.default_rng(1).standard_normal((24, 3, 5, 5)).astype(np.float32)
    how = Training(steps=8, batch=8, ema=ema, channels_last=channels_last)

    def trained(keeper: Memory) -> tuple[dict[str, Tensor], dict[str, float]]:
        with seeded(np.random.default_rng(0)):
            model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 3))
        turn = Turn(model, lambda batch, noise: (model(batch[0]) - 1).square().mean(), lr=0.1)
        with resume.keeping(resume.Place(keeper, "key", seconds=0)) as place:
            train([turn], [x], np.random.default_rng(0), how)
        return model.state_dict(), place.speed

    plain, _ = trained(Memory())
    keeper = Memory(writes=3)
    with pytest.raises(Stopped):
        trained(keeper)
    keeper.writes = 10**9
    again, speed = trained(keeper)
    assert speed["resumed_at_step"] == 3
    assert [name for name in plain if not torch.equal(plain[name], again[name])] == []


def test_a_state_of_other_networks_is_not_continued() -> None:
    """It lies under this name, is whole, and says nothing against it."""
    keeper, narrow = Memory(3), {**KINDS["conv"][1], "width": 4}
    with pytest.raises(Stopped), resume.keeping(resume.Place(keeper, "key", "here", seconds=0)):
        fitted("vae", digits(), **narrow)
    keeper.writes = 10**9
    with resume.keeping(resume.Place(keeper, "key", "here", seconds=0)) as place:
        fitted("vae", digits(), **KINDS["conv"][1])
    assert "resumed_at_step" not in place.speed


@pytest.mark.parametrize("change", [{"machine": "elsewhere"}, {"micro_batches": 2}])
def test_a_state_of_another_machine_or_way_is_not_continued(
    change: dict[str, Any], tmp_path: Path
) -> None:
    name, params = KINDS["conv"]
    keeper, place = Memory(5), resume.Place(None, "key", "here", seconds=0)
    with pytest.raises(Stopped), resume.keeping(replace(place, keeper=keeper)):
        fitted(name, digits(), **params)
    keeper.writes = 10**9
    with resume.keeping(replace(place, keeper=keeper, seconds=1e9, **change)) as other:
        fitted(name, digits(), **params)
    assert "resumed_at_step" not in other.speed


def test_a_lineage_killed_inside_a_generation_continues_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "EVERY_SECONDS", 0.0)
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = sweep_of(VAE, tmp_path / "whole")
    run(whole)
    assert not (Path(whole.out) / "partial").exists() or not list(
        (Path(whole.out) / "partial").iterdir()
    )
    killed, write = sweep_of(VAE, tmp_path / "killed"), Store.write_partial
    written: list[str] = []

    def stopping(self: Store, name: str, data: bytes) -> None:
        write(self, name, data)
        written.append(name)
        if len(written) in (10, 55):
            raise Stopped

    monkeypatch.setattr(Store, "write_partial", stopping)
    for _ in range(2):
        with pytest.raises(Stopped):
            run(killed)
    chain = run(killed)[0]
    resumed = [row.speed.get("resumed_at_step") for row in chain.rows()]
    assert resumed == [10.0, 16.0]
    assert results(killed) == results(whole) and files(Path(killed.out)) == files(Path(whole.out))
    assert not list((Path(killed.out) / "partial").iterdir())


def test_micro_batches_make_the_same_step() -> None:
    """Without noise in the loss two halves give the whole minibatch's gradient, to rounding."""
    x = np.random.default_rng(1).standard_normal((64, 3)).astype(np.float32)

    def trained(parts: int) -> Tensor:
        with seeded(np.random.default_rng(0)):
            model = nn.Linear(3, 1)
        turn = Turn(model, lambda batch, noise: model(batch[0]).exp().mean(), lr=0.1)
        with resume.keeping(resume.Place(micro_batches=parts)):
            report = train([turn], [x], np.random.default_rng(0), Training(steps=20, batch=15))
        assert report.get("micro_batches", 1.0) == parts
        return model.weight.detach()

    assert torch.allclose(trained(1), trained(2), rtol=1e-5) and not torch.equal(
        trained(1), torch.zeros(1, 3)
    )


def test_turns_of_one_model_share_an_optimiser_and_lazy_ones_come_rarely() -> None:
    with seeded(np.random.default_rng(0)):
        model = nn.Linear(2, 1)
    seen: list[str] = []
    x = np.ones((8, 2), np.float32)

    def loss(which: str) -> Loss:
        def value(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
            seen.append(which)
            return model(batch[0]).square().mean()

        return value

    turns = [
        Turn(model, loss("main"), lr=0.1),
        Turn(model, loss("lazy"), lr=9.0, every=4, name="lazy"),
    ]
    report = train(turns, [x], np.random.default_rng(0), Training(steps=9, batch=8))
    assert (
        seen.count("main") == 9 and seen.count("lazy") == 3 and seen[:3] == ["main", "lazy", "main"]
    )
    assert np.isfinite(report["lazy/first"]) and report["loss"] < report["loss/first"]


def test_master_weights_stay_float32_under_bf16() -> None:
    model, seen = nn.Linear(3, 1), []

    def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        out = model(batch[0])
        seen.append((out.dtype, model.weight.dtype))
        return out.float().square().mean()

    turn, x = Turn(model, loss, lr=1e-5), np.ones((8, 3), np.float32)
    before = model.weight.detach().clone()
    train([turn], [x], np.random.default_rng(0), Training(steps=4, batch=8, precision="bf16"))
    assert set(seen) == {(torch.bfloat16, torch.float32)} and model.weight.dtype == torch.float32
    moved = (model.weight.detach() - before).abs()
    assert (moved > 0).all() and (moved < 1e-4).all(), (
        "steps smaller than bf16 can hold must not be lost"
    )


def test_the_rate_warms_up_and_decays() -> None:
    how = Training(steps=100, batch=1, warmup=10, decay=True)
    assert how.rate(5) == pytest.approx(0.5 * 0.5 * (1 + np.cos(np.pi * 0.04)))
    assert how.rate(100) < 0.01 and Training(steps=9, batch=1).rate(9) == 1.0


def test_memory_that_runs_out_halves_the_minibatch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(VAE, tmp_path, "metrics=[]")
    gradient, sizes = _gradient, []

    def small(
        turn: Any, tensors: Any, rows: Tensor, noise: Any, accelerator: Any, parts: int
    ) -> Tensor:
        sizes.append(len(rows) // parts)
        if sizes[-1] > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return gradient(turn, tensors, rows, noise, accelerator, parts)

    monkeypatch.setattr("engine.training.loop._gradient", small)
    rows = run(sweep)[0].rows()
    assert [row.fit["micro_batches"] for row in rows] == [2.0, 2.0] and set(sizes) == {32, 16}


def test_memory_that_runs_out_twice_ends_the_lineage_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.lineage.generations import TooLarge
    from engine.running.failure import may_pass

    def none(*args: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("engine.training.loop._gradient", none)
    with pytest.raises(TooLarge, match="lower the generator's batch or size") as error:
        lineages(sweep_of(VAE, tmp_path))[0].advance()
    assert "20.00 GiB" in str(error.value) and not may_pass(error.value)


PROGRAM = """
import json, sys
import numpy as np, torch
torch.set_num_threads(1)
from engine.training.device import seeded
from engine.training.loop import Loss, Training, Turn, _gradient, train
from torch import nn
x = np.random.default_rng(1).standard_normal((64, 3)).astype(np.float32)
with seeded(np.random.default_rng(0)):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
def loss(batch, noise):
    return (model(batch[0]).squeeze(-1) - batch[0].sum(-1)).square().mean()

turn = Turn(model, loss, lr=0.05)
training = Training(steps=30, batch=16, ema=0.5, clip_norm=1.0)
train([turn], [x], np.random.default_rng(0), training)
world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
rank = torch.distributed.get_rank() if world > 1 else 0
print(json.dumps([world, torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()]))
"""


@pytest.mark.slow
def test_two_processes_train_one_model_through_the_same_loop() -> None:
    """`accelerate launch`'s environment, gloo on the CPU: both end with the weights that one
    process gets.
    """
    root = Path(__file__).parents[2]
    where = {
        "PYTHONPATH": str(root),
        "PATH": "/usr/bin:/bin",
        "HOME": str(Path.home()),
        "OMP_NUM_THREADS": "1",
    }
    both = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
    }

    def started(**more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=where | more, stdout=-1, stderr=-1, text=True
        )

    processes = [started(), *(started(**both, RANK=str(r), LOCAL_RANK=str(r)) for r in range(2))]
    answers = []
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        answers.append(json.loads(out.splitlines()[-1]))
    assert [world for world, _ in answers] == [1, 2, 2]
    alone, first, second = (np.array(values) for _, values in answers)
    assert np.array_equal(first, second) and np.allclose(first, alone, atol=1e-5)


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_a_packed_lineage_is_held_to_its_share_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine._memory import share_gpu

    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    for share in (0.0, 0.25, 1.0, 2.0):
        share_gpu(share)
    assert shares == [0.25]


@pytest.mark.parametrize("name", ["ddpm", "flow_matching"])
def test_a_warm_start_takes_fewer_steps(name: str) -> None:
    tiny = {"channels": [8], "layers": 1, "attention": [], "batch": 8}
    generator = make("generator", name, steps=3, warm_start=True, warm_steps=2, **tiny)
    data = digits(20)
    taken = [generator.fit(data, np.random.default_rng(i))["steps"] for i in range(2)]
    assert taken == [3.0, 2.0]
