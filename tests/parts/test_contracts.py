"""One contract per kind of part, run on every member by its file name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.experiment.values import checked_part
from engine.knowledge import OF_DATA, OF_MODELS, knows
from engine.lineage.measure import flatten, numbers_of
from engine.lineage.recipe import rng
from engine.parts import Undefined, declared, traits_of
from engine.registry import KINDS, class_name, describe, make, names
from engine.samples import REAL, Samples, given
from engine.spec import Part
from tests.support.around import NOTHING, around

N = 60


def dataset_for(accepts: tuple[str, ...]) -> Any:
    """A small data set that gives what a part accepts; the first kind listed."""
    tiny = {
        "points": "mixture",
        "tokens": "categorical",
        "regression": "regression",
        "images": "digits",
    }
    others = [n for n in names("dataset") if constant("dataset", n, "GIVES") == accepts[0]]
    name = tiny.get(accepts[0]) or others[0]
    return make("dataset", name, **constant("dataset", name, "TINY"))


def accepted(kind: str, name: str) -> list[str]:
    """The kinds of data that a part takes, of those that some data set gives."""
    given_here = dict.fromkeys(constant("dataset", n, "GIVES") for n in names("dataset"))
    takes = constant(kind, name, "ACCEPTS")
    return [kind for kind in given_here if takes is None or kind in takes]


def constant(kind: str, name: str, which: str, default: Any = None) -> Any:
    return describe(kind, name).constants.get(which, default)


def tiny(kind: str, name: str) -> Any:
    return make(kind, name, **constant(kind, name, "TINY"))


def same(a: Samples, b: Samples) -> bool:
    return (
        a.x.dtype == b.x.dtype
        and np.array_equal(a.x, b.x)
        and (a.y is None or np.array_equal(a.y, b.y))
    )  # type: ignore[arg-type]


def fitted(accepts: tuple[str, ...], name: str) -> tuple[Any, Any, Samples]:
    dataset = dataset_for(accepts)
    real = dataset.sample(N, rng(0, "real"))
    generator = tiny("generator", name)
    generator.fit(real, rng(0, "fit"))
    return dataset, generator, real


def generator_for(dataset: Any) -> str:
    usual = {
        "points": "gaussian",
        "tokens": "categorical",
        "regression": "linear_regression",
        "images": "vae",
    }
    others = [n for n in names("generator") if dataset.GIVES in accepted("generator", n)]
    return usual.get(dataset.GIVES) or others[0]


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in KINDS for n in names(k)])
def test_the_signature_is_a_schema(kind: str, name: str) -> None:
    """TINY passes the planner's check, and every annotation can be evaluated without importing the
    part.
    """
    part, complaints = checked_part(
        kind, json.dumps({"name": name, **constant(kind, name, "TINY")})
    )
    assert part and not complaints
    for parameter in describe(kind, name).parameters.values():
        assert checked_part(kind, json.dumps({"name": name, parameter.name: {"no": ["such"]}}))[
            1
        ], parameter
    assert (
        describe(kind, name).summary.rstrip().endswith((".", "?", ")"))
        or len(describe(kind, name).summary) > 20
    )


@pytest.mark.parametrize("name", names("dataset"))
def test_dataset(name: str, request: pytest.FixtureRequest) -> None:
    try:
        dataset = tiny("dataset", name)
        real = dataset.sample(N, rng(0, "real"))
    except FileNotFoundError as error:
        assert "ouro download" in str(error) or "path" in str(error)
        pytest.skip(f"{name} is not on this machine")
    assert len(real) == N and (real.born == REAL).all()
    assert same(real, dataset.sample(N, rng(0, "real"))) and not same(
        real, dataset.sample(N, rng(1, "real"))
    )
    held_out = dataset.held_out(20)
    assert same(held_out, tiny("dataset", name).held_out(20)), (
        "held-out data must be the same every time"
    )
    data = traits_of(dataset)
    gives, classes = data.kind, data.classes
    if gives == "images":
        assert real.x.dtype == np.uint8 and real.x.ndim == 4 and real.replicates is None
        assert real.x.min() < 64 and real.x.max() > 192, "images should use the range 0..255"
    else:
        assert real.replicates and real.x.ndim == (2 if gives == "tokens" else 3)
    if classes and real.y is not None:
        assert real.y.dtype == np.int64 and set(np.unique(real.y)) <= set(range(classes))
    if size := constant("dataset", name, "SIZE"):
        with pytest.raises(ValueError, match=class_name(name)):
            dataset.sample(size[0] + 1, rng(0, "real"))


@pytest.mark.parametrize("name", names("generator"))
def test_generator(name: str, tmp_path: Path) -> None:
    for gives in accepted("generator", name):
        _, generator, real = fitted((gives,), name)
        labels = given(real, 30)
        drawn = generator.sample(30, rng(0, "draw"), labels)
        assert (
            len(drawn) == 30
            and drawn.x.shape[1:] == real.x.shape[1:]
            and np.isfinite(drawn.x).all()
        )
        assert (drawn.x.dtype == np.uint8) == (real.x.dtype == np.uint8)
        assert (drawn.y is None) == (real.y is None or not declared(generator, "CONDITIONAL"))
        assert same(drawn, generator.sample(30, rng(0, "draw"), labels)), (
            "the same stream must give the same bits"
        )
        assert not same(drawn, generator.sample(30, rng(1, "draw"), labels))
        _, again, _ = fitted((gives,), name)
        assert same(drawn, again.sample(30, rng(0, "draw"), labels)), (
            "training must be deterministic"
        )
        folder = tmp_path / gives
        folder.mkdir()
        generator.save(folder)
        loaded = tiny("generator", name)
        loaded.load(folder)
        assert same(drawn, loaded.sample(30, rng(0, "draw"), labels)), (
            "load must be the inverse of save"
        )
        biased = generator.sample(30, rng(0, "draw"), labels, bias=0.5)
        assert len(biased) == 30 and np.isfinite(biased.x).all()


@pytest.mark.parametrize("name", names("sampling"))
def test_sampling(name: str) -> None:
    worked = 0
    for gives in accepted("sampling", name):
        dataset = dataset_for((gives,))
        sampling = tiny("sampling", name)
        _, generator, real = fitted((gives,), generator_for(dataset))
        draws = []
        for _ in range(2):
            try:
                sampling.prepare(dataset, real, generator, rng(0, "prepare"))
            except ValueError as error:  # a rule or reward for other data, said by name
                assert name in str(error) or "reward" in str(error)
                break
            draws.append(sampling.draw(generator, 40, around(real, 40, generator), rng(0, "draw")))
        if not draws:
            continue
        worked += 1
        assert len(draws[0].samples) == 40 and same(draws[0].samples, draws[1].samples)
        assert all(np.isfinite(v) for v in draws[0].report.values())
    assert worked


@pytest.mark.parametrize("name", names("reward"))
def test_reward(name: str) -> None:
    for gives in accepted("reward", name):
        dataset, generator, real = fitted((gives,), generator_for(dataset_for((gives,))))
        reward = tiny("reward", name)
        reward.fit(dataset, real, generator, rng(0, "reward"))
        score = reward.score(real)
        assert score.shape in ((N,), (N, real.replicates)) and np.isfinite(score).all()
        assert np.array_equal(score, reward.score(real))


@pytest.mark.parametrize("name", names("metric"))
def test_metric(name: str) -> None:
    for gives in accepted("metric", name):
        dataset, generator, real = fitted((gives,), generator_for(dataset_for((gives,))))
        metric = tiny("metric", name)
        metric.prepare(dataset, real, N, rng(0, "reference"))
        samples = generator.sample(N, rng(0, "draw"), given(real, N)).drawn_at(0)
        answer = metric(samples, generator, NOTHING, rng(0, "metric"))
        assert answer and all(key == name or key.startswith(f"{name}/") for key in answer)
        assert flatten(answer) == flatten(metric(samples, generator, NOTHING, rng(0, "metric")))
        assert flatten(answer).values, f"{name} has no finite value on healthy {gives}"


@pytest.mark.parametrize("name", names("metric"))
def test_a_metric_never_makes_a_number_of_what_is_not_finite(name: str) -> None:
    if constant("metric", name, "MODEL_ONLY", False) or "points" not in constant(
        "metric", name, "ACCEPTS"
    ):
        pytest.skip("reads the model, or data that are finite by type")
    dataset, _, real = fitted(("points",), "gaussian")
    metric = tiny("metric", name)
    metric.prepare(dataset, real, N, rng(0, "reference"))
    x = real.x.copy()
    x[3] = np.nan
    blank = make(
        "generator", "wgan", **constant("generator", "wgan", "TINY")
    )  # has no moments of its own
    answer = numbers_of(metric(Samples(x, real.y).drawn_at(0), blank, NOTHING, rng(0, "metric")))
    own = {
        k: v
        for k, v in answer.items()
        if not any(w in k for w in ("floor", "/n", "ceiling", "chance", "coverage"))
    }
    assert own
    for key, value in own.items():
        assert isinstance(value, Undefined) or not np.isfinite(np.asarray(value, float)).all(), (
            f"{key} = {value}"
        )


# ---- what is declared is true --------------------------------------------------------------------


def members(protocol: type) -> list[str]:
    """What a protocol asks for."""
    own = [*protocol.__annotations__, *vars(protocol)]
    return [name for name in own if not name.startswith("_")]


def assert_knows(part: Any, protocols: dict[str, type]) -> None:
    """What it says it knows it has, and it says so of all that it has."""
    for word, protocol in protocols.items():
        has = all(hasattr(part, name) for name in members(protocol))
        assert knows(part, word) == has, f"{type(part).__name__}: {word}"
    assert set(declared(part, "KNOWS")) <= protocols.keys()


@pytest.mark.parametrize("name", names("dataset"))
def test_what_a_data_set_declares_is_true(name: str) -> None:
    dataset = tiny("dataset", name)
    try:
        real = dataset.sample(N, rng(0, "real"))
    except FileNotFoundError:
        pytest.skip(f"{name} is not on this machine")
    data = traits_of(dataset)
    part = Part("dataset", name, constant("dataset", name, "TINY"))
    assert part.traits == data, "the plan knows what the object knows"
    assert real.traits == data and dataset.held_out(5).traits == data
    assert real.x.dtype != object and (
        data.replicates is None or real.x.shape[1] == data.replicates
    )
    if data.kind == "regression":
        assert data.classes == 0 and real.y is not None and real.y.shape == real.x.shape[:2]
    else:
        assert (real.y is not None) == bool(data.classes)
    if data.classes:
        assert real.y is not None and real.y.min() >= 0 and real.y.max() < data.classes
    assert_knows(dataset, OF_DATA)


@pytest.mark.parametrize("name", names("generator"))
def test_what_a_generator_declares_is_true(name: str) -> None:
    kind = accepted("generator", name)[0]
    _, generator, real = fitted((kind,), name)
    assert_knows(generator, OF_MODELS)
    part = Part("generator", name, constant("generator", name, "TINY"))
    assert part.conditional == declared(generator, "CONDITIONAL")
    assert part.continues == declared(generator, "CONTINUES") is False  # not by default
    labels = given(real, 20) if part.conditional else None
    assert (generator.sample(20, rng(0, "draw"), labels).y is not None) == (
        part.conditional and real.y is not None
    )


@pytest.mark.parametrize(
    "name", [n for n in names("generator") if constant("generator", n, "CONTINUES")]
)
def test_a_generator_that_continues_goes_on_from_what_it_has_learnt(name: str) -> None:
    dataset = dataset_for((accepted("generator", name)[0],))
    real = dataset.sample(N, rng(0, "real"))
    params = constant("generator", name, "TINY")
    switch = constant("generator", name, "CONTINUES")
    drawn = []
    for continues, fits in ((True, 2), (False, 2), (False, 1)):
        generator = make("generator", name, **params, **{switch: continues})
        for t in range(2 - fits, 2):
            generator.fit(real, rng(0, "fit", t))
        labels = given(real, 20) if declared(generator, "CONDITIONAL") else None
        drawn.append(generator.sample(20, rng(0, "draw"), labels))
    assert not same(drawn[0], drawn[1]), "the first generation has left no trace"
    assert same(drawn[1], drawn[2]), "without it, a second fit starts anew"
