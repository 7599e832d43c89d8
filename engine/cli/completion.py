"""What a shell completes after `ouro COMMAND`: experiments and outputs, parts.

`ouro --install-completion` tells the shell once.
"""

from __future__ import annotations

from pathlib import Path


def experiments(incomplete: str) -> list[str]:
    """Names of experiments that come with ouro, experiment files, and folders."""
    from engine.experiment.sources import shipped

    names = [name for name in shipped() if name.startswith(incomplete)]
    return sorted(names) + _paths(incomplete)


def parts(incomplete: str) -> list[str]:
    """Kinds of parts, and the names of all parts."""
    from engine import registry

    known = {name for kind in registry.KINDS for name in registry.names(kind)}
    words = ["check", *registry.KINDS, *sorted(known)]
    return [word for word in words if word.startswith(incomplete)]


def _paths(incomplete: str) -> list[str]:
    """Folders and YAML files whose path begins so."""
    folder, _, beginning = incomplete.rpartition("/")
    place = Path(f"{folder}/" if "/" in incomplete else ".").expanduser()
    found = []
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        wanted = path.name.startswith(beginning) and (beginning or not path.name.startswith("."))
        if wanted and (path.is_dir() or path.suffix in (".yaml", ".yml")):
            name = f"{folder}/{path.name}" if "/" in incomplete else path.name
            found.append(name + ("/" if path.is_dir() else ""))
    return found
