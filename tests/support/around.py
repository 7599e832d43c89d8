"""What stands around a draw, for samplings and metrics that are tried without a lineage."""

from __future__ import annotations

from engine.contracts.companions import NOTHING as NOTHING
from engine.contracts.companions import around as around
from engine.contracts.companions import trained_on as trained_on
