"""Generations made elsewhere: the numbers of a lineage, refusals, verdict, page, command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

import engine
from engine.cli.main import app

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
    with pytest.raises(engine.SpecError, match="drawn without end; say how many"):
        engine.measure("gaussian", [tmp_path / "g0.npz"], metrics=["moments"])


def test_tables_are_measured_with_their_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, n in (("real", 150), ("g0", 60), ("g1", 60)):
        kinds = np.array(["low", "high"])[np.arange(n) % 2]
        x = rng.normal(0, 1, (n, 2)) + 3.0 * (kinds == "high")[:, None]
        rows = [f"{a},{b},{k}" for (a, b), k in zip(x.tolist(), kinds, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,kind", *rows]))
    places = [tmp_path / "g0.csv", tmp_path / "g1.csv"]
    curve = engine.measure(
        tmp_path / "real.csv", places, metrics=["fid", "conditional_fid"], label="kind"
    )
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
    assert "g2.npz" in page and [p.name for p in tmp_path.iterdir()] == ["page.html"]
    curve.report(tmp_path / "folder")
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
    assert CliRunner().invoke(app, asked).exit_code == 2
    asked = ["measure", json.dumps(real(made)), str(made / "g0.npz"), "--metric", "fid"]
    said = CliRunner().invoke(app, [*asked, "--collapse", "fid"])
    assert said.exit_code == 2 and "METRIC,ABOVE" in said.stderr
