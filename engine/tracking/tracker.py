"""The tracker for `tracking: none`: has every method of `engine.tracking.Tracker` and does nothing
(and imports no mlflow).
"""

from __future__ import annotations

from typing import Any


class Nop:
    """Never behind, nothing to show."""

    behind = False
    trouble = ""

    def open_sweep(self, *_: Any, **__: Any) -> bool:
        return True

    def open_lineage(self, *_: Any, **__: Any) -> bool:
        return True

    def mirror(self, *_: Any, **__: Any) -> bool:
        return True

    def finish_lineage(self, *_: Any, **__: Any) -> bool:
        return True

    def finish_sweep(self, *_: Any, **__: Any) -> bool:
        return True
