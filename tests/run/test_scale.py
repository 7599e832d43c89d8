"""Ten thousand lineages: planned in seconds, and whatever is said of them fits on a screen of 80
columns and 24 rows.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from engine.console.boards import SweepBoard
from engine.console.live import LiveTable
from engine.console.summary import show_summary
from engine.console.tables import failures, show_cells, show_plan, show_status
from engine.experiment.sources import load
from engine.lineage.history import History
from engine.lineage.recipe import Node, path
from engine.names import Names
from engine.outcome.summary import summarise
from engine.parts import Pick
from engine.planning import plan as planning
from engine.spec import LineageSpec, Sweep, digest
from engine.status import Status
from engine.store.store import Store
from tests.support.rows import generation
from tests.support.sweeps import sweep_of

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
MANY = """
base: {{dataset: {{name: gaussian, replicates: 2}}, n_real: 20}}
grid:
  generator: [gaussian, {{name: kde, bandwidth: 0.25}}]
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
  n_real: [20, 21, 22, 23, 24, 25, 26, 27, 28, 29]
seeds: {seeds}
generations: 3
metrics: [moments]
collapse: {{metric: moments/kl, above: 3.0}}
tracking: none
"""


def screen_of(height: int = 24, terminal: bool = True) -> Console:
    return Console(
        file=StringIO(),
        width=80,
        height=height,
        force_terminal=terminal,
        highlight=False,
        color_system=None,
    )


def said(console: Console) -> list[str]:
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    return list(lines)


def imagined(sweep: Sweep) -> dict[str, History]:
    """Drift grows with the fraction; of the first cells one lineage failed each."""
    found = {}
    for i, spec in enumerate(sweep.lineages):
        failed, kl = i % 25 == 3 and i < 75, 1.0 + 5 * (spec.synthetic_fraction or 0)
        rows = [
            generation(spec.id, t, {"moments/kl": kl if t else 1.0})
            for t in range(sweep.generations + 1)
        ]
        reason = "ValueError: no"
        found[spec.id] = History(
            spec,
            tuple(rows[: 2 if failed else None]),
            Status.FAILED if failed else Status.OK,
            reason if failed else "",
        )
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return replace(
        sweep_of(MANY.format(seeds=25), tmp_path_factory.mktemp("many")), source="many.yaml"
    )


def test_ten_thousand_lineages_are_planned_in_seconds(many: Sweep) -> None:
    started = time.process_time()
    known = planning.paths(many)
    plan = planning.make_plan(many, Store(many.out), 2, known)
    assert time.process_time() - started < 4  # 0.7 s on a quiet machine
    assert (plan.lineages, plan.cells, plan.asked) == (10_000, 400, 40_000)
    console = screen_of()
    show_plan(console, plan, many)
    show_cells(console, many, planning.rows_there(Store(many.out), known))
    lines = said(console)
    assert (
        15 < len(lines) <= 23
        and lines[-1] == "... and 389 more cells (`ouro plan many.yaml --json` has all)"
    )


def test_status_and_summary_fit_on_a_screen_and_begin_with_what_matters(many: Sweep) -> None:
    found, console = imagined(many), screen_of()
    show_status(console, many, found, {})
    show_summary(console, summarise(many, found), many)
    lines = said(console)
    assert 15 < len(lines) <= 22
    assert lines[1] == "gaussian, replace 0.1, n=20, seed 3 and 2 other lineages: ValueError: no"
    shown = lines[4 : next(i for i, line in enumerate(lines) if line.startswith("..."))]
    assert all("1 failed" in line and "24 of 25 done" not in line for line in shown[:3])
    assert len(shown) == 11 and all("6 x" in line and " yes " in line for line in shown[3:])
    assert (
        lines[4 + len(shown)]
        == "... and 389 more that drift less (`ouro status many.yaml --json` has all)"
    )


def test_a_pipe_gets_a_hundred_cells(many: Sweep) -> None:
    found, console = imagined(many), screen_of(terminal=False)
    show_summary(console, summarise(many, found), many)
    show_cells(console, many, {})
    assert 200 < len(said(console)) < 220


def test_the_live_table_fits_and_is_drawn_at_once(many: Sweep) -> None:
    board, console = SweepBoard(many, planning.make_plan(many, Store(many.out), 2)), screen_of()
    for spec in many.lineages[:5000]:
        board.row(spec.id, 3, 2.0, 1.0, 4, 0.1, False)
        board.ended(spec.id, "ok")
    for text in ("one", "two", "three", "four"):
        board.note(text)
    table, started = LiveTable(console, board), time.process_time()
    console.print(table.render())
    assert time.process_time() - started < 0.5  # 0.01 s
    lines = said(console)
    assert (
        len(lines) < 24
        and "20000 of 40000 generations" in "".join(lines)
        and "more cells" in "".join(lines)
    )


def test_failures_are_told_by_reason(many: Sweep) -> None:
    specs, names = many.lineages[:30], Names(many.lineages)
    one = [History(specs[0], (), Status.FAILED, "A")]
    assert failures(one, names) == ["gaussian, replace 0.1, n=20, seed 0: A"]
    assert failures([*one, History(specs[1], (), Status.FAILED, "A")], names) == [
        "gaussian, replace 0.1, n=20, seed 0 and 1 other lineage: A"
    ]
    folders = [f"after {i} s: run /tmp/ouro-{i}-weights-a{i}_/out\n\n  why" for i in range(2)]
    both = [History(specs[i], (), Status.FAILED, own) for i, own in enumerate(folders)]
    assert failures(both, names) == [
        "gaussian, replace 0.1, n=20, seed 0 and 1 other lineage: "
        "after 0 s: run /tmp/ouro-0-weights-a0_/out | why"
    ], "no two programs work in one folder"
    found = [History(s, (), Status.FAILED, f"reason {'x' * i}") for i, s in enumerate(specs)]
    each = failures(found, names)
    assert len(each) == 6 and each[-1] == "... and 25 more reasons"


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_keys_are_digests_of_what_made_a_generation(file: Path) -> None:
    """Put together for speed, and the same bits as the canonical JSON of the values."""
    sweep = load(file)
    for spec in (*sweep.lineages[:3], *sweep.lineages[-3:]):
        check_keys(spec, min(sweep.generations, 3))


def check_keys(spec: LineageSpec, generations: int) -> None:
    earlier: list[str] = []  # models, of which a draw of a stream of tasks may take some
    for node in path(spec, generations):
        recipe = [_picked(node, pick) for pick in node.recipe]
        warm = earlier[-1] if earlier and spec.generator.continues else None
        made_of = {
            "generator": json.loads(spec.generator.fitted),
            "seed": spec.seed,
            "t": node.t,
            "recipe": recipe,
            "parent": warm,
        }
        assert node.model == digest(made_of)
        drawn = {
            "model": node.model,
            "sampling": spec.sampling.canonical,
            "n": spec.n_drawn * (1 if spec.tasks is None else node.t + 1),
            "real": node.real,
        }
        if earlier and spec.tasks and spec.sampling.has("TASKS"):
            drawn["earlier"] = earlier
        if spec.generator.drawing:  # what only changes how the model is drawn from
            drawn["drawing"] = spec.generator.drawing
        assert node.draw == digest(drawn)
        earlier = [*earlier, node.model]


def _picked(node: Node, pick: Pick) -> list[object]:
    """A pick as it stands in a key: the rows of each class last, where it is of so many."""
    per_class = [pick.per_class] if pick.per_class else []
    return [pick.how, pick.count, [node.sources[s] for s in pick.sources], *per_class]


def test_a_grid_of_lineages_is_unfolded_in_seconds(many: Sweep) -> None:
    """Tune copies the whole grid for every lineage of it: of dicts 17 s of CPU for 1,000, half an
    hour for 10,000.
    """
    from ray.tune.search.variant_generator import generate_variants

    from engine.running.job import Job
    from engine.running.ray_tune import _job, _packed

    jobs, started = (
        [Job.of(many, Store(many.out), spec, 3) for spec in many.lineages[:1000]],
        time.process_time(),
    )
    grid = {"config": {"job": {"grid_search": [_packed(job) for job in jobs]}}}
    assert [_job(found["config"]) for _, found in generate_variants(grid)] == jobs
    assert time.process_time() - started < 4  # 0.5 s
