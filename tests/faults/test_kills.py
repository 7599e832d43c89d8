"""`ouro run` killed at random moments and started again, and killed again while it resumes, until
it is whole.

Each time: the bits of an uninterrupted run, exit code 0 at the end, no traceback, no process and no
scratch folder left behind.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.spec import Sweep
from engine.store.store import Store
from tests.support.sweeps import files, results, sweep_of
from tests.support.zygote import Ended, Zygote

CLOSED = """
# Question: a test of resuming
base:
  dataset: {name: gaussian, replicates: 3}
  n_real: 30
grid:
  generator: [gaussian, {name: kde, bandwidth: 0.3}]
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.5, 1.0]
seeds: 1
generations: 12
metrics: [moments]
tracking: none
"""
LEARNED = """
# Question: a test of resuming in the middle of a training
base:
  dataset: gaussian
  generator: {name: wgan, steps: 8, width: 8, batch: 16, critic_steps: 2}
  n_real: 30
grid:
  policy.synthetic_fraction: [1.0]
seeds: 1
generations: 3
metrics: [moments]
tracking: none
"""
WRITTEN = """
# Question: a test of resuming where texts are decoded, edited again and again, and judged
base:
  dataset: {name: markov, length: 8, replicates: 2}
  generator: ngram
  n_real: 30
grid:
  policy: [replace, accumulate]
  sampling:
    - {name: decode, top_p: 0.9, prompt: 2}
    - {name: edit, of: training, threshold: 0.3}
    - {name: verify, rule: top, share: 0.5, reward: rouge, sampling: {name: decode, prompt: 4}}
seeds: 1
generations: 8
metrics: [cross_entropy]
tracking: none
"""
TASKS = """
# Question: a test of resuming a stream of tasks, whose draws read the models of earlier ones
base:
  dataset: {name: mixture, modes: 6, replicates: 2}
  generator: {name: vae, steps: 8, width: 8, latent: 2, conditional: true}
  policy: {name: replay, real: 2}
  n_real: 24
  arrival: tasks
  tasks: 3
grid:
  sampling: [plain, recall]
seeds: 1
generations: 2
metrics: [otdd]
tracking: none
"""
EXPERIMENTS = {"closed": CLOSED, "learned": LEARNED, "written": WRITTEN, "tasks": TASKS}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as zygote:
        yield zygote


def check_whole(zygote: Zygote, sweep: Sweep, whole: Path, killed: int) -> None:
    """What was killed and resumed is what was never killed."""
    broken = Path(sweep.out)
    assert results(sweep, Store(str(broken))) == results(sweep, Store(str(whole))), (
        f"other rows after {killed} kills"
    )
    ours, theirs = files(broken), files(whole)
    both = ours.keys() & theirs.keys()
    assert {k: ours[k] for k in both} == {k: theirs[k] for k in both}, f"bits, {killed} kills"
    if sweep.lineages[0].dataset.name != "markov":  # slow enough for a commit between: more stays
        assert ours.keys() == theirs.keys(), f"other files after {killed} kills"
    assert len(both) >= 2 * len(sweep.lineages), "the newest model and draw of each"
    assert Store(str(broken)).verify()[1] == [] and not Store(str(broken)).names("damaged")
    assert not list(broken.glob("partial/*")), "a half-trained state outlived its model"
    assert not list(zygote.tmp.glob("ouro-*")), "a scratch folder was left behind"


def check_ended(ended: Ended, what: str) -> None:
    assert "Traceback" not in ended.text and not ended.left, f"{what}: {ended.text}"
    assert ended.code in (0, -9), f"{what} ended with {ended.code}: {ended.text}"


def check_kills(zygote: Zygote, folder: Path, text: str, kills: int, seed: int = 0) -> None:
    """Kill, resume, kill again up to twenty times, then let it be whole, and so on until there were
    so many kills.
    """
    sweep, whole, out = sweep_of(text, folder), folder / "whole", folder / "out"
    words, choose = [str(folder / "experiment.yaml"), "--out"], random.Random(seed)
    zygote.ouro("run", *words, str(folder / "warm"), "--local")  # what it needs is imported now
    first, again = (zygote.ouro("run", *words, str(whole), "--local").seconds for _ in range(2))
    start = zygote.ouro("plan", *words, str(whole)).seconds
    killed = 0
    while killed < kills:
        for attempt in range(choose.randrange(1, 20)):
            after = choose.uniform(0.7 * start, start + 0.2 * max(first - again, start))
            ended = zygote.ouro("run", *words, str(out), "--local", after=after)
            check_ended(ended, f"attempt {attempt} after {killed} kills of seed {seed}")
            killed += ended.code == -9
        ended = zygote.ouro("run", *words, str(out), "--local")
        check_ended(ended, f"the run after {killed} kills of seed {seed}")
        check_whole(zygote, sweep, whole, killed)
        shutil.rmtree(out)


FEW = {"closed": 120, "learned": 60, "written": 40, "tasks": 40}
MANY = {"closed": 5000, "learned": 2000, "written": 2000, "tasks": 2000}


@pytest.mark.parametrize("kind", EXPERIMENTS)
@pytest.mark.parametrize(
    "kills",
    [pytest.param(FEW, marks=pytest.mark.faults), pytest.param(MANY, marks=pytest.mark.soak)],
)
def test_killed_at_random_and_run_again(
    kind: str, kills: dict[str, int], zygote: Zygote, memory: Path
) -> None:
    check_kills(zygote, memory, EXPERIMENTS[kind], kills[kind])
