"""Generations made elsewhere: the numbers of a lineage, refusals, verdict, page, command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

import engine
from analysis.report.page import placed
from engine.cli.main import app
from engine.cli.measure import rule
from engine.store.disk import Unwritable
from engine.store.reader import UNASKED

RAW = [
    {"name": "fid", "extractor": "raw"},
    {"name": "precision_recall", "extractor": "raw"},
    {"name": "otdd", "extractor": "raw"},
]
SEED, N = 5, 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real pictures, a lineage on them, and its generations as npz, folders and folders without
    classes.
    """
    root, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    x = (
        rng.integers(0, 255, (120, 8, 8, 3)).astype(np.uint8)
        // (1 + np.arange(120) % 3)[:, None, None, None]
    )
    np.savez(root / "real.npz", images=x.astype(np.uint8), labels=np.arange(120) % 3)
    result = engine.run(lineage(root), out=root / "out", local=True)
    assert result.complete and len(result.failures) == 0
    for t in range(3):
        drawn = result.samples(t=t)
        assert drawn.y is not None
        np.savez(root / f"g{t}.npz", images=drawn.x, labels=drawn.y)
        for i, (pixels, label) in enumerate(zip(drawn.x, drawn.y, strict=True)):
            for place in (root / f"sorted{t}" / str(label), root / f"flat{t}"):
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / f"{i:04d}.png")
    return root


def real(root: Path) -> dict[str, Any]:
    place = {"path": str(root / "real.npz"), "size": 8, "held_out_fraction": 0.4}
    return {"name": "images", **place}


def lineage(root: Path) -> engine.Sweep:
    return engine.sweep(
        dataset=real(root),
        generator={"name": "vae", "steps": 2, "width": 8, "latent": 2},
        n_real=N,
        generations=2,
        metrics=RAW,
        tracking="none",
        seeds=[SEED],
    )


def measured(root: Path, what: str, metrics: Any = RAW, **more: Any) -> engine.Curve:
    places = [root / what.format(t) for t in range(3)]
    return engine.measure(real(root), places, metrics=metrics, n_real=N, seed=SEED, **more)


@pytest.mark.parametrize("what", ["g{}.npz", "sorted{}"])
def test_generations_have_the_numbers_of_the_lineage_that_made_them(made: Path, what: str) -> None:
    ours = engine.run(lineage(made), out=made / "out", local=True).frame()
    theirs = measured(made, what).frame()
    about = ["lineage", "seed", "dataset", "generator", "policy", "sampling"]
    numbers = [c for c in ours.columns if c not in {*about, "synthetic_fraction", "n_real"}]
    numbers = [name for name in numbers if not name.startswith(UNASKED)]  # of own draws
    assert {"fid.extractor-raw_floor", "otdd.extractor-raw"} <= set(numbers)
    assert set(numbers) == set(theirs.columns) - {"source", "n"}
    for name in numbers:
        assert theirs[name].tolist() == ours[name].tolist(), name


def test_pictures_without_classes_have_the_metrics_that_need_none(made: Path) -> None:
    flat = measured(made, "flat{}", RAW[:2]).frame()
    labelled = measured(made, "g{}.npz", RAW[:2]).frame()
    assert np.allclose(flat["fid.extractor-raw"], labelled["fid.extractor-raw"], rtol=1e-9)
    with pytest.raises(
        engine.SpecError, match="otdd needs labelled samples, and the generator of "
    ):
        measured(made, "flat{}")


