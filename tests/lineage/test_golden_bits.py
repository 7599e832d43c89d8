"""What a part with the smallest parameters comes to is what it was: a changed number under an
unchanged key would mix two models in one output.

`golden_bits.json` holds, per part, numbers and a digest of all bits.  Parts without torch are held
to the numbers everywhere (1e-9); the others to the bits, beside each machine that made them, and
are skipped elsewhere.  Metrics: `golden_values.json`.  Written anew for this machine with
`python -m tests.lineage.test_golden_bits NAME ...`, which is right for a machine or a part that is
new, or whose REVISION was raised.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine._memory import set_threads
from engine.contents import Lack
from engine.contracts.companions import accepted, around, constant, fitted, judged, tiny
from engine.lineage.recipe import of_task, rng
from engine.parts import declared
from engine.registry import describe, make, names
from engine.samples import Samples
from engine.store.artifacts import generator_files

FILE = Path(__file__).parent / "golden_bits.json"
ENGINE = Path(__file__).parents[2] / "engine"
LIBRARIES = ("torch", "numpy", "scipy", "diffusers", "transformers")
CLOSED = ("likelihood", "rouge", "true_density")  # rewards without torch
N = 60
# its program is another process
ELSEWHERE = {("generator", "command"): "tests/parts/test_command.py holds what it draws"}
FEW = {"n_real": 30, "generations": 3}


def machine() -> dict[str, Any]:
    """What the bits of torch may depend on: processors of one name differ in their instructions."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    cpu = said.get("model name") or platform.processor() or platform.machine()
    kind = ".".join(said[key] for key in ("cpu family", "model") if key in said)
    instructions = torch.backends.cpu.get_cpu_capability()
    own = {"processor": cpu, "kind": kind, "instructions": instructions}
    return {**own, **{name: version(name) for name in LIBRARIES}}


def held_here(golden: dict[str, Any]) -> dict[str, Any]:
    """The bits that were made on a machine like this one, by part; empty without one.  What a
    record does not say of its machine may be anything.
    """
    here = machine()
    alike = (made for made in golden["machines"] if made["about"].items() <= here.items())
    found: dict[str, Any] = next((made["parts"] for made in alike), {})
    return found


def arrays_of(name: str, samples: Samples) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name} x", samples.x
    if samples.y is not None:
        yield f"{name} y", samples.y


def files_of(kind: str, name: str) -> str | None:
    """Which files a data set is read from here: a digest, '' of published ones, None without."""
    if kind != "dataset" or name == "images" or not constant(kind, name, "FINITE"):
        return ""
    found = tiny(kind, name).contents()
    return None if isinstance(found, Lack) else str(found.content)


