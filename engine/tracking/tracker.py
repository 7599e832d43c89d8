"""Trackers: where the numbers of a sweep are mirrored to, for charts beside the store.

The store is the truth and a tracker its mirror: whatever it does, training goes on, and what it
missed is filled in from the rows later.

One backend is one file in this folder, found by the scheme of its URI.  It says which in a
constant `SCHEMES`, may name a package of an optional extra in `NEEDS`, schemes that it takes no
more in `GONE`, those whose place is a folder in `FOLDERS`, and has the two functions of `Backend`.
Nothing else need be edited to add one.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

import numpy as np

from engine._foreign import without_passwords
from engine.names import Names
from engine.settings import CollapseRule, Every, Keep
from engine.spec import LineageSpec, Sweep
from engine.store.rows import Generation
from engine.store.store import Store

if TYPE_CHECKING:
    from engine.lineage.loop import Outcome  # training: seconds to import

# generation -> RGB [height, width, 3] uint8; or text, a line for each sample
Pictures = Callable[[int], np.ndarray | str | None]
Checkpoint = Callable[[int], Path | None]  # generation -> folder of its weights


@dataclass(frozen=True)
class Parameters:
    """What all lineages of a sweep have in common, as a tracker shows it."""

    generations: int
    collapse: CollapseRule | None = None
    keep: Keep = "all"
    source: str = ""
    metrics: tuple[str, ...] = ()  # their ids
    compared: Mapping[str, int] = field(default_factory=dict)  # samples that each compares

    @classmethod
    def of(cls, sweep: Sweep) -> Parameters:
        metrics = tuple(metric.id for metric in sweep.metrics)
        about = (sweep.generations, sweep.collapse, sweep.keep, sweep.source)
        return cls(*about, metrics, sweep.compared)

    def by_name(self) -> dict[str, object]:
        """Plain values, as an experiment file has them."""
        return {
            "generations": self.generations,
            "source": self.source,
            "collapse": None if self.collapse is None else self.collapse.to_dict(),
            "keep": self.keep.to_dict() if isinstance(self.keep, Every) else self.keep,
            "metrics": ", ".join(self.metrics),
            "compared": ", ".join(f"{name} at n {n}" for name, n in self.compared.items()) or None,
        }


class Tracker(Protocol):
    """Mirrors the lineages of one sweep.

    All methods return True when the tracker has everything, False when it is behind (`trouble` says
    why); none of them raises.  Mirroring a row again changes nothing.
    """

    name: str  # as people know it, such as MLflow

    @property
    def behind(self) -> bool:
        """Whether it lacks something it was told."""

    @property
    def trouble(self) -> str:
        """The last failure, or ''."""

    def open_sweep(
        self, question: str, params: Parameters, lineage_count: int, columns: Sequence[str] = ()
    ) -> bool:
        """Find or create the sweep; columns: the metrics that a table of it should show."""

    def open_lineage(self, spec: LineageSpec, rows: Iterable[Generation] = ()) -> bool:
        """Find or create the lineage; rows: all that are committed (`mirror` logs them)."""

    def mirror(
        self,
        spec: LineageSpec,
        rows: Iterable[Generation],
        pictures: Pictures | None = None,
        checkpoint: Checkpoint | None = None,
        keep: Keep = "all",
    ) -> bool:
        """Log what is lacking of these rows, of their pictures and, by the keep rule, weights."""

    def finish_lineage(self, spec: LineageSpec, outcome: Outcome) -> bool:
        """Set the end state; the status `unfinished` is no end."""

    def finish_sweep(
        self, status: str, summary: dict[str, float], artifacts: Iterable[Path] = ()
    ) -> bool:
        """Log the summary; status: FINISHED, FAILED or KILLED."""


class Nop:
    """The tracker of `tracking: none`: never behind, nothing to show."""

    name = "no tracker"
    behind = False
    trouble = ""

    def open_sweep(
        self, question: str, params: Parameters, lineage_count: int, columns: Sequence[str] = ()
    ) -> bool:
        return True

    def open_lineage(self, spec: LineageSpec, rows: Iterable[Generation] = ()) -> bool:
        return True

    def mirror(
        self,
        spec: LineageSpec,
        rows: Iterable[Generation],
        pictures: Pictures | None = None,
        checkpoint: Checkpoint | None = None,
        keep: Keep = "all",
    ) -> bool:
        return True

    def finish_lineage(self, spec: LineageSpec, outcome: Outcome) -> bool:
        return True

    def finish_sweep(
        self, status: str, summary: dict[str, float], artifacts: Iterable[Path] = ()
    ) -> bool:
        return True


@dataclass(frozen=True)
class Address:
    """Where a sweep is tracked."""

    uri: str
    artifacts: str | None = None  # folder of files, where the backend wants one of its own

    @property
    def scheme(self) -> str:
        """The backend's name in the URI: `postgresql` of postgresql+psycopg2://..."""
        return self.uri.partition("://")[0].partition("+")[0].lower()