def test_a_folder_of_pictures_is_real_data_too(made: Path) -> None:
    found = engine.measure(made / "sorted0", [made / "sorted1", made / "flat2"], metrics=RAW[:1])
    assert found.n == N and found.frame()["fid.extractor-raw_n"].tolist() == [8.0, 8.0]


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({"n": N + 1}, ("generations", 0), "has 40 samples, 41 are to be compared"),
        ({"n_real": 100}, ("real",), "100"),
        ({"metrics": ["nll"]}, ("metrics", 0), "nll measures points"),
        ({"metrics": ["fd"]}, ("metrics", 0), "did you mean 'fid'"),
        ({"metrics": []}, ("metrics",), "at least one metric"),
        ({"generations": ["nowhere"]}, ("generations", 0), "nowhere is not there"),
        ({"generations": []}, ("generations",), "at least one generation"),
        ({"real": "nowhere"}, ("real",), "no data set is called so"),
        ({"real": {"name": "markov"}}, ("real",), "markov gives text, and generations made"),
        ({"real": "a" * 300}, ("real",), "a cannot be read: file name too long"),
        ({"generations": ["a" * 300]}, ("generations", 0), "a cannot be read: file name too long"),
        ({"collapse": {"metric": "kid", "above": 3}}, ("collapse", "metric"), "not measured"),
        ({"collapse": {"metric": "fid"}}, ("collapse",), "one of above and below"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_its_key(
    made: Path, change: dict[str, Any], key: tuple[Any, ...], said: str
) -> None:
    asked: dict[str, Any] = {
        "real": real(made),
        "generations": [made / "g0.npz"],
        "metrics": ["fid"],
    }
    with pytest.raises(engine.SpecError) as error:
        engine.measure(**{**asked, **change})
    found = {problem.path: problem.message for problem in error.value.problems}
    assert said in found[key]


def test_weights_that_are_not_here_are_told_before_anything_is_measured(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_WEIGHTS", str(tmp_path))
    fid = {"name": "fid", "extractor": "resnet18"}
    with pytest.raises(engine.EnvironmentProblem, match="ouro download resnet18"):
        engine.measure(real(made), [made / "g0.npz"], metrics=[fid])
    asked = ["measure", json.dumps(real(made)), str(made / "g0.npz"), "--metric", json.dumps(fid)]
    assert CliRunner().invoke(app, asked).exit_code == 4


def test_all_problems_of_a_measurement_come_at_once(made: Path) -> None:
    with pytest.raises(engine.SpecError) as error:
        engine.measure(real(made), ["a", "b"], metrics=["fd", "fid"])
    paths = [problem.path for problem in error.value.problems]
    assert paths == [("metrics", 0), ("generations", 0), ("generations", 1)]


def test_generations_of_another_shape_or_class_are_refused(made: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", images=np.zeros((50, 9, 9, 3), np.uint8))
    np.savez(tmp_path / "grey.npz", images=np.zeros((50, 8, 8), np.uint8))
    pixels = np.zeros((50, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "strange.npz", images=pixels, labels=np.full(50, 7))
    places = [tmp_path / f"{name}.npz" for name in ("large", "grey", "strange")]
    with pytest.raises(engine.SpecError) as error:
        engine.measure(real(made), places, metrics=["fid"])
    large, grey, strange = (str(problem) for problem in error.value.problems)
    assert "9 x 9 pixels" in large and "give size=8" in large
    assert "[8, 8, 1], the real ones have [8, 8, 3]" in grey
    assert "classes that the real data lack: 7; there are: 0, 1, 2" in strange
    cut = engine.measure(real(made), places[:1], metrics=RAW[:1], size=8)
    assert cut.frame()["status"].tolist() == ["constant"]


def test_a_class_that_vanished_from_a_generation_is_a_result(made: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(made / "sorted1", tmp_path / "gone")
    shutil.rmtree(gone / "2")
    (gone / "2").mkdir()
    metrics = [{"name": "conditional_fid", "extractor": "raw"}]
    frame = engine.measure(real(made), [made / "sorted0", gone], metrics=metrics, n_real=N).frame()
    coverage = frame["conditional_fid.extractor-raw/coverage"]
    assert coverage.tolist() == [1, pytest.approx(2 / 3)]
    assert "class 2 has 0 synthetic samples" in str(frame["undefined"][1])
    for pixels in (gone / "0").iterdir():
        pixels.unlink()
    for pixels in (gone / "1").iterdir():
        pixels.unlink()
    with pytest.raises(engine.SpecError, match="gone holds no pictures"):
        engine.measure(real(made), [gone], metrics=metrics, n_real=N)


def test_pictures_of_a_generation_are_read_as_the_real_ones_are(made: Path, tmp_path: Path) -> None:
    """A palette holds the same colours; a damaged picture is named."""
    for file in sorted((made / "flat0").iterdir()):
        Image.open(file).convert("RGBA").save(tmp_path / file.name)
    fid = RAW[:1]
    theirs, ours = (
        engine.measure(real(made), [place], metrics=fid, n_real=N).frame()
        for place in (tmp_path, made / "flat0")
    )
    assert theirs["fid.extractor-raw"].tolist() == ours["fid.extractor-raw"].tolist()
    (tmp_path / file.name).write_bytes(b"no picture")
    with pytest.raises(engine.SpecError, match=f"{file.name} cannot be read as a picture"):
        engine.measure(real(made), [tmp_path], metrics=fid, n_real=N)


def test_generations_are_judged_by_a_rule(made: Path) -> None:
    curve = measured(made, "g{}.npz", RAW[:1])
    values = curve.frame()["fid.extractor-raw"]
    low = curve.judge({"metric": "fid.extractor-raw", "above": values[2] / values[0] * 0.99})
    high = curve.judge({"metric": "fid.extractor-raw", "above": values[2] / values[0] * 1.01})
    assert low.collapsed is True and high.collapsed is False and high.at in (None, 1)
    assert low.judged.value == values[2] and "collapsed" in repr(low)
    with pytest.raises(engine.SpecError, match="did you mean 'above'"):
        curve.judge({"metric": "fid.extractor-raw", "abov": 3})
    with pytest.raises(ValueError, match="no collapse rule"):
        curve.judge()


def test_points_of_a_known_law_are_measured_against_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for t in range(3):
        np.savez(tmp_path / f"g{t}.npz", points=rng.normal(0, 0.5**t, (200, 1)))
    curve = engine.measure(
        {"name": "gaussian", "d": 1},
        [tmp_path / f"g{t}.npz" for t in range(3)],
        metrics=["moments"],
        n_real=200,
        collapse={"metric": "moments/trace_ratio", "below": 0.5, "of": "one"},
    )
    ratios = curve.frame()["moments/trace_ratio"]
    assert np.allclose(ratios, [1, 0.25, 0.0625], rtol=0.3)
    assert (curve.judge().collapsed, curve.judge().at) == (True, 1)
    nats = {"metric": "moments/log_det_ratio", "below": 2.0, "by": "difference"}
    assert (curve.judge(nats).collapsed, curve.judge(nats).at) == (True, 2)
    with pytest.raises(engine.SpecError, match="write by: difference"):
        curve.judge(nats | {"by": "ratio"})
    assert rule("fid, above, 2, difference") == {"metric": "fid", "above": 2.0, "by": "difference"}
    with pytest.raises(engine.SpecError, match="drawn without end; say how many"):
        engine.measure("gaussian", [tmp_path / "g0.npz"], metrics=["moments"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_are_measured_with_their_classes(ending: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, n in (("real", 150), ("g0", 60), ("g1", 60)):
        kinds = np.array(["low", "high"])[np.arange(n) % 2]
        x = rng.normal(0, 1, (n, 2)) + 3.0 * (kinds == "high")[:, None]
        table, place = pd.DataFrame(x, columns=["a", "b"]).assign(kind=kinds), tmp_path / name
        if ending == "csv":
            table.to_csv(place.with_suffix(".csv"), index=False)
        else:
            table.to_parquet(place.with_suffix(".parquet"))
    where, *places = (tmp_path / f"{name}.{ending}" for name in ("real", "g0", "g1"))
    curve = engine.measure(where, places, metrics=["fid", "conditional_fid"], label="kind")
    frame = curve.frame()
    assert frame["status"].tolist() == ["ok", "ok"] and frame["conditional_fid"].notna().all()
    assert (frame["fid"] < 1).all() and curve.n == 60


def test_a_curve_shows_itself_and_writes_its_page(made: Path, tmp_path: Path) -> None:
    curve = measured(
        made, "g{}.npz", RAW[:2], collapse={"metric": "fid.extractor-raw", "above": 1e6}
    )
    assert repr(curve).startswith("<Curve of 3 generations against images, n 40")
    assert "not collapsed" in curve._repr_html_() and isinstance(curve.plot(), Figure)
    page = curve.report(tmp_path / "page.html").read_text()
    assert "not collapsed: fid.extractor-raw above" in page and page.count("<figure") == 4
    assert "numbers: .csv" not in page, "no figure lies beside it"
    assert "g2.npz" in page and [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert "numbers: .csv" in curve.report(tmp_path / "folder").read_text()
    assert (tmp_path / "folder" / "figures" / "curve_fid.extractor-raw.csv").exists()


def test_the_command_says_the_same(made: Path, tmp_path: Path) -> None:
    command = ["measure", json.dumps(real(made)), *(str(made / f"g{t}.npz") for t in range(3))]
    command += ["--metric", json.dumps(RAW[0]), "--n-real", str(N), "--seed", str(SEED)]
    rule = ["--collapse", "fid.extractor-raw,1000000"]
    said = CliRunner().invoke(app, [*command, *rule, "--json"])
    assert said.exit_code == 0, said.output
    found, frame = json.loads(said.stdout), measured(made, "g{}.npz", RAW[:1]).frame()
    values = [row["values"]["fid.extractor-raw"] for row in found["generations"]]
    assert values == frame["fid.extractor-raw"].tolist() and found["n"] == N
    assert found["verdict"] == {"collapsed": False, "at": None, "undefined": ""}
    page = tmp_path / "page.html"
    said = CliRunner().invoke(app, [*command, "--report", str(page)])
    assert said.exit_code == 0 and page.exists() and "n = 40 of each" in said.stdout


def test_the_command_refuses_with_an_exit_code(made: Path) -> None:
    asked = ["measure", "nowhere", str(made / "g0.npz"), "--metric", "fid"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 2 and "ouro measure: real: nowhere is not there" in said.stderr
    asked = ["measure", json.dumps(real(made)), str(made / "g0.npz"), "--metric", "fid"]
    said = CliRunner().invoke(app, [*asked, "--collapse", "fid"])
    assert said.exit_code == 2 and "METRIC,ABOVE" in said.stderr


def test_columns_are_compared_by_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)

    def table(name: str, columns: list[str]) -> Path:
        x = rng.normal((0, 100), 1, (40, 2))
        frame = pd.DataFrame(x, columns=["a", "b"]).assign(c=1.0)[columns]
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        return tmp_path / f"{name}.csv"

    real, turned = table("real", ["a", "b"]), table("turned", ["b", "a"])
    curve = engine.measure(real, [turned], metrics=["fid"])
    assert curve.frame()["fid"].iloc[0] < 10, "by place it would be 20,000"
    chosen = {"name": "table", "path": str(table("wide", ["c", "a", "b"])), "columns": ["b", "a"]}
    assert engine.measure(chosen, [turned], metrics=["fid"]).frame()["fid"].iloc[0] < 10
    for columns in (["a", "c"], ["a", "b", "c"], ["a"]):
        with pytest.raises(engine.SpecError, match=r"other\.csv has the coordinates a.*have a, b"):
            engine.measure(real, [table("other", columns)], metrics=["fid"])


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ({}, "a metric is {name: ..., its parameters}, got {}"),
        ({"name": 3}, "a metric is {name: ..., its parameters}"),
        ({"name": "fid", "every": 0}, "every must be a whole number from 1, got 0"),
    ],
)
def test_a_metric_that_is_none_is_refused(metric: dict[str, object], said: str) -> None:
    with pytest.raises(engine.SpecError) as refused:
        engine.measure({}, ["nowhere"], metrics=[metric])
    assert f"metrics.0: {said}" in str(refused.value)
    assert "real: a dataset is {name: ..., its parameters}, got {}" in str(refused.value)


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.html").mkdir()

    def make(folder: Path, alone: bool) -> Path:
        (folder / "report.html").write_text("page")
        return folder / "report.html"

    for place in (tmp_path / "file" / "page.html", tmp_path / "folder.html"):
        with pytest.raises(Unwritable, match=f"cannot write to {place}: "):
            placed(place, make)
    assert placed(tmp_path / "own" / "page.html", make).read_text() == "page"


def test_a_metric_that_compares_fewer_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for name in ("real", "g0"):
        pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"]).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    words = ["measure", f"{tmp_path}/real.csv", f"{tmp_path}/g0.csv", "--metric", "fid"]
    said = CliRunner().invoke(app, words).output
    assert "n = 40 of each" in said and "of these, fid compares 8: as many as" in said
    said = CliRunner().invoke(app, [*words, "--n", "8"]).output
    assert "n = 8 of each" in said and "of these" not in said


def test_a_metric_is_given_its_n_and_says_its_features(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(80, 2))
    for name in ("real", "g0", "g1"):
        np.savetxt(tmp_path / f"{name}.csv", x, delimiter=",", header="a,b", comments="")
    places, metrics = [tmp_path / "g0.csv", tmp_path / "g1.csv"], [{"name": "fid", "n": 8}]
    curve = engine.measure(tmp_path / "real.csv", places, metrics=metrics)
    assert set(curve.frame()["fid_n"]) == {8} and curve.n == 80
    assert curve.behind == {"fid": "raw"}
    words = [
        "measure",
        str(tmp_path / "real.csv"),
        *map(str, places),
        "--metric",
        "{name: fid, n: 8}",
    ]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "fid is of the features of raw" in said.output and "fid compares 8" in said.output
    with pytest.raises(engine.SpecError, match="fid is to compare n 81 samples, 80 are compared"):
        engine.measure(tmp_path / "real.csv", places, metrics=[{"name": "fid", "n": 81}])


def test_of_generations_made_elsewhere_nobody_knows_the_training_set(made: Path) -> None:
    asked = [{"name": "solver", "steps": 5}, {"name": "alignment", "extractor": "raw"}]
    frame = measured(made, "g{}.npz", metrics=asked).frame()
    assert frame["alignment.extractor-raw/auc"].notna().all()
    assert frame["solver.steps-5"].isna().all() and frame["solver.steps-5/chance"].notna().all()
    said = "these generations were made elsewhere: only their samples are at hand"
    assert frame["undefined"].str.contains(said).all()
