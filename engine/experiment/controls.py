"""The controls of a sweep: which chains are run again at a quarter of their size.

`control: size` asks for them.  What a cell loses for want of data shrinks with n, what its sampler
or network loses does not: the pair tells them apart (engine/outcome/control.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.experiment.consistency import refusal
from engine.spec import LineageSpec, Refused


def controls(
    lineages: Iterable[LineageSpec], generations: int
) -> tuple[list[LineageSpec], list[Refused]]:
    """The lineages at a quarter of the size that are not lineages of the grid themselves; and the
    cells whose control makes no sense, a reason each.
    """
    own = {spec.id: spec for spec in lineages}
    found: dict[str, LineageSpec] = {}
    reasons: dict[str, str | None] = {}  # by cell: seeds change nothing
    refused = []
    for spec in own.values():
        quarter = spec.quarter()
        cell = f"{spec.cell_id} {quarter.n_real}"
        if cell not in reasons:
            reasons[cell] = refusal(quarter, generations)
            if reason := reasons[cell]:
                refused.append(Refused(quarter, f"control at a quarter of the size: {reason}"))
        if reasons[cell] is None and quarter.id not in own:
            found[quarter.id] = quarter
    return list(found.values()), refused
