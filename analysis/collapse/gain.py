"""Yi's gain map (2510.16657): what a verifier of some bias (`delta`) and selectivity (`radius`)
makes of its own samples.

gain at t = 1/2 log(loss of generation 0 / loss of generation t): above 0 verified synthetic data
beat the real data alone.  The loss is the squared error of the weights, a mean over replicates and
                           seeds.  Not the gain over samples without a verifier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.names import Names
from engine.registry import describe
from engine.spec import LineageSpec, Part

LOSS = "moments/weight_error"
AXES = ("delta", "radius")
ABOUT = ["cell", "panel", *AXES, "t"]
NUMBERS = [
    "loss_0",
    "loss",
    "expected",
    "z",
    "gain",
    "se",
    "theory",
]  # expected, z: of the loss; theory: of the gain


def gains(specs: Iterable[LineageSpec], frame: pd.DataFrame, laws: pd.DataFrame) -> pd.DataFrame:
    """One row per cell of a grid over both axes, at generation 1 and at the last: loss, gain, se,
    theory, z.  Else no rows.

    se takes the two losses for independent; they share their founder, so it is rather too large.
    laws: `laws.against`.
    """
    placed = _placed(specs, frame)
    if placed.empty:
        return pd.DataFrame(columns=[*ABOUT, *NUMBERS])
    losses = _losses(frame).merge(_theory(laws), on=["cell", "t"], how="left")
    first = losses[losses["t"] == 0].drop(columns="t").set_index("cell").add_suffix("_0")
    later = losses[losses["t"].isin({1, losses["t"].max()} - {0})].join(
        first, on="cell", how="inner"
    )
    found = placed.merge(later, on="cell")
    found["gain"] = np.log(found["loss_0"] / found["loss"]) / 2
    found["se"] = np.hypot(found["se_0"] / found["loss_0"], found["se"] / found["loss"]) / 2
    found["theory"] = np.log(found["expected_0"] / found["expected"]) / 2
    return found[[*ABOUT, *NUMBERS]].sort_values(ABOUT[1:], ignore_index=True)


def _losses(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and s.e. of the loss by cell and generation; replicates of different seeds are
    independent.
    """
    rows = frame[(frame["key"] == LOSS) & frame["value"].gt(0)]
    rows = rows.assign(cell=rows["cell"].astype(str), square=rows["se"] ** 2)
    found = rows.groupby(["cell", "t"], as_index=False).agg(
        loss=("value", "mean"),
        square=("square", lambda s: s.sum(skipna=False)),
        n=("value", "size"),
    )
    return found.assign(se=np.sqrt(found["square"]) / found["n"])[["cell", "t", "loss", "se"]]


def _theory(laws: pd.DataFrame) -> pd.DataFrame:
    """What the loss should be, and by how many standard errors it is not (over the seeds)."""
    own = laws[laws["key"] == LOSS].astype({"expected": float, "z": float})
    found = own.groupby(["cell", "t"], as_index=False).agg(
        expected=("expected", "mean"), z=("z", "sum"), n=("z", "count")
    )
    z = (found["z"] / np.sqrt(found["n"])).where(found["n"] > 0)
    return found.assign(z=z, cell=found["cell"].astype(str))[["cell", "t", "expected", "z"]]


def _placed(specs: Iterable[LineageSpec], frame: pd.DataFrame) -> pd.DataFrame:
    """Where each cell of a verifier is on the map, and on which; maps that do not vary both axes
    are left out.
    """
    cells = {
        s.cell_id: s
        for s in specs
        if s.sampling.name == "verify" and s.sampling.params.get("rule") == "threshold"
    }
    about = frame.drop_duplicates("cell")[["cell"]].astype(str)
    about = about[about["cell"].isin(list(cells))].reset_index(drop=True)
    for axis in AXES:
        about[axis] = [float(_value(cells[cell].sampling, axis)) for cell in about["cell"]]
    about["panel"] = _panels([cells[cell] for cell in about["cell"]])
    wide = about.groupby("panel")[list(AXES)].transform("nunique").gt(1).all(axis=1)
    return about.loc[wide, ["cell", "panel", *AXES]]


def _panels(specs: list[LineageSpec]) -> list[str]:
    """What each cell's map is called; nothing where there is one."""
    maps = [replace(spec, sampling=_rest(spec.sampling)) for spec in specs]
    names = Names(maps)
    panels = [names.workflow(spec) for spec in maps]
    return panels if len(set(panels)) > 1 else ["" for _ in panels]


def _value(sampling: Part, name: str) -> Any:
    return sampling.params.get(name, describe("sampling", sampling.name).parameters[name].default)


def _rest(sampling: Part) -> Part:
    """The verifier apart from its place on the map."""
    params = {k: v for k, v in sampling.params.items() if k not in AXES}
    return Part("sampling", sampling.name, params)
