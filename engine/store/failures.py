"""How the store keeps a failure: why a lineage ended by an error."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from engine.status import FailureKind
from engine.store import shapes

# what the records of older versions, which name no kind, say by the name of their error
OLD_KINDS = {
    "NotReproduced": FailureKind.NOT_REPRODUCED,
    "FileNotFoundError": FailureKind.ENVIRONMENT,
    "ModuleNotFoundError": FailureKind.ENVIRONMENT,
    "Unwritable": FailureKind.ENVIRONMENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a lineage ended by an error: of which kind, where it was raised, and when."""

    kind: FailureKind
    error: str  # its type
    message: str
    t: int  # the generation that was to be made; -1: none was begun
    file: str
    line: int
    traceback: str
    time: float
    printed: str = ""  # what its programs printed: in the output, with .out and .err at its end

    @property
    def reason(self) -> str:
        where = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.error}: {self.message}{where}"

    @classmethod
    def from_json(cls, value: object) -> Failure:
        found = shapes.mapping(value)
        error = shapes.text(found.get("error"))
        return cls(
            kind=shapes.member(found["kind"], FailureKind) if "kind" in found else _old_kind(error),
            error=error,
            message=shapes.text(found.get("message")),
            t=shapes.integer(found.get("t"), least=-1, most=shapes.LAST),
            file=shapes.text(found.get("file")),
            line=shapes.integer(found.get("line") or 0),
            traceback=shapes.text(found.get("traceback")),
            time=shapes.number(found.get("time")),
            printed=shapes.text(found.get("printed", "")),
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "kind": self.kind.value}


def _old_kind(error: str) -> FailureKind:
    return OLD_KINDS.get(error, FailureKind.BUG)
