"""Within a sweep every cell is compared at one n per metric: adding a cell that has fewer samples
measures the others again, and what was compared at that n before stays as it is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from analysis.frame.rows import from_store
from analysis.frame.wide import wide
from analysis.threshold.search import Search, report
from analysis.threshold.workflows import grown
from engine.api.outputs import recorded
from engine.api.work import search_board
from engine.console.summary import show_summary
from engine.experiment.reader import SpecError, read
from engine.lineage.history import histories
from engine.lineage.loop import Lineage
from engine.lineage.recipe import path
from engine.lineage.recorded import changes, with_files_of_output
from engine.outcome.document import to_json
from engine.outcome.summary import summarise
from engine.planning.plan import make_plan
from engine.running.job import Job
from engine.spec import Sweep
from engine.store.measured import Measured
from engine.store.store import Store
from engine.tracking.tracker import Parameters
from tests.support.sweeps import resume

FRACTIONS = [0.0, 0.6, 0.9]  # augment draws 200, 300 and 1,800 samples of each generation


def sweep_of(out: Path, **more: Any) -> Sweep:
    values: dict[str, Any] = {
        "base": {
            "dataset": {"name": "mixture", "modes": 5},
            "generator": {"name": "kde", "bandwidth": 0.1},
            "policy": "augment",
            "n_real": 200,
        },
        "grid": {"policy.synthetic_fraction": FRACTIONS},
        "generations": 0,
        "metrics": ["fid"],
        "out": str(out),
    }
    return read({**values, **more})


def founders(sweep: Sweep) -> list[Mapping[str, float]]:
    """What was measured of generation 0, by cell, in the order of the file."""
    found = histories(sweep, Store(sweep.out))
    return [found[spec.id].rows[0].values for spec in sweep.all_lineages]


def test_one_founder_has_one_n_one_reference_and_one_floor(tmp_path: Path) -> None:
    """Each cell at all that it draws, the same model had FID .054 (n = 200), .043 (300), .023
    (1,800): the floor of the Frechet distance falls as 1 / n.
    """
    sweep = sweep_of(tmp_path)
    assert [spec.n_drawn for spec in sweep.all_lineages] == [200, 300, 1800]
    alone = []
    for spec in sweep.lineages:  # a sweep of one cell compares all that it draws
        own = sweep_of(tmp_path / spec.id, grid={})
        own = replace(own, lineages=(spec,))
        resume(own, Store(own.out))
        alone += founders(own)
    assert [values["fid/n"] for values in alone] == [200, 300, 1800]
    assert (
        alone[0]["fid"] > 2 * alone[2]["fid"]
        and alone[0]["fid/floor"] > 5 * (alone[2]["fid/floor"])
    )
    resume(sweep, Store(sweep.out))
    together = founders(sweep)
    assert [values["fid/n"] for values in together] == [200, 200, 200]
    assert len({values["fid/floor"] for values in together}) == 1
    assert together[0] == alone[0], "what was compared at this n is the same number"
    low, high = min(v["fid"] for v in together), max(v["fid"] for v in together)
    assert high < 1.25 * low  # one model, three draws of 200


def test_a_cell_with_fewer_samples_measures_the_others_again_and_a_plan_counts_it(
    tmp_path: Path,
) -> None:
    wide = sweep_of(tmp_path)
    first = replace(wide, lineages=wide.lineages[1:])  # 300 and 1,800
    resume(first, Store(first.out))
    assert [v["fid/n"] for v in founders(first)] == [300, 300]
    assert not changes(first, Store(first.out))
    plan = make_plan(wide, Store(wide.out), 1)
    assert (plan.missing, plan.unmeasured, plan.compared) == (1, {"fid": 2}, {"fid": 200})
    (said,) = changes(wide, Store(wide.out))
    assert said.startswith("measured before at another n than the one at which all cells are")
    assert "fid (now 200)" in said
    resume(wide, Store(wide.out))
    plan = make_plan(wide, Store(wide.out), 1)
    assert (plan.missing, plan.unmeasured) == (0, {})
    assert [v["fid/n"] for v in founders(wide)] == [200, 200, 200]
    assert not changes(wide, Store(wide.out))
    assert [v["fid/n"] for v in founders(first)] == [300, 300], "the old numbers are still there"
    whole = from_store(wide.out, progress=False)
    assert set(whole.loc[whole["key"] == "fid", "n"]) == {200}, "also without an experiment"


def test_only_what_is_compared_at_fewer_than_before_has_another_name(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, metrics=["fid", "nll", "moments", "modes"])
    names = [[metric.stored for metric in sweep.metrics_of(spec)] for spec in sweep.all_lineages]
    assert names[0] == ["fid", "nll", "moments", "modes"]
    assert names[1] == names[2] == ["fid~n200", "nll", "moments~n200", "modes~n200"]
    gaussian = sweep_of(tmp_path, **{"grid": {"n_real": [50, 100], "generator": ["gaussian"]}})
    gaussian = replace(gaussian, metrics=sweep.metrics)
    names = [[metric.stored for metric in gaussian.metrics_of(s)] for s in gaussian.lineages]
    assert names[1][2] == "moments", "those of a Gaussian are the model's own, at any n"


def test_held_out_rows_bound_what_is_compared(tmp_path: Path) -> None:
    """Digits hold out 597 rows, so that cells that draw 1,000 and 1,200 were always
    compared at one n; a classifier is trained on all that are drawn.
    """
    base = {"dataset": "digits", "generator": "vae", "policy": "replace", "n_real": 1000}
    metrics = ["fid", "kid", "conditional_fid", "classifier_accuracy"]
    sweep = sweep_of(tmp_path, base=base, grid={"n_synthetic": [1000, 1200]}, metrics=metrics)
    held_out = sweep.lineages[0].dataset.made.held_out(10**6)
    assert len(held_out) < 1000
    first, second = ([m.stored for m in sweep.metrics_of(spec)] for spec in sweep.lineages)
    assert second[:3] == first[:3] and second[3] == f"{first[3]}~n1000"
    assert sweep.n_of(sweep.metrics[0]) == len(held_out)


def test_a_file_says_n(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, metrics=[{"name": "fid", "n": 150}])
    assert sweep.metrics[0].id == "fid", "a collapse rule names it as before"
    resume(sweep, Store(sweep.out))
    assert [v["fid/n"] for v in founders(sweep)] == [150, 150, 150]
    frame = from_store(sweep, progress=False)
    assert set(frame.loc[frame["metric"] == "fid", "n"]) == {150}
    again = recorded(Store(sweep.out))
    assert {metric.id: metric.n for metric in again.metrics} == {"draw": None, "fid": 150}
    assert founders(again) and {v["fid/n"] for v in founders(again)} == {150}


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ({"name": "fid", "n": 201}, "fid is to compare n 201 samples of each generation, and not"),
        ({"name": "fid", "n": 1}, "n must be a whole number from 2, got 1"),
        ({"name": "fid", "n": "all"}, "n must be a whole number from 2, got 'all'"),
        (
            {"name": "nll", "n": 100},
            "values of nll do not depend on how many samples there are; leave n out",
        ),
    ],
)
def test_an_n_that_cannot_be_is_refused(metric: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="n") as caught:
        sweep_of(tmp_path, metrics=[metric])
    assert said in str(caught.value)


def test_a_control_is_compared_at_its_own_n(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    small = replace(sweep.lineages[0], n_real=50)
    beside = replace(sweep, control="size", controls=(small,))
    assert beside.n_of(beside.metrics[0]) == 200
    assert [m.n for m in beside.metrics_of(small)] == [None]
    resume(beside, Store(beside.out))
    own = founders(beside)
    assert [values["fid/n"] for values in own] == [200, 200, 200, 50]
    assert own[3]["fid/floor"] > 2 * own[0]["fid/floor"], "read against its own floor"


def test_a_search_is_compared_at_the_n_of_its_whole_axis(tmp_path: Path) -> None:
    """Whatever fractions are tried first, and in every table about it."""
    more = {
        "grid": {"policy.synthetic_fraction": [0.9]},
        "collapse": {"metric": "fid", "above": 3},
        "threshold": {"policies": {"augment": {"between": [0.3, 0.95]}}},
    }
    sweep = sweep_of(tmp_path, **more)
    assert sweep.lineages[0].n_drawn == 1800 and sweep.n_of(sweep.metrics[0]) == 200
    tried = sweep.lineages[0].at(0.8, 0)
    (metric,) = Job.of(sweep, Store(sweep.out), tried, 0).metrics
    assert metric.stored == "fid~n200"
    Lineage(tried, Store(sweep.out), generations=0, metrics=(metric,)).advance()
    assert grown(sweep, Store(sweep.out)).metrics_of(tried) == (metric,)


def test_a_job_travels_with_its_n(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    job = Job.of(sweep, Store(sweep.out), sweep.lineages[2], 0)
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))).metrics == job.metrics
    assert job.metrics[0].n == 200


def pictures(folder: Path, side: int, channels: int, labelled: bool = True) -> Path:
    """An npz of 40 pictures of two kinds."""
    shape = (40, side, side, channels)
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    folder.mkdir(exist_ok=True)
    file = folder / f"{side}-{channels}-{labelled}.npz"
    np.savez(file, images=x, **({"labels": np.arange(40) % 2} if labelled else {}))
    return file


def of_pictures(out: Path, file: Path, **more: Any) -> Sweep:
    base = {
        "dataset": {"name": "images", "path": str(file), "size": int(file.name.split("-")[0])},
        "generator": {"name": "vae", "steps": 1, "latent": 2},
        "policy": "replace",
        "n_real": 20,
    }
    return sweep_of(out, base=base, grid={}, **more)


@pytest.mark.parametrize(
    ("side", "channels", "labelled", "names"),
    [
        (32, 3, True, ["fid~lenet", "fid.extractor-lenet", "fid.extractor-raw"]),
        (32, 1, True, ["fid", "fid.extractor-lenet", "fid.extractor-raw"]),
        (16, 3, True, ["fid", "fid.extractor-lenet", "fid.extractor-raw"]),
        (32, 3, False, ["fid", "fid.extractor-raw"]),
    ],
)
def test_only_where_auto_means_another_extractor_is_the_name_another(
    side: int, channels: int, labelled: bool, names: list[str], tmp_path: Path
) -> None:
    asked = ["auto", "lenet", "raw"] if labelled else ["auto", "raw"]
    metrics = [{"name": "fid", "extractor": one} for one in asked]
    sweep = of_pictures(tmp_path, pictures(tmp_path, side, channels, labelled), metrics=metrics)
    assert [metric.stored for metric in sweep.metrics_of(sweep.lineages[0])] == names


def test_a_value_of_another_extractor_is_measured_again_also_where_the_pictures_are_not(
    tmp_path: Path,
) -> None:
    file = pictures(tmp_path / "data", 32, 3)
    sweep = of_pictures(tmp_path / "out", file)
    store = Store(sweep.out)
    resume(replace(sweep, metrics=()), store)
    (spec,) = sweep.lineages
    draw = path(spec, 0)[0].draw
    store.add_metric(draw, "fid", Measured({"fid": 9.0}, {}, {"extractor": "real_resnet18"}))
    assert "fid" not in founders(sweep)[0], "it is not mixed with values of lenet"
    assert make_plan(sweep, store, 1).unmeasured == {"fid": 1}
    (said,) = changes(sweep, store)
    assert said.startswith("measured before by other code, files or extractor: fid.")
    store.add_metric(draw, "fid~lenet", Measured({"fid": 2.0}, {}, {"extractor": "lenet"}))
    assert founders(sweep)[0]["fid"] == 2.0
    file.rename(tmp_path / "elsewhere.npz")  # as on another computer
    away = with_files_of_output(of_pictures(tmp_path / "out", file))
    assert away.lineages[0].dataset.absent
    for found in (away, recorded(Store(sweep.out))):
        assert founders(found)[0]["fid"] == 2.0


def test_a_plan_warns_of_fewer_samples_than_features(tmp_path: Path) -> None:
    """Digits have 84 features of LeNet and hold out 597 pictures, 59 of each class."""
    base = {"dataset": "digits", "generator": "vae", "policy": "replace", "n_real": 1000}
    metrics = ["fid", {"name": "kid", "n": 20}, "conditional_fid", "classifier_accuracy"]
    sweep = sweep_of(tmp_path, base=base, grid={}, metrics=metrics)
    (said,) = make_plan(sweep, Store(sweep.out), 1).warnings
    assert said.startswith("conditional_fid compares n 597, about 59 of each class, in 84 features")
    few = sweep_of(tmp_path, base=base, grid={}, metrics=[{"name": "fid", "n": 83}])
    (said,) = make_plan(few, Store(few.out), 1).warnings
    assert said.startswith("fid compares n 83 in 84 features (lenet) on digits: with fewer samples")
    wide = {"name": "gaussian", "d": 64}
    points = sweep_of(tmp_path, base={**base, "dataset": wide, "generator": "gaussian"}, grid={})
    assert not make_plan(points, Store(points.out), 1).warnings
    points = replace(points, metrics=(replace(points.metrics[0], n=63),))
    (said,) = make_plan(points, Store(points.out), 1).warnings
    assert said.startswith("fid compares n 63 in 64 features (raw) on gaussian")


def test_a_plan_warns_of_founders_that_differ_more_than_the_effect_asked_about(
    tmp_path: Path,
) -> None:
    """20 samples of five Gaussians: FID differs over four founders by 1.7; an effect of 1.2 or of
    1 / 1.2 is lost in that, one of 10 is not.
    """
    base = {"dataset": "mixture", "generator": "kde", "policy": "replace", "n_real": 20}
    grid = {"policy.synthetic_fraction": [0.5, 1.0]}

    def asked(metric: str = "fid", **rule: Any) -> Sweep:
        own = {"metric": metric, **rule}
        both = ["fid", "kid"]
        return sweep_of(tmp_path, base=base, grid=grid, seeds=4, metrics=both, collapse=own)

    sweep = asked(above=1.2)
    assert not make_plan(sweep, Store(sweep.out), 1).warnings, "no rows, nothing known"
    resume(sweep, Store(sweep.out))
    values = [v["fid"] for v in founders(sweep)]
    assert max(values) / min(values) > 1.2
    (said,) = make_plan(sweep, Store(sweep.out), 1).warnings
    assert said.startswith("fid of the founders of replace 0.5 differs over 4 seeds by a factor of")
    assert said.endswith(
        "(fid above 1.2 x generation 0: a factor of 1.2); more samples, or more seeds"
    )
    assert len(make_plan(asked(below=1 / 1.2), Store(sweep.out), 1).warnings) == 1
    assert not make_plan(asked(above=10), Store(sweep.out), 1).warnings
    kids = [v["kid"] for v in founders(sweep)]
    apart = max(kids) - min(kids)
    less, more = (asked("kid", above=apart * k, by="difference") for k in (0.9, 1.1))
    (said,) = make_plan(less, Store(sweep.out), 1).warnings
    assert f"differs over 4 seeds by {apart:.3g} squared MMD, more than" in said
    assert not make_plan(more, Store(sweep.out), 1).warnings


def test_n_is_shown_wherever_a_distance_is(tmp_path: Path) -> None:
    rule = {"metric": "fid", "above": 3}
    sweep = sweep_of(
        tmp_path, collapse=rule, threshold={"policies": {"augment": {"between": [0, 0.9]}}}
    )
    resume(sweep, Store(sweep.out))
    found = histories(sweep, Store(sweep.out))
    cells = summarise(sweep, found)
    assert [cell.n for cell in cells] == [200, 200, 200]
    said = Console(width=300, record=True, file=io.StringIO())
    show_summary(said, cells, sweep)
    search = Search(sweep, Store(sweep.out))
    search_board(sweep, search.workflows).show_results(said, found)
    words = said.export_text()
    assert "start, end: fid (n = 200) at generation 0" in words
    assert "collapse: fid above 3 x generation 0 (n = 200), generation 0" in words
    assert ("compares", "fid at n 200") in search.outlook()
    assert to_json(sweep, found)["compared"] == {"fid": 200}
    assert report(sweep, [])["compared"] == {"fid": 200}
    assert Parameters.of(sweep).by_name()["compared"] == "fid at n 200"
    frame = wide(found.values(), {})
    assert set(frame["fid_n"]) == {200}
