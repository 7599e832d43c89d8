"""What the argument FILE of a command means: an experiment file, the name of an experiment that
comes with the engine, or an output (a folder or URL), which keeps what it was made from.
"""

from __future__ import annotations

import difflib
import errno
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.experiment.given import Overrides
from engine.experiment.kept import FOLDER, kept, place
from engine.experiment.reader import of_text
from engine.experiment.yaml import MOST_BYTES
from engine.files import expanded, read_regular
from engine.lineage.recorded import with_files_of_output
from engine.spec import Sweep
from engine.store.outputs import IDENTITY, existing, is_output, reached
from engine.store.store import Store

ENDINGS = (".yaml", ".yml")
# a wheel holds them beside this file, a checkout at its top
INSTALLED, CHECKOUT = Path(__file__).parent / "shipped", Path(__file__).parents[2] / "experiments"


class NoExperiment(Exception):
    """A FILE that means no experiment, or several."""


@dataclass(frozen=True)
class Source:
    """The text of an experiment.

    name    of the experiment.
    place   where the text lies: a path or URL.
    output  that keeps it; '' of a file that lies elsewhere.
    """

    name: str
    place: str
    text: bytes
    output: str = ""


def load(file: str | Path, overrides: Overrides = (), out: str | None = None) -> Sweep:
    """Read the sweep that a FILE means, with these overrides of its values; out: instead of its
    output.  Files of data that are not on this computer are those that the output was made from.

    NoExperiment, NoOutput, SpecError with all problems, OSError when it cannot be read.
    """
    source = find(str(file))
    sweep = of_text(
        source.text,
        name=source.name,
        source=source.place,
        output=source.output,
        overrides=overrides,
    )
    try:
        own = expanded(out) if out else sweep.out
    except ValueError as error:
        raise NoExperiment(str(error)) from None
    return with_files_of_output(replace(sweep, source=str(file), file=_whole(source), out=own))


def _whole(source: Source) -> str:
    """The whole path of an experiment file."""
    return "" if source.output or "://" in source.place else str(Path(source.place).resolve())


def find(file: str) -> Source:
    """Find the text that a FILE means.  NoExperiment, NoOutput, OSError when it cannot be read."""
    if "://" in file:
        return _of_url(file)
    path = Path(file)
    if path.exists() and not path.is_dir():
        output = _output_of(path.absolute(), file)
        if not output:
            return Source(path.stem, file, read_regular(path, MOST_BYTES))
        store = Store(output, repairs=False)
        text = _text(store, store.path(FOLDER, path.name))
        return Source(path.stem, file, text or b"", output)
    known = shipped()
    by_name = file in known and not (path.is_dir() and is_output(Store(file, repairs=False)))
    if by_name:
        return Source(file, str(known[file]), known[file].read_bytes())
    if path.is_dir():
        return _of_output(file)
    raise NoExperiment(f"{file}: no such file or folder{_near(path)}")


def shipped() -> dict[str, Path]:
    """Return the experiments that come with the engine: name -> file."""
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def _of_url(url: str) -> Source:
    if not url.endswith(ENDINGS):
        return _of_output(url)
    above, name = posixpath.split(url)
    store = reached(above)
    text = _text(store, store.path(name))
    if text is None:
        raise NoExperiment(f"{url}: no such object{_said(name, store.names(''))}")
    output, folder = posixpath.split(above)
    held = folder == FOLDER and is_output(Store(output, repairs=False))
    return Source(posixpath.splitext(name)[0], url, text, output if held else "")


def _of_output(url: str) -> Source:
    """The one experiment that an output keeps."""
    store = existing(reached(url))
    names = kept(store)
    if not names:
        raise NoExperiment(
            f"{url} keeps no experiment, as outputs of earlier versions; give the experiment's "
            f"file, and --out {url}"
        )
    if len(names) > 1:
        files = " or ".join(place(url, name) for name in names)
        raise NoExperiment(f"{url} keeps {len(names)} experiments; give one of them: {files}")
    text = _text(store, store.path(FOLDER, f"{names[0]}.yaml"))
    return Source(names[0], place(url, names[0]), text or b"", url)


def _text(store: Store, path: str) -> bytes | None:
    """The text of an experiment in a store; None when it is not there.

    Damaged when something else is in its place; OSError for more bytes than an experiment may have,
    of which no more are fetched.
    """
    if store.local:
        return store.read(path, MOST_BYTES)
    try:
        with store.fs.open(path, "rb") as file:
            text = bytes(file.read(MOST_BYTES + 1))
    except FileNotFoundError:
        return None
    if len(text) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MOST_BYTES:,} bytes", path)
    return text


def _output_of(path: Path, given: str) -> str:
    """The output that keeps this file, as it was given; '' when none does."""
    output = path.parent.parent
    if (
        path.parent.name != FOLDER
        or path.suffix != ".yaml"
        or not is_output(Store(str(output), repairs=False))
    ):
        return ""
    seen = Path(given).parent
    return str(seen.parent if seen.name == FOLDER else output)


def _near(path: Path) -> str:
    """The experiments and outputs whose names are nearest, as the rest of a sentence."""
    beside = [str(file) for ending in ENDINGS for file in path.parent.glob(f"*{ending}")]
    beside += [str(file.parent) for file in path.parent.glob(f"*/{IDENTITY}")]
    said = _said(str(path), beside)
    return said or _said(path.stem, shipped())


def _said(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 2)
    return f"; did you mean {' or '.join(near)}?" if near else ""
