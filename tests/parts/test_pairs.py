"""Every pair of parts: what plans runs a generation, what cannot is refused before it is trained.

`refusals.csv` beside this file holds what is refused, with a reason each.  When it changes on
purpose: `python -m tests.parts.test_pairs` writes it anew.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.lineage.loop import Lineage
from engine.refusals import lacking, refusals
from engine.registry import describe, names
from engine.spec import LineageSpec, MeasureSpec, Part
from engine.store.rows import Generation
from engine.store.store import Store

TABLE = Path(__file__).with_name("refusals.csv")
N = 40
FROM_FILES = ("cifar10", "cifar100", "fashion_mnist", "flowers102", "images", "mnist")
VARIANTS: dict[str, list[dict[str, Any]]] = {  # settings of a part that accept other data
    "verify": [
        {"rule": "threshold", "radius": 2.0},
        {"rule": "imperfect", "psi": 0.5, "reward": {"name": "classifier", "steps": 5}},
    ],
    "true_density": [{"of": "label"}],
    "discriminator": [{"conditional": True, "steps": 5}],
    "vae": [{"conditional": False, "steps": 5}],
}


def parts(kind: str) -> list[Part]:
    """Every part of a kind with its TINY parameters, and its variants."""
    found = []
    for name in names(kind):
        known = describe(kind, name)
        tiny = known.constants.get("TINY", {})
        raw = {"extractor": "raw"} if "extractor" in known.parameters else {}
        found.append(Part(kind, name, {**tiny, **raw}))
        found += [Part(kind, name, own) for own in VARIANTS.get(name, [])]
    return found


def called(part: Part) -> str:
    """Its kind and name, and the settings of a variant."""
    own = VARIANTS.get(part.name, [])
    said = {k: v for k, v in part.params.items() if k in ("rule", "of", "conditional")}
    settings = " ".join(f"{k}={v}" for k, v in said.items()) if part.params in own else ""
    return " ".join(filter(None, (part.kind, part.name, settings)))


PLAIN = Part("sampling", "plain")


@cache
def works() -> list[tuple[Part, Part]]:
    """Data sets with the generators that learn them."""
    pairs = [(d, g) for d in parts("dataset") for g in parts("generator")]
    return [(d, g) for d, g in pairs if not refusals(d, g, PLAIN)]


def holding(reward: Part) -> list[Part]:
    """Every sampling that asks a reward, with this one."""
    inner = {"name": reward.name, **reward.params}
    return [
        Part("sampling", s.name, {**s.params, "reward": inner})
        for s in parts("sampling")
        if "reward" in s.params
    ]


# ---- the table -----------------------------------------------------------------------------------


def refused() -> Iterator[tuple[str, str, str]]:
    """Pairs that work nowhere, and why: where one of them is learnt, if it is anywhere."""
    for d in parts("dataset"):
        for g in parts("generator"):
            yield from _nowhere(d, g, [refusals(d, g, PLAIN)])
        learners = [g for other, g in works() if called(other) == called(d)]
        for s in parts("sampling"):
            yield from _nowhere(d, s, [refusals(d, g, s) for g in learners])
        for m in parts("metric"):
            yield from _nowhere(d, m, [[lacking(m, d, g)] for g in learners])
    for g in parts("generator"):
        learnt = [d for d, other in works() if called(other) == called(g)]
        for s in parts("sampling"):
            yield from _nowhere(g, s, [refusals(d, g, s) for d in learnt])
        for m in parts("metric"):
            yield from _nowhere(g, m, [[lacking(m, d, g)] for d in learnt])
    for r in parts("reward"):
        for s in holding(r):
            yield from _nowhere(s, r, [refusals(d, g, s) for d, g in works()])


def _nowhere(one: Part, other: Part, tried: list[list[str]]) -> Iterator[tuple[str, str, str]]:
    reasons = ["; ".join(filter(None, found)) for found in tried]
    if reasons and all(reasons):
        yield called(one), called(other), min(reasons, key=lambda r: (one.name not in r, len(r), r))


def written() -> list[tuple[str, ...]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def test_the_refusals_are_those_of_the_table() -> None:
    assert sorted(set(refused())) == written(), f"see {TABLE.name}: how to write it anew"


def test_the_impossible_that_once_passed_the_plan_is_in_the_table() -> None:
    table = {row[:2] for row in written()}
    assert table > {  # each passed, and failed when its founder was trained
        ("dataset gaussian", "metric conditional_fid"),
        ("dataset gaussian", "metric otdd"),
        ("dataset gaussian", "metric classifier_accuracy"),
        ("dataset digits", "sampling verify rule=threshold"),
        ("dataset digits", "sampling curate"),  # its TINY reward is the true density
        ("generator gaussian", "metric otdd"),
        ("generator kde", "metric conditional_fid"),
        ("dataset regression", "sampling verify rule=imperfect"),
    }


# ---- what plans, runs ----------------------------------------------------------------------------


def tiny(d: Part, g: Part, s: Part = PLAIN) -> LineageSpec:
    return LineageSpec(d, g, Part("policy", "replace"), s, n_real=N, seed=0)


def costly(d: Part, g: Part) -> bool:
    if g.name == "command":  # a process each time
        return True
    return d.name in FROM_FILES or (d.name == "digits" and g.name in ("stylegan2", "ddpm"))


def cheap(metric: Part, d: Part) -> Part:
    """The metric with a small network where it trains one on pictures."""
    if "network" in describe("metric", metric.name).parameters and d.traits.kind == "images":
        return Part("metric", metric.name, {**metric.params, "network": "lenet"})
    return metric


def cases(pairs: list[tuple[Part, Part]]) -> list[Any]:
    """Test cases, those slow that read files or train large networks."""
    found = []
    for d, g in pairs:
        marks = [pytest.mark.slow] if costly(d, g) else []
        found.append(pytest.param(d, g, marks=marks, id=f"{d.name}-{called(g)[10:]}"))
    return found


def companions() -> list[tuple[Part, Part]]:
    """Of the pairs that work, enough to have every data set, and every generator, once."""
    found: dict[tuple[str, str], tuple[Part, Part]] = {}
    for by in (0, 1):
        seen: set[str] = set()
        for pair in sorted(works(), key=lambda p: costly(*p)):
            if called(pair[by]) not in seen:
                seen.add(called(pair[by]))
                found[called(pair[0]), called(pair[1])] = pair
    return list(found.values())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all: what pairs share is trained once."""
    return Store(str(tmp_path_factory.mktemp("pairs")))


