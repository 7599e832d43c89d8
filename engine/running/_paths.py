"""Where workers may look for modules."""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("engine", "analysis")
ROOT = Path(__file__).resolve().parents[2]


def hides(folder: Path) -> bool:
    """Whether a folder on the search path would hide the engine behind something of its name."""
    names = [name for package in PACKAGES for name in (package, f"{package}.py")]
    return folder.resolve() != ROOT and any((folder / name).exists() for name in names)
