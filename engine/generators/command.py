"""Any program as a generator: a command line that trains a model, and one that draws from it.

For models that live in a repository of their own: nothing of it is ported.  The program is run
without a shell, in an empty folder, where copies of its `files` lie; it finds its data at {data},
leaves its model in the folder {model}, and its samples at {out}.  From an experiment file this
needs --allow-commands; a class of one's own that inherits and gives fixed lines does not: it has a
constructor of its own, and states TINY, ACCEPTS and CONDITIONAL for it.  The text of that class is
in its key, the files that its lines name are not: take them by a parameter of the type OnDisk.

What it prints is kept in the output: logs/commands/LINEAGE.out and .err
(engine/running/_printed.py).
"""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine import commands
from engine.commands import FitLine, SampleLine
from engine.files import weights_folder
from engine.generators import _exchange, _program
from engine.generators._exchange import BadOutput, Rows
from engine.parts import OnDisk, Params, PositiveFloat
from engine.samples import Samples

ROWS = "rows.json"  # what its rows look like, beside the model's own files
ARRAYS = ("npz", "safetensors", "jsonl")


class Command:
    """A program's model; what the program left in {model} is all that is known of it.

    fit          the command line that trains.  {data}: the training set, {model}: an empty folder
                 for the model, {seed}: a whole number below 2^31, {n}: rows of the training set.
    sample       the command line that draws.  {model}: what fit left there, {n}: how many,
                 {seed}, {out}: where to write them, {labels}: a file with the label to draw each
                 given, a line each, {bias}: the quality-diversity knob, 1 for honest sampling.
    files        scripts and folders that are copied to where the program works; their contents
                 are in the key.  None: the lines name all they need.
    version      any text; another one makes other models: the version of a program whose files
                 are not given.
    format       of {data} and {out}: npz and safetensors hold arrays x and y, jsonl a line
                 {"x": ..., "y": ...} per sample, png is a folder of pictures: in one folder per
                 label, or all together, in the order of the numbers in their names.  What is drawn
                 by label is in the order of {labels}, and needs no y.
    conditional  the program draws by class label, and is trained with labels.
    minutes      the longest that a line may take; None: as long as it wants.
    """

    TINY: ClassVar[Params] = {  # draws training rows again; no module beside Python's own
        "fit": "python -S -c 'import shutil, sys; shutil.copy(*sys.argv[1:])' {data} {model}/rows",
        "sample": (
            "python -S -c 'import random, sys; known, n, seed, bias, out = sys.argv[1:]; "
            "rows = random.Random(int(seed)).choices(open(known).readlines(), k=int(n)); "
            'open(out, "w").writelines(rows)\' {model}/rows {n} {seed} {bias} {out}'
        ),
        "format": "jsonl",
    }
    ACCEPTS = {"points": {"format": ARRAYS}, "tokens": {"format": ARRAYS}, "images": {}}
    CONDITIONAL = "conditional"
    DRAWING = ("sample",)

    def __init__(
        self,
        *,
        fit: FitLine,
        sample: SampleLine,
        files: list[OnDisk] | None = None,
        version: str = "",
        format: Literal["npz", "safetensors", "jsonl", "png"] = "npz",
        conditional: bool = False,
        minutes: PositiveFloat | None = None,
    ) -> None:
        for which, line in (("fit", fit), ("sample", sample)):
            if why := commands.problem(which, line):
                raise ValueError(f"command: {which}: {why}")
        if why := commands.mismatch(sample, conditional):
            raise ValueError(f"command: {why}")
        self.fit_line, self.sample_line, self.files = fit, sample, files or []
        self.version, self.format, self.conditional = version, format, conditional
        self.minutes = minutes

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        """Run the fit line; reports how many files it left, and their bytes."""
        self.rows_, folder = Rows.of(data), self._new_folder()
        with _program.workplace(self.files) as place:
            there = _exchange.write(data, place / "data", self.format)
            values = {"data": there, "model": folder, "n": len(data), "seed": _seed(rng)}
            self._run("fit", self.fit_line, values, place)
        sizes = [size for size, _ in _signature(folder).values()]
        if not sizes:
            raise BadOutput("command: the fit line ended well and left nothing in {model}")
        return {"model_files": len(sizes), "model_bytes": sum(sizes)}

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """Run the sample line: n samples, labelled by what it was given where it is conditional.

        ValueError for a bias that the line has no place for.
        """
        labels = labels if self.conditional else None
        self._refuse(labels, bias)
        before = _signature(self._folder)
        with _program.workplace(self.files) as place:
            out = _exchange.named(place / "out", self.format)
            if self.format == "png":
                out.mkdir()
            values = {"model": self._folder, "n": n, "seed": _seed(rng), "out": out}
            values |= {"bias": 1.0 if bias is None else bias, "labels": place / "labels.txt"}
            if labels is not None:
                np.savetxt(place / "labels.txt", labels, fmt="%d")
            self._run("sample", self.sample_line, values, place)
            try:
                drawn = _exchange.read(out, self.format, self.rows_, n, labels)
            except BadOutput as error:
                raise BadOutput(f"command: the sample line: {error}") from None
        if _signature(self._folder) != before:
            raise BadOutput(
                "command: the sample line changed files in {model}, so that a later draw would be "
                "another one; let it write elsewhere"
            )
        return drawn

    def _refuse(self, labels: np.ndarray | None, bias: float | None) -> None:
        if self.conditional and labels is None:
            raise ValueError("command: conditional is on, but the data set has no class labels")
        if bias not in (None, 1) and "bias" not in commands.placeholders(self.sample_line):
            raise ValueError(
                f"command: the sample line has no {{bias}}, so it cannot draw with {bias:g}"
            )

    def _run(self, which: str, line: str, values: Mapping[str, object], place: Path) -> None:
        _program.run(which, commands.filled(line, values), place, self.minutes)

    # ---- the model ----

    def save(self, folder: Path) -> None:
        """The program's own files, as they are, below `model`."""
        shutil.copytree(self._folder, folder / "model")
        about = {"kind": self.rows_.kind, "shape": self.rows_.shape}
        (folder / ROWS).write_text(json.dumps(about))

    def load(self, folder: Path) -> None:
        about = json.loads((folder / ROWS).read_text())
        self.rows_ = Rows(about["kind"], tuple(about["shape"]))
        shutil.copytree(folder / "model", self._new_folder(), dirs_exist_ok=True)

    def _new_folder(self) -> Path:
        """An empty folder for the model, which goes when this object goes."""
        self._home = weights_folder()
        self._folder = Path(self._home.name)
        return self._folder


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _signature(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of a model; BadOutput for what no output can hold."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about, name = path.lstat(), path.relative_to(folder).as_posix()
        if stat.S_ISREG(about.st_mode):
            found[name] = about.st_size, about.st_mtime_ns
        elif not stat.S_ISDIR(about.st_mode):
            raise BadOutput(
                f"command: {name} in {{model}} is a link, a pipe or a device; a model is made of "
                "plain files"
            )
    return found
