"""What the keep rule of a sweep prunes although it is read again: models of earlier tasks."""

from __future__ import annotations

from engine.spec import Sweep


def warnings(sweep: Sweep) -> list[str]:
    """A sentence where samplings draw from earlier models that are not all kept, and training one
    again takes more than milliseconds.
    """
    recalling = [spec for spec in sweep.all_lineages if spec.sampling.has("TASKS")]
    costly = [spec for spec in recalling if spec.generator.constant("COST") != "tiny"]
    if sweep.keep == "all" or not costly:
        return []
    said = ", ".join(dict.fromkeys(spec.sampling.label for spec in costly))
    return [
        f"{said} draws from the models of earlier tasks, which are pruned once a lineage has its "
        "last generation: continued with more tasks, or its draws made again, they are trained "
        "again first; keep: all keeps them"
    ]
