"""What "auto" came to mean stands in the rows of a lineage, and the report can say it."""

from __future__ import annotations

from pathlib import Path

from analysis.report.measured_by import measured_by
from engine.lineage.loop import Lineage
from engine.spec import LineageSpec, MeasureSpec, Part, Sweep
from engine.store.store import Store


def test_the_rows_name_the_extractor_and_the_network(tmp_path: Path) -> None:
    parts = {
        "dataset": "mixture",
        "generator": "gaussian",
        "policy": "replace",
        "sampling": "plain",
    }
    values = {kind: {"name": name} for kind, name in parts.items()}
    spec = LineageSpec.from_dict(
        {**values, "n_real": 60, "n_synthetic": 60, "arrival": "fixed", "seed": 0}
    )
    names = {"fid": {}, "kid": {"splits": 2}, "moments": {}}
    metrics = tuple(MeasureSpec(Part("metric", name, params)) for name, params in names.items())
    sweep = Sweep("s", (spec,), 1, metrics, out=str(tmp_path))
    store = Store(str(tmp_path))
    assert measured_by(sweep, store) == ""
    lineage = Lineage(spec, store, generations=1, metrics=metrics)
    while not lineage.done:
        lineage.advance()
    assert measured_by(sweep, Store(str(tmp_path))) == "raw: fid, kid"
