"""Yi's gain map: where verified data help, against exact losses,
and only where a grid asks for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.collapse.gain import LOSS, _losses, _theory, gains
from analysis.frame.rows import from_store
from analysis.frame.tables import records
from analysis.plots import gain as plots_gain
from analysis.plots import style
from analysis.report.figures import figures
from analysis.report.findings import Findings
from analysis.theory import verifier as theory_verifier
from analysis.theory.laws import against
from engine.spec import Sweep
from engine.store.store import Store
from tests.support.sweeps import run, sweep_of
from tests.theory import verifier as verifier_oracles

TEXT = """
base:
  dataset: {name: regression, d: 3, weights: ones, design_seed: 12345, replicates: 300}
  generator: linear_regression
  policy: {name: replace, whole: true}
  sampling: {name: verify, rule: threshold}
  n_real: 40
  n_synthetic: 120
grid:
  sampling.delta: [0.0, 0.3, 0.9]
  sampling.radius: [0.05, 0.5]
generations: 2
metrics: [moments]
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    made = sweep_of(TEXT, tmp_path_factory.mktemp("gain"))
    run(made, seconds=10)
    return made


def mapped(sweep: Sweep) -> pd.DataFrame:
    frame = from_store(sweep, progress=False)
    return gains(sweep.lineages, frame, against(frame, sweep.lineages))


def test_the_gain_is_half_the_log_of_the_losses(sweep: Sweep) -> None:
    table, frame = mapped(sweep), from_store(sweep, progress=False)
    assert len(table) == 2 * 6 and set(table["t"]) == {1, 2} and set(table["panel"]) == {""}
    own = frame[frame["key"] == "moments/weight_error"].set_index(["cell", "t"])
    loss, share = own["value"], own["se"] / own["value"]
    for row in records(table):
        assert row.gain == pytest.approx(np.log(loss[row.cell, 0] / loss[row.cell, row.t]) / 2)
        assert row.se == pytest.approx(np.hypot(share[row.cell, 0], share[row.cell, row.t]) / 2)


def test_losses_and_their_z_scores_are_taken_over_seeds() -> None:
    """Two seeds: errors add in squares, z-scores by the root of their number."""
    about = {"key": LOSS, "t": 1}
    frame = pd.DataFrame({"cell": list("aabb"), "value": [1.0, 3.0, 1.0, 1.0]}).assign(**about)
    losses = _losses(frame.assign(se=[0.3, 0.4, 0.3, np.nan])).set_index("cell")
    assert (losses.loss["a"], losses.se["a"]) == pytest.approx((2.0, 0.25))
    assert losses.loss["b"] == 1.0 and np.isnan(losses.se["b"]), "an error that is not known"
    laws = frame.assign(expected=[2.0, 4.0, 1.0, 1.0], z=[3.0, 4.0, np.nan, np.nan])
    theory = _theory(laws).set_index("cell")
    assert (theory.expected["a"], theory.z["a"]) == pytest.approx((3.0, 7 / np.sqrt(2)))
    assert np.isnan(theory.z["b"])


def test_losses_and_gains_are_those_of_theory(sweep: Sweep) -> None:
    """Generation 1 by quadrature direction by direction, which Theorem 3.1 approximates."""
    table, x0 = mapped(sweep), theory_verifier.yi_design(40, 3)
    _, mu, v = np.linalg.svd(x0, full_matrices=False)
    for row in records(table[table["t"] == 1]):
        centres, reach = (
            v @ (row.delta * theory_verifier.yi_direction(3)),
            row.radius + theory_verifier.CODE_SLACK,
        )
        exact = sum(
            verifier_oracles.one_round_error(1 / m**2, c, reach, 40)
            for m, c in zip(mu, centres, strict=True)
        )
        assert row.expected == pytest.approx(exact, rel=1e-6)
        assert row.theory == pytest.approx(np.log((1 / mu**2).sum() / exact) / 2)
    assert (
        table["z"].abs().max() < 4
        and ((table["gain"] - table["theory"]).abs() < 4 * table["se"]).all()
    )
    unbiased, biased = table[table["delta"] == 0.0], table[table["delta"] == 0.9]
    assert (unbiased["gain"] > 0.2).all() and (biased["gain"] < -0.2).all()


def test_the_report_has_a_map_and_only_for_a_grid_over_both(sweep: Sweep, tmp_path: Path) -> None:
    frame = from_store(sweep, progress=False)
    shown = {
        s.name: s for s in figures(Findings.of(sweep, frame), Store(sweep.out), pictures=False)
    }
    assert "gain_map" in shown and shown["gain_map"].numbers["z"].notna().all()
    for width in (style.WIDE, style.NARROW):
        figure = shown["gain_map"].draw(width)
        figure.canvas.draw()
        box = figure.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        assert box.x0 > -0.01 and box.x1 < width + 0.01
        assert sum(bool(axis.collections) for axis in figure.axes) >= 2, (
            "a map for generation 1 and one for 2"
        )
    one = sweep_of(TEXT.replace("[0.05, 0.5]", "[0.05]"), tmp_path)
    run(one, seconds=10)
    assert mapped(one).empty and mapped(Sweep("none", (), 1, ())).empty


def test_the_contour_of_no_gain_is_where_the_gain_changes_sign() -> None:
    cells = [(d, r) for d in (0.0, 0.5, 1.0) for r in (0.1, 0.2)]
    table = pd.DataFrame(cells, columns=["delta", "radius"]).assign(
        panel="", t=1, se=0.0, z=np.nan, theory=np.nan
    )
    figure = plots_gain.gain_map(table.assign(gain=0.25 - table["delta"]))
    lines = [
        p
        for c in figure.axes[0].collections
        for p in c.get_paths()
        if type(c).__name__ == "QuadContourSet"
    ]
    assert len(lines) == 1 and np.allclose(np.asarray(lines[0].vertices)[:, 0], 0.25)
