"""Streams of tasks: which rows arrive when, what is drawn of whom, and that a lineage of tasks is
resumed, pruned and made again to the bit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.console.tables import plan_lines
from engine.experiment.consistency import refusal
from engine.experiment.reader import SpecError
from engine.lineage.generations import GenerationCache
from engine.lineage.loop import Lineage
from engine.lineage.recipe import _keys, path, real_key
from engine.lineage.seen import Seen
from engine.names import names_of
from engine.planning import kept
from engine.planning.plan import make_plan, paths, to_json
from engine.running.prune import Pruner
from engine.samples import REAL
from engine.spec import LineageSpec, Part, Sweep
from engine.store.store import Store
from tests.support.sweeps import files, lineages, results, run, sweep_of

DIGITS = """
# Question: a test of tasks
base:
  dataset: digits
  generator: {name: vae, steps: 3, width: 4, latent: 2}
  policy: replay
  n_real: 12
  arrival: tasks
  tasks: [[3, 1], [0, 2], [9]]
generations: 2
tracking: none
"""
LANGUAGES = Part("dataset", "languages", {"classes": 4, "length": 8, "replicates": 1})
TABLE = Part("dataset", "digits")


def spec(
    policy: str = "replay", dataset: Part = TABLE, n_real: int = 12, **more: Any
) -> LineageSpec:
    generator = {"digits": "vae"}.get(dataset.name, "ngram")
    params = more.pop("params", {})
    parts = dataset, Part("generator", generator), Part("policy", policy, params)
    given = {"arrival": "tasks", "tasks": ((3, 1), (0, 2), (9,)), **more}
    sampling = given.pop("sampling", Part("sampling", "plain"))
    return LineageSpec(*parts, sampling, n_real, seed=4, **given)


def cache(own: LineageSpec, folder: Path, generations: int = 2) -> GenerationCache:
    return GenerationCache(own, Store(str(folder / "out")), path(own, generations))


# ---- what arrives --------------------------------------------------------------------------------


def test_a_task_brings_its_classes_balanced(tmp_path: Path) -> None:
    have = cache(spec(), tmp_path)
    labels: list[Any] = [have.real(t).y for t in range(3)]
    counts = [np.bincount(y, minlength=10).tolist() for y in labels]
    assert counts[0] == [0, 6, 0, 6, 0, 0, 0, 0, 0, 0]
    assert counts[1] == [6, 0, 6, 0, 0, 0, 0, 0, 0, 0]
    assert counts[2] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 12]
    everything = have.dataset.training_set()  # type: ignore[attr-defined]
    rows = {row.tobytes() for row in everything.x}
    assert all({row.tobytes() for row in have.real(t).x} <= rows for t in range(3))
    again = cache(spec(), tmp_path / "b").real(2)
    assert (again.x == have.real(2).x).all(), "whatever was asked for before"


def test_classes_are_split_in_the_order_of_their_labels() -> None:
    own = spec(tasks=5)
    assert list(own.stream) == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert own.seen(1) == (0, 1, 2, 3) and own.task(4) == (8, 9) and own.task(5) == ()
    without = spec("replace", arrival="fixed", tasks=None)
    assert not without.stream and not without.task(0) and not without.seen(3)


def test_data_without_end_give_the_classes_of_a_task() -> None:
    """By drawing until each class is full; a class that is never drawn is told."""
    truth: Any = LANGUAGES.make()
    seen: Any = Seen(truth, (2, 0))
    drawn = seen.sample(31, np.random.default_rng(0))
    assert np.bincount(drawn.y).tolist() == [15, 0, 16]
    assert (seen.sample(31, np.random.default_rng(0)).x == drawn.x).all()
    held_out = seen.held_out(20)
    assert {*held_out.y.tolist()} == {0, 2} and len(held_out) == 20
    assert (seen.held_out(20).x == held_out.x).all() and seen.CLASSES == 4
    with pytest.raises(ValueError, match="3 real rows of class 7 were asked of Languages"):
        Seen(truth, (7,)).sample(3, np.random.default_rng(0))


def test_the_rows_seen_are_those_of_the_whole_set() -> None:
    truth: Any = TABLE.make()
    seen: Any = Seen(truth, (4, 7))
    assert seen.training_set() is Seen(truth, (4, 7)).training_set(), "features are made once"
    assert {*seen.training_set().y.tolist()} == {4, 7}
    held_out = truth.held_out(597)
    assert len(seen.held_out(1000)) == np.isin(held_out.y, (4, 7)).sum()
    with pytest.raises(ValueError, match="125 real rows of class 4 were asked of Digits, which h"):
        seen.sample(250, np.random.default_rng(0))


# ---- keys ----------------------------------------------------------------------------------------


def test_tasks_are_in_keys_where_there_are_any() -> None:
    own, other = spec(), spec(tasks=((3, 1), (0, 4), (9,)))
    assert real_key(own, 0) == real_key(other, 0), "the first task is the same"
    assert real_key(own, 1) != real_key(other, 1)
    assert own.id != other.id and own.cell_id != other.cell_id
    fixed = spec("replace", arrival="fixed", tasks=None)
    assert "tasks" not in fixed.identity and "tasks" not in fixed.to_dict()
    again = LineageSpec.from_dict(own.to_dict())
    assert again == own and again.id == own.id
    assert LineageSpec.from_dict(fixed.to_dict()) == fixed


def test_recalled_draws_are_named_by_the_models_that_they_are_of() -> None:
    """Under a buffer no model implies the ones before it."""
    buffer = {"replayed": False, "real": 2}
    recalled = path(spec(params=buffer, sampling=Part("sampling", "recall")), 2)
    plain = path(spec(params=buffer), 2)
    assert [node.model for node in recalled] == [node.model for node in plain]
    assert {recalled[t].draw for t in range(3)}.isdisjoint(node.draw for node in plain)
    own, made_of = spec(sampling=Part("sampling", "recall")), ("", None, recalled[2].real)
    of = [_keys(own, 2, *made_of, earlier) for earlier in (["a", "b"], ["a", "c"])]
    assert of[0][0] == of[1][0] and of[0][1] != of[1][1], "the draw, not the model"
    nested = Part("sampling", "correct", {"sampling": {"name": "recall"}})
    assert nested.has("TASKS") and not Part("sampling", "correct").has("TASKS")


# ---- what is drawn, and trained on ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "classes", "real", "replayed"),
    [
        ({"replayed": False}, [(3, 1), (0, 2), (9,)], [12, 12, 12], [0, 0, 0]),
        ({}, [(3, 1), (3, 1, 0, 2), (3, 1, 0, 2, 9)], [12, 12, 12], [0, 12, 24]),
        (
            {"replayed": False, "real": 5},
            [(3, 1), (3, 1, 0, 2), (3, 1, 0, 2, 9)],
            [12, 22, 32],
            [0, 0, 0],
        ),
        (
            {"replayed": False, "real": "all"},
            [(3, 1), (3, 1, 0, 2), (3, 1, 0, 2, 9)],
            [12, 24, 36],
            [0, 0, 0],
        ),
        ({"real": 5}, [(3, 1), (3, 1, 0, 2), (3, 1, 0, 2, 9)], [12, 22, 32], [0, 12, 24]),
    ],
)
def test_every_bound_trains_on_what_the_table_says(
    tmp_path: Path,
    params: dict[str, Any],
    classes: list[tuple[int, ...]],
    real: list[int],
    replayed: list[int],
) -> None:
    own = spec(params=params)
    have = cache(own, tmp_path)
    assert [node.classes for node in have.path] == classes
    for node in have.path:
        t = node.t
        for s in range(t):  # as if it were drawn: rows of generation s, with the labels asked for
            have.keep(s, _drawn(have, s))
        data = have.training_set(node)
        assert int((data.born == REAL).sum()) == real[t], t
        assert int((data.born >= 0).sum()) == replayed[t], t
        labels = have.around(node).labels
        assert labels is not None and len(labels) == own.drawn(t) == 12 * (t + 1)
        asked, n = np.unique(labels, return_counts=True)
        assert {*asked.tolist()} == {*classes[t]} and np.ptp(n) <= 1, "balanced"


def _drawn(have: GenerationCache, s: int) -> Any:
    labels = have.around(have.path[s]).labels
    assert labels is not None
    rows = have.dataset.sample(len(labels), np.random.default_rng(s))
    return type(rows)(rows.x, labels).of(have.traits).drawn_at(s)


def test_a_buffer_is_the_same_rows_at_every_task_and_part_of_a_larger_one(tmp_path: Path) -> None:
    kept = {}
    for m in (2, 5):
        have = cache(spec(params={"replayed": False, "real": m}), tmp_path / str(m))
        for t in (1, 2):
            data = have.training_set(have.path[t])
            old = {row.tobytes() for row in data.x[np.isin(data.y, (3, 1))]}  # type: ignore[arg-type]
            kept[m, t] = old
    assert kept[2, 1] == kept[2, 2] and kept[5, 1] == kept[5, 2]
    assert len(kept[2, 1]) == 4 and kept[2, 1] < kept[5, 1]


def test_a_buffer_is_kept_by_class_where_the_generator_sees_no_labels(tmp_path: Path) -> None:
    own = spec(params={"replayed": False, "real": 2})
    blind = replace(own, generator=Part("generator", "vae", {"conditional": False}))
    have, labelled = cache(blind, tmp_path), cache(own, tmp_path)
    data, same = (each.training_set(each.path[1]) for each in (have, labelled))
    assert data.y is None and same.y is not None and (data.x == same.x).all()
    assert have.around(have.path[1]).labels is None


# ---- a lineage of tasks --------------------------------------------------------------------------


def test_a_lineage_of_tasks_is_continued_and_made_again_to_the_bit(tmp_path: Path) -> None:
    """Continued by another process after each generation; and with everything pruned but the last
    generation, from which a longer one goes on.
    """
    recalled = ("base.sampling=recall",)
    whole = sweep_of(DIGITS, tmp_path, f"out={tmp_path / 'whole'}", *recalled)
    run(whole)
    parts = sweep_of(DIGITS, tmp_path, f"out={tmp_path / 'parts'}", *recalled)
    for _ in range(3):
        (chain,) = lineages(parts)
        while chain.t in {row.t for row in chain.rows()}:
            chain.advance()
        chain.advance()
    assert results(parts) == results(whole)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    short = sweep_of(
        DIGITS, tmp_path, f"out={tmp_path / 'pruned'}", "generations=1", "keep=last", *recalled
    )
    _run_and_prune(short)
    longer = sweep_of(DIGITS, tmp_path, f"out={tmp_path / 'pruned'}", "keep=last", *recalled)
    (chain,) = run(longer)
    assert chain.fits == 2, "the new model, and the founder again, whose classes are recalled"
    ours, theirs = files(tmp_path / "pruned"), files(tmp_path / "whole")
    newest = {name for name in ours if chain.path[2].model in name or chain.path[2].draw in name}
    assert newest and all(ours[name] == theirs[name] for name in newest)


def _run_and_prune(sweep: Sweep) -> None:
    store = Store(sweep.out)
    pruner = Pruner(sweep, store)
    for spec_ in sweep.lineages:
        pruner.begin(spec_)
    run(sweep, store)
    for spec_ in sweep.lineages:
        pruner.ended(spec_.id)


def test_networks_grow_with_the_tasks_where_training_goes_on(tmp_path: Path) -> None:
    """With one network for all tasks, and with a new one for each: sized for all classes."""
    sweep = sweep_of(DIGITS, tmp_path, "base.generator.warm_start=true")
    (chain,) = run(sweep)
    assert chain.rows()[-1].status == "ok" and chain.rows()[-1].t == 2
    model: Any = chain.cache.generator(2)
    assert [k for k, n in enumerate(model.config_["label_counts"]) if n] == [0, 1, 2, 3, 9]
    first: Any = Lineage(chain.spec, Store(sweep.out), generations=2).cache.generator(0)
    assert len(first.config_["label_counts"]) == 10


def test_a_judge_learns_what_the_model_learnt(tmp_path: Path) -> None:
    """Of earlier tasks there are no real rows, so a verifier cannot ask for them."""
    judged = "{name: verify, rule: top, share: 0.5, retrain: true, batch: 200, sampling: recall, "
    judged += "reward: {name: classifier, steps: 2}}"
    sweep = sweep_of(DIGITS, tmp_path, f"base.sampling={judged}", "generations=1")
    (chain,) = run(sweep)
    assert [row.status for row in chain.rows()] == ["ok"] * 2
    asked: Any = chain.cache.samples(1).y
    assert np.bincount(asked).tolist() == [6, 6, 6, 6]


def test_the_strip_shows_the_classes_that_were_trained_on(tmp_path: Path) -> None:
    (chain,) = run(sweep_of(DIGITS, tmp_path))
    strip = chain.cache.strip(2)
    assert strip.y is not None and strip.y.tolist() == [3, 1, 0, 2, 9]


def test_the_strip_leaves_out_a_class_that_the_newest_training_set_lost(tmp_path: Path) -> None:
    """Generation 0 draws it still, for recall."""
    (chain,) = run(sweep_of(DIGITS, tmp_path, "generations=1", "base.sampling=recall"))
    node, real = chain.cache.path[1], chain.cache.real(1)
    chain.cache.training_set = lambda node: real  # type: ignore[method-assign]
    chain.cache.fit(node, real)
    strip = chain.cache.strip(1)
    assert strip.y is not None and strip.y.tolist() == [0, 2]


def test_a_class_that_vanishes_from_a_stream_ends_it(tmp_path: Path) -> None:
    """Compared with the classes of the training set: replay without old classes loses none."""
    sweep = sweep_of(DIGITS, tmp_path, "base.policy={name: replay, replayed: false}")
    (chain,) = run(sweep)
    assert [row.status for row in chain.rows()] == ["ok"] * 3


def test_tasks_are_in_names_where_they_vary(tmp_path: Path) -> None:
    sweep = sweep_of(DIGITS, tmp_path, "grid={tasks: [5, [[0], [1], [2]]]}")
    names = [names_of(sweep).cell(own) for own in sweep.lineages]
    assert names == ["tasks=5", "[[0], [1], [2]]"], names


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", ["[0, 1]", "five", "1", "[[0, -1], [2]]", "true", "[[0.5]]"])
def test_tasks_are_a_number_or_lists_of_classes(tmp_path: Path, tasks: str) -> None:
    with pytest.raises(SpecError, match="should be how many tasks there are") as error:
        sweep_of(DIGITS, tmp_path, f"base.tasks={tasks}")
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tasks": 3}, "the 10 classes of digits do not divide into 3 tasks; say the classes of"),
        ({"tasks": 20}, "do not divide into 20 tasks; give at most 10"),
        ({"tasks": ((0, 1), (1, 2), (3,))}, "and tasks names class 1 2 times"),
        ({"tasks": ((0,), (10,), (3,))}, "digits has no class 10: its classes are 0 to 9"),
        ({"tasks": ((0,), (), (3,))}, "each task needs a class"),
        ({"tasks": ((0,), (1,))}, "generations 0 to 2 are 3 tasks, and 2 arrive"),
        ({"tasks": None}, "arrival tasks needs the tasks"),
        ({"arrival": "fixed"}, "tasks are of arrival tasks, and arrival is fixed"),
        ({"n_real": 1}, "n_real 1 is less than one row of each class of a task, which has 2"),
        ({"n_real": 240}, "asks 120 of class 0 for task 1, and digits has 119"),
        ({"params": {"real": 7}}, "wants 7 rows of each class of task 0, but of some 6 are there"),
        ({"n_synthetic": 11}, "wants 12 rows of generation 0 at generation 1, but 11 are there"),
        (
            {"arrival": "fixed", "tasks": None},
            "the policy replay is for streams of tasks; give arrival: tasks",
        ),
        (
            {"policy": "replace", "arrival": "fresh", "tasks": None, "sampling": "recall"},
            "the sampling recall is for streams of tasks",
        ),
        ({"policy": "replace"}, "replace takes no real rows at generation 1, so that no model"),
        ({"policy": "recent"}, "takes no real rows at generation 2"),
        (
            {"sampling": "recall", "params": {"replayed": False, "real": "all"}},
            "recall is about what is replayed, and replay(real=all, replayed=False) trains on no",
        ),
        (
            {"sampling": {"name": "verify", "rule": "top", "reward": {"name": "classifier"}}},
            "verify: its reward classifier would learn the first task alone; give retrain: true",
        ),
    ],
)
def test_what_is_no_stream_is_refused(more: dict[str, Any], said: str) -> None:
    policy, sampling = more.pop("policy", "replay"), more.pop("sampling", "plain")
    given = dict(sampling) if isinstance(sampling, dict) else {"name": sampling}
    own = Part("sampling", given.pop("name"), given)
    reason = refusal(spec(policy, sampling=own, **more), 2)
    assert reason is not None and said in reason, reason


@pytest.mark.parametrize(
    ("dataset", "generator", "said"),
    [
        ("gaussian", "gaussian", "tasks are groups of classes, and the data set gaussian has no"),
        ("regression", "linear_regression", "gives regression, which has none"),
        ("mixture", "gaussian", "recall"),
    ],
)
def test_data_without_classes_have_no_tasks(dataset: str, generator: str, said: str) -> None:
    parts = Part("dataset", dataset), Part("generator", generator), Part("policy", "replay")
    sampling = Part("sampling", "recall" if said == "recall" else "plain")
    own = LineageSpec(*parts, sampling, 20, 0, arrival="tasks", tasks=2)
    reason = refusal(own, 1)
    assert reason is not None and said in reason, reason


def test_a_judge_that_learns_labels_is_not_taught_what_has_none() -> None:
    inner = {"name": "relabel", "steps": 1}
    judge = {"rule": "top", "reward": {"name": "classifier"}, "retrain": True, "sampling": inner}
    sees = spec(sampling=Part("sampling", "verify", judge))
    own = replace(sees, generator=Part("generator", "vae", {"conditional": False}))
    assert "the reward classifier learns from labels" in (refusal(own, 2) or "")
    assert refusal(sees, 2) is None


@pytest.mark.parametrize("key", ["fid/task_01", "fid/task_-1", "fid/task_"])
def test_tasks_have_one_spelling(tmp_path: Path, key: str) -> None:
    """A rule about a key that no row ever has would never find a collapse."""
    more = ("metrics=[fid]", f"collapse={{metric: {key}, above: 2}}")
    with pytest.raises(SpecError, match="which fid does not return"):
        sweep_of(DIGITS, tmp_path, *more)


def test_what_is_a_stream_is_planned() -> None:
    assert refusal(spec(), 2) is None
    for policy in ("accumulate", "accumulate_subsample", "augment", "random_past"):
        assert refusal(spec(policy), 2) is None
    assert refusal(spec("replace", params={"synthetic_fraction": 0.5}), 2) is None
    learns = {"rule": "top", "reward": {"name": "classifier"}, "retrain": True}
    recalled = Part("sampling", "verify", {**learns, "sampling": {"name": "recall"}})
    assert refusal(spec(sampling=recalled), 2) is None
    assert refusal(spec(dataset=LANGUAGES, tasks=2, sampling=Part("sampling", "recall")), 1) is None


def test_accumulate_takes_all_that_was_drawn() -> None:
    """The draws grow with the tasks: n, 2 n, ..."""
    recipes = [node.recipe for node in path(spec("accumulate"), 2)]
    assert [[pick.count for pick in recipe] for recipe in recipes] == [[12], [12, 12], [12, 36]]


def test_a_plan_says_that_recalled_models_are_pruned(tmp_path: Path) -> None:
    recalled = sweep_of(DIGITS, tmp_path, "base.sampling=recall", "keep=last")
    (said,) = kept.warnings(recalled)
    assert said.startswith("recall draws from the models of earlier tasks, which are pruned")
    assert not kept.warnings(sweep_of(DIGITS, tmp_path, "base.sampling=recall"))
    assert not kept.warnings(sweep_of(DIGITS, tmp_path, "keep=last"))
    plan = make_plan(recalled, Store(recalled.out), 1)
    assert ("keeps", said) in plan_lines(plan, recalled)
    there = dict.fromkeys(paths(recalled), 0)
    assert to_json(plan, recalled, there)["keeps"] == [said]