def of_dataset(name: str, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    part = tiny("dataset", name) if name != "images" else _pictures(folder)
    yield from arrays_of("real", part.sample(N, rng(0, "real")))
    yield from arrays_of("held out", part.held_out(20))


def _pictures(folder: Path) -> Any:
    """Own pictures are whoever's: these."""
    images = rng(0, "pictures").integers(0, 256, (100, 9, 9, 3)).astype(np.uint8)
    np.savez(folder / "mine.npz", images=images, labels=np.arange(100) % 3)
    return make("dataset", "images", path=str(folder / "mine.npz"), size=8)


def of_generator(name: str, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    for gives in accepted("generator", name):
        _, generator, real = fitted(gives, name)
        labels = around(real, 20, generator).labels
        yield from arrays_of(gives, generator.sample(20, rng(0, "draw"), labels))
        for file, data in generator_files(generator).items():
            if file.endswith((".safetensors", ".npz")):
                yield f"{gives} {file}", np.frombuffer(data, np.uint8)


def of_policy(name: str, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    part, sizes = tiny("policy", name), {-1: 30}
    for t in range(1, 5):
        sizes[t - 1] = max(30, part.needs(30))
        if declared(part, "TASKS"):
            sizes |= {t - 1: t * 30, of_task(t - 1): 30}
        picks = [[*p.sources, p.count] for p in part.recipe(sizes, t)]
        yield f"generation {t}", np.array([number for pick in picks for number in pick])


def of_sampling(name: str, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    takes = accepted("sampling", name)
    both = [gives for gives in ("points", "regression") if gives in takes]
    for gives in both if "points" in takes else takes:
        params = dict(constant("sampling", name, "TINY", {}))
        if gives == "regression" and "reward" in params:
            continue
        dataset, generator, real = fitted(gives)
        part = make("sampling", name, **params)
        part.prepare(dataset, real, generator, rng(0, "prepare"))
        drawn = part.draw(generator, 20, around(real, 20, generator), rng(0, "draw"))
        yield from arrays_of(gives, drawn.samples)


def of_reward(name: str, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    gives = "points" if "points" in accepted("reward", name) else accepted("reward", name)[0]
    dataset, generator, real = fitted(gives)
    part = tiny("reward", name)
    part.fit(dataset, real, generator, rng(0, "reward"))
    yield gives, part.score(judged(part, real))


TRIED = {f"{kind} {name}": (kind, name) for kind in ("dataset", "policy") for name in names(kind)}
for _kind in ("generator", "sampling", "reward"):
    TRIED |= {f"{_kind} {name}": (_kind, name) for name in names(_kind)}
TRIED = {case: part for case, part in TRIED.items() if part not in ELSEWHERE}
MADE_BY = {
    "dataset": of_dataset,
    "generator": of_generator,
    "policy": of_policy,
    "sampling": of_sampling,
    "reward": of_reward,
}


def learns(kind: str, name: str) -> bool:
    """Whether its bits come from torch."""
    if kind == "generator":
        return bool(constant(kind, name, "COST") != "tiny")
    return (kind, name) == ("sampling", "relabel") or (kind == "reward" and name not in CLOSED)


def bits_of(kind: str, name: str, folder: Path) -> dict[str, Any]:
    """Numbers and a digest of everything that a part comes to."""
    set_threads(1)
    whole, numbers = hashlib.sha256(), dict[str, list[float]]()
    for what, array in MADE_BY[kind](name, folder):
        whole.update(what.encode() + np.ascontiguousarray(array).tobytes())
        if array.dtype != np.uint8 or array.ndim > 1:
            flat = np.asarray(array, np.float64).ravel()
            weights = np.cos(np.arange(len(flat)))
            numbers[what] = [float(len(flat)), float(flat.mean()), float(flat @ weights)]
    return {"digest": whole.hexdigest(), "files": files_of(kind, name), "numbers": numbers}


@pytest.mark.parametrize("case", TRIED)
def test_a_part_comes_to_what_it_came_to(case: str, tmp_path: Path) -> None:
    golden = json.loads(FILE.read_text())
    kind, name = TRIED[case]
    if files_of(kind, name) is None:
        pytest.skip(f"{name} is not on this machine")
    known = held_here(golden) if learns(kind, name) else golden["parts"]
    if learns(kind, name) and case not in known:
        made = "; ".join(", ".join(map(str, m["about"].values())) for m in golden["machines"])
        pytest.skip(f"the bits of {case} are held on machines like those that made them: {made}")
    assert case in known, f"{case} is new: python -m {__spec__.name} '{case}'"
    before = known[case]
    if files_of(kind, name) != before["files"]:
        pytest.skip(f"{name} is read from other files than where its bits were made")
    found = bits_of(kind, name, tmp_path)
    said = f"{case} comes to something else than before: raise REVISION or undo"
    if learns(kind, name):
        assert found["digest"] == before["digest"], said
    assert found["numbers"].keys() == before["numbers"].keys(), said
    for what, numbers in before["numbers"].items():
        assert found["numbers"][what] == pytest.approx(numbers, rel=1e-9, abs=1e-9), said


def test_every_part_is_held_but_data_that_were_not_on_the_machine() -> None:
    golden = json.loads(FILE.read_text())
    learned = {case for case, part in TRIED.items() if learns(*part)}
    absent = TRIED.keys() - learned - golden["parts"].keys()
    assert golden["parts"].keys() <= TRIED.keys() - learned
    unknown = {"dataset cifar100", "dataset fashion_mnist", "dataset flowers102"}
    assert absent == unknown | {"dataset hf_images", "dataset hf_text"}
    held = [case for made in golden["machines"] for case in made["parts"]]
    assert set(held) == learned, "each on some machine"
    assert all(describe(*part).constants for part in ELSEWHERE), "they are there"


if __name__ == "__main__":
    known = json.loads(FILE.read_text()) if FILE.exists() else {"parts": {}, "machines": []}
    here = held_here(known)
    if not here:
        known["machines"].append({"about": machine(), "parts": here})
    with tempfile.TemporaryDirectory() as own:
        for wanted in sys.argv[1:] or TRIED:
            if files_of(*TRIED[wanted]) is not None:
                place = here if learns(*TRIED[wanted]) else known["parts"]
                place[wanted] = bits_of(*TRIED[wanted], Path(own))
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + os.linesep)