def ran(spec: LineageSpec, store: Store, *metrics: Part, generations: int = 0) -> Generation:
    """Its last row; skips where the data are not on this machine."""
    measured = tuple(MeasureSpec(m) for m in metrics)
    chain = Lineage(spec, store, generations=generations, metrics=measured)
    try:
        while not chain.done:
            row = chain.advance()
    except FileNotFoundError:
        pytest.skip(f"{spec.dataset.name} is not on this machine")
    return row


@pytest.mark.parametrize(("d", "g"), cases(works()))
def test_a_data_set_with_a_generator_and_every_metric_that_fits(
    d: Part, g: Part, store: Store
) -> None:
    """The generation that trains on synthetic data too; every metric has a value."""
    metrics = [cheap(m, d) for m in parts("metric") if not lacking(m, d, g)]
    row = ran(tiny(d, g), store, *metrics, generations=1)
    assert row.status in ("ok", "class_extinct") and row.t == 1
    for m in metrics:
        own = MeasureSpec(m).id
        assert any(key.split("/")[0] == own for key in row.measured.values), f"{own} has no value"


@pytest.mark.parametrize(("d", "g"), cases(companions()))
def test_samplings_and_rewards_that_fit(d: Part, g: Part, store: Store) -> None:
    nested = [s for r in parts("reward") for s in holding(r)]
    tried = 0
    for s in [*parts("sampling"), *nested]:
        if not refusals(d, g, s):
            row = ran(tiny(d, g, s), store)
            assert row.status in ("ok", "class_extinct", "quota_unfilled"), s
            tried += 1
    assert tried >= 2  # plain and biased go with everything


# ---- what cannot, is refused ---------------------------------------------------------------------


def experiment(folder: Path, d: Part, g: Part, s: Part, metric: Part | None = None) -> Path:
    """An experiment of one cell, judged by the metric."""

    def of(part: Part) -> dict[str, Any]:
        return {"name": part.name, **part.params}

    values: dict[str, Any] = {
        "base": {"dataset": of(d), "generator": of(g), "sampling": of(s), "n_real": N},
        "generations": 1,
    }
    if metric is not None:
        ways = metric.trait("BY").values()
        by = {"by": "difference"} if "difference" in ways else {}
        rule = {"metric": MeasureSpec(metric).id, "above": 2.0, **by}
        values |= {"metrics": [of(metric)], "collapse": rule}
    file = folder / "experiment.yaml"
    file.write_text(json.dumps(values))
    return file


def test_every_impossible_pair_is_refused_by_name(tmp_path: Path) -> None:
    """Through the reader of experiments, which trains nothing and imports no generator."""
    for d, g in [(d, g) for d in parts("dataset") for g in parts("generator")]:
        if d.name in FROM_FILES:
            continue
        for s in parts("sampling"):
            if reasons := refusals(d, g, s):
                with pytest.raises(SpecError) as error:
                    load(experiment(tmp_path, d, g, s))
                assert reasons[0] in str(error.value)


def test_a_cell_without_its_collapse_metric_is_refused_by_name(tmp_path: Path) -> None:
    for d, g in works():
        if d.name in FROM_FILES:
            continue
        for m in parts("metric"):
            reason = lacking(m, d, g)
            if not reason:
                assert load(experiment(tmp_path, d, g, PLAIN, m)).lineages
                continue
            with pytest.raises(SpecError) as error:
                load(experiment(tmp_path, d, g, PLAIN, m))
            assert reason in str(error.value)


def test_in_a_grid_a_metric_is_left_out_where_it_has_no_value_and_said(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(
        "base: {n_real: 40, dataset: {name: mixture}}\n"
        "grid: {generator: [gaussian, vae]}\ngenerations: 1\nmetrics: [fid, otdd, nll]\n"
    )
    sweep = load(file)
    measured = {s.generator.name: [m.id for m in sweep.metrics_of(s)] for s in sweep.lineages}
    assert measured == {"gaussian": ["fid", "nll"], "vae": ["fid", "otdd"]}
    assert sweep.left_out() == [
        "otdd needs labelled samples, and the generator gaussian draws none (1 of 2 cells)",
        "nll needs the density of the generator vae, which tells none (1 of 2 cells)",
    ]
    file.write_text(file.read_text() + "collapse: {metric: otdd, above: 2}\n")
    judged = load(file)
    assert [s.generator.name for s in judged.lineages] == ["vae"]
    assert [r.reason for r in judged.refused] == [
        "collapse cannot be judged: otdd needs labelled samples, and the generator gaussian draws "
        "none"
    ]


if __name__ == "__main__":
    with TABLE.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("part", "with", "reason"))
        writer.writerows(sorted(set(refused())))