@dataclass(frozen=True)
class Pages:
    """A tracker's own pages of a sweep."""

    name: str  # as people know the tracker
    url: Callable[[], str]  # where to look, asked once the server answers
    command: tuple[str, ...] = ()  # the server to start on this machine; empty: one runs elsewhere
    # of the server, given a private folder that is there as long as it
    environment: Callable[[Path], Mapping[str, str]] = lambda private: {}
    recorded: bool = True  # whether there is anything to show


class Backend(Protocol):
    """What a backend's file defines."""

    def connect(self, address: Address, sweep_name: str, sweep_id: str, names: Names) -> Tracker:
        """Make a tracker: costs little and risks nothing, connects when it is first used."""

    def serve(self, address: Address, sweep_name: str, port: int) -> Pages:
        """Say where the pages are, or which server shows them on this port."""


# ---- finding one ---------------------------------------------------------------------------------


def address_of(sweep: Sweep, store: Store) -> Address | None:
    """Return where a sweep is tracked; None for `tracking: none`; left out, beside the output."""
    if sweep.tracking == "none":
        return None
    if sweep.tracking:
        return Address(sweep.tracking)
    from engine.tracking.mlflow_rows import local

    return Address(*local(Path(store.root) if store.local else Path("runs") / sweep.name))


def open_tracker(
    address: Address | None, sweep_name: str, sweep_id: str, names: Names | None = None
) -> Tracker:
    """Make the tracker of an address; names: of its runs.  ValueError for an unknown scheme."""
    if address is None:
        return Nop()
    return _backend(address).connect(address, sweep_name, sweep_id, names or Names(()))


def serve(address: Address, sweep_name: str, port: int) -> Pages:
    """Return the tracker's pages.  ValueError for a scheme that no backend has."""
    return _backend(address).serve(address, sweep_name, port)


def refusal(tracking: str | None) -> str:
    """Say why the value of `tracking` names no tracker, or ''."""
    if tracking is None or tracking == "none":
        return ""
    scheme, shown = Address(tracking).scheme, without_passwords(tracking)
    if scheme in backends():
        if shown != tracking and scheme in _constants(backends()[scheme]).get("FOLDERS", ()):
            return f"{shown} was given with a password, but is a folder, which would be called so"
        return _no_place(tracking, scheme, shown)
    for name in sorted(set(backends().values())):
        if said := _constants(name).get("GONE", {}).get(scheme):
            return f"{shown}: {said}"
    known = ", ".join(f"{name}://" for name in sorted(backends()))
    return f"no tracker has the scheme {scheme}:// of {shown!r}; there are: {known} (or none)"


def _no_place(tracking: str, scheme: str, shown: str) -> str:
    """Say why an address can never be reached, or ''."""
    rest = tracking.partition("://")[2]
    if not rest or (scheme == "sqlite" and not rest.strip("/")):
        return f"{shown} names no place"
    if scheme not in ("http", "https"):
        return ""
    try:
        parts = urlsplit(tracking)
        computer, _ = parts.hostname, parts.port  # a port is a number up to 65535
    except ValueError as error:
        return f"{shown} is no address ({error})"
    return "" if computer else f"{shown} names no computer"


def lack(address: Address | None) -> str:
    """Say which package this tracker lacks on this machine and how to get it, or ''."""
    if address is None or refusal(address.uri):
        return ""
    name = backends()[address.scheme]
    for package, extra in _constants(name).get("NEEDS", {}).items():
        if find_spec(package) is None:
            shown = without_passwords(address.uri)
            return (
                f"tracking {shown} needs the package {package}, which is not installed; "
                f"pip install 'ouroboros-engine[{extra}]' installs it"
            )
    return ""


@cache
def backends() -> dict[str, str]:
    """Return the file name of each scheme's backend; nothing is imported."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        for scheme in _constants(file.stem).get("SCHEMES", ()):
            found[scheme] = file.stem
    return found


@cache
def _constants(name: str) -> dict[str, Any]:
    """Return the literal constants of a file of this folder."""
    found = {}
    for node in ast.parse((Path(__file__).parent / f"{name}.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constant = node.targets[0].id
            if constant in ("SCHEMES", "NEEDS", "GONE", "FOLDERS"):
                found[constant] = ast.literal_eval(node.value)
    return found


def _backend(address: Address) -> Backend:
    if problem := refusal(address.uri):
        raise ValueError(problem)
    name = backends()[address.scheme]
    return cast(Backend, importlib.import_module(f"engine.tracking.{name}"))
