"""One sentence of the answer where what generation 0 already lacks explains the drift."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.collapse import lacks
from analysis.frame.tables import records

MOST_NAMED = 3  # cells in a sentence


def sentences(cells: pd.DataFrame, frame: pd.DataFrame, outcomes: pd.DataFrame | None) -> list[str]:
    """One sentence where what generation 0 lacks predicts the loss of variance of cells that
    collapsed, by the rule of `collapse.lacks.explained`.

    cells: `collapse.lacks.over_cells`.  outcomes: None where there is no rule.
    """
    found = lacks.explained(cells)
    if outcomes is not None:
        found = found[found["cell"].isin(_collapsed(outcomes))]
    if found.empty:
        return []
    labels = frame.drop_duplicates("cell").set_index("cell")["label"]
    best = found.assign(off=np.abs(np.log(found["share"])))
    rows = list(records(best.sort_values(["off", "cell"])))
    named = [str(labels[row.cell]) for row in rows[:MOST_NAMED]]
    more = f" and {len(rows) - MOST_NAMED} more cells" if len(rows) > MOST_NAMED else ""
    first, where = rows[0], " within the classes" if rows[0].key == lacks.WITHIN else ""
    return [
        f"What generation 0 lacks explains the drift of {', '.join(named)}{more}: in {named[0]}, "
        f"its draw has {first.founder:.2g} of the real variance{where}, and that ratio at each "
        f"retraining predicts {first.predicted:.2g} of it at generation {int(first.t)}, where "
        f"{first.measured:.2g} is measured."
    ]


def _collapsed(outcomes: pd.DataFrame) -> set[str]:
    """The cells at least half of whose judged lineages are past the level."""
    judged = outcomes[outcomes["verdict"].notna()]
    share: pd.Series = judged["verdict"].eq(True).groupby(judged["cell"].astype(str)).mean()
    return set(share[share >= 0.5].index)
