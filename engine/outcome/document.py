"""What `summary.json` and `ouro status --json` hold of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from engine.files import JsonObject
from engine.lineage.history import History
from engine.names import names_of
from engine.outcome.continual import kept
from engine.outcome.control import controls
from engine.outcome.summary import summarise
from engine.spec import Sweep


def to_json(sweep: Sweep, histories: Mapping[str, History]) -> JsonObject:
    """The cells, what they keep of earlier tasks, their controls, and every lineage's end."""
    cells = [{**asdict(cell), "verdict": cell.verdict} for cell in summarise(sweep, histories)]
    names = names_of(sweep)
    lineages = {
        h.spec.id: {
            "label": names.cell(h.spec),
            "seed": h.spec.seed,
            "t": h.t,
            "status": h.status.value,
            "reason": h.reason,
            "printed": h.failure.printed if h.failure else "",
            "control": h.spec.id in sweep.control_ids,
        }
        for h in histories.values()
    }
    statuses = Counter(v["status"] for v in lineages.values())
    head = {
        "name": sweep.name,
        "question": sweep.question,
        "generations": sweep.generations,
        "collapse": None if sweep.collapse is None else sweep.collapse.to_dict(),
        "compared": sweep.compared,
    }
    sizes = [own.to_dict() for own in controls(sweep, histories)]
    remembered = [own.to_dict() for own in kept(sweep, histories)]
    found = {"cells": cells, "kept": remembered, "controls": sizes, "lineages": lineages}
    return {**head, "statuses": dict(statuses), **found}
