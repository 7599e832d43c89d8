"""Whether a part knows what it says it knows (engine/knowledge.py)."""

from __future__ import annotations

from collections.abc import Mapping

from engine.contracts.verdicts import require
from engine.knowledge import knows
from engine.parts import declared


def members(protocol: type) -> list[str]:
    """What a protocol asks for."""
    own = [*protocol.__annotations__, *vars(protocol)]
    return [name for name in own if not name.startswith("_")]


def require_knows(part: object, protocols: Mapping[str, type]) -> None:
    """Broken unless it has what it says it knows, and says so of all that it has."""
    for word, protocol in protocols.items():
        lacks = [name for name in members(protocol) if not hasattr(part, name)]
        said = knows(part, word)
        require(not (said and lacks), f"it says it knows {word!r}, but has no {', '.join(lacks)}")
        require(said or bool(lacks), f"it has all of {word!r}, and does not say so")
    unknown = set(declared(part, "KNOWS")) - protocols.keys()
    require(not unknown, f"nobody asks for {', '.join(sorted(unknown))}")
