"""What a finite data set holds, as far as it is known before any row of it is read: how many rows,
of which classes, in which shape; and what a computer lacks to read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.samples import Tokenizer, proportional_counts

MOST_NAMES = 5  # classes that are named in a line
LEAST_APART = 2  # rows held out: fewer have no spread to compare with
PARTS_OF_A_SET = frozenset(
    ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "holdout")
)  # names of folders that are seldom those of classes


@dataclass(frozen=True)
class Lack:
    """Something that this computer lacks and another one may have: no fault of the experiment."""

    what: str  # data set mnist
    where: str  # the file or folder that was looked for
    fix: str  # ouro download mnist

    def __str__(self) -> str:
        return f"no {self.what} at {self.where}: {self.fix}"


@dataclass(frozen=True)
class Contents:
    """What a finite data set holds.

    name        as a message calls it: digits, or the folder.
    train       rows to train on.
    held_out    rows that no model is trained on, and why they are that many.
    shape       of one row (height, width, channels).
    classes     names in the order of their labels; empty for unlabelled data.
    per_class   rows to train on, by label; empty where only the files of the rows could tell.
    apart       of each class the rows held out, where they are counted.
    left_out    files that are not read, relative to the folder.
    unread      what there is no file of the folder, with what it is: x.png (a pipe).
    copies      held-out rows whose file is also one of those to train on, byte for byte.
    rest        what this computer lacks of the whole set, where a part of it stands for it here.
    balanced    whether equally many rows of each class are drawn.
    vocabulary  different tokens of a text; 0: it is none.
    tokenizer   the pretrained one that encoded a text; None: there is none.
    cut         records whose completion does not fit into a row.
    fingerprint changes when the files do: for notes about them, in no key.
    content     digest of the files it is read from, in keys; '' of a published archive.
    """

    name: str
    train: int
    held_out: int
    why: str
    shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    per_class: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    copies: int = 0
    rest: Lack | None = None
    balanced: bool = False
    vocabulary: int = 0
    tokenizer: Tokenizer | None = None
    cut: int = 0
    fingerprint: str = field(default="", repr=False)
    content: str = field(default="", repr=False)

    @property
    def labelled(self) -> bool:
        return bool(self.classes)

    @property
    def rows(self) -> int:
        """All that are read."""
        return self.train + self.held_out

    def refusal(self, n: int, parts: int = 1) -> str:
        """Why n rows to train on, or so many parts of n rows, cannot be had; or ''."""
        found = self.split_refusal() or self._too_few(n) or self._too_few_of_a_class(n)
        return found or self._too_few_for_parts(n, parts)

    def split_refusal(self) -> str:
        """Why training and held-out rows cannot be told apart, or ''."""
        if not self.rows:
            return f"{self.name} holds nothing"
        if not self.held_out or not self.train:
            which = "held out" if not self.held_out else "left to train on"
            return f"of the {self.rows:,} rows of {self.name} none is {which} ({self.why})"
        if self.held_out < LEAST_APART:
            return (
                f"of the {self.rows:,} rows of {self.name} {self.held_out} is held out "
                f"({self.why}); at least {LEAST_APART} are needed to compare with"
            )
        return self._part_without_class()

    def _part_without_class(self) -> str:
        """The classes that one of the two parts has no row of, with their counts, or ''."""
        for which, lacking in (("to train on", self.per_class), ("held out", self.apart)):
            lost = [
                f"{name} ({train + apart} in all)"
                for name, train, apart, own in zip(
                    self.classes, self.per_class, self.apart, lacking, strict=False
                )
                if not own
            ]
            if lost:
                return (
                    f"{self.name}: too few rows for two parts; none {which} is left of class "
                    f"{named(lost)} ({self.why}); add rows to the class, remove it, or choose "
                    "another share"
                )
        return ""

    def _too_few(self, n: int) -> str:
        if n <= self.train:
            return ""
        return (
            f"{self.name} has {self.train:,} training rows, n_real is {n:,}; "
            f"{self.held_out:,} more are held out ({self.why})"
        )

    def _too_few_of_a_class(self, n: int) -> str:
        if not self.balanced or not self.per_class:
            return ""
        wanted = proportional_counts(np.ones(len(self.per_class), dtype=int), n)
        for name, want, have in zip(self.classes, wanted, self.per_class, strict=True):
            if want > have:
                most = len(self.per_class) * min(self.per_class)
                return (
                    f"balanced: n_real {n:,} asks {want:,} rows of class {name} of {self.name}, "
                    f"which has {have:,} to train on (others are held out: {self.why}); lower "
                    f"n_real to {most:,} or less"
                )
        return ""

    def _too_few_for_parts(self, n: int, parts: int) -> str:
        """Of data that arrive in parts, none of whose rows is in two of them."""
        most = self.train // n
        if self.balanced and self.per_class:
            wanted = proportional_counts(np.ones(len(self.per_class), dtype=int), n)
            each = zip(self.per_class, wanted.tolist(), strict=True)
            most = min(have // want for have, want in each if want)
        if parts <= most:
            return ""
        draws = (
            ", of which balanced draws of each class" if self.balanced and self.per_class else ""
        )
        return (
            f"arrival parts: n_real {n:,} x {parts:,} generations (0 to {parts - 1}) = "
            f"{n * parts:,} rows, and {self.name} has {self.train:,} to train on"
            f"{draws or ', which'} are enough for {most:,}; lower n_real or generations"
        )

    def lack(self, n: int, parts: int = 1) -> Lack | None:
        """What this computer lacks to give n rows, where another one may have them."""
        return self.rest if self.rest is not None and self.refusal(n, parts) else None

    @property
    def words(self) -> str:
        """One line for a reader."""
        what = f"sequences of {self.shape[-1]:,} tokens" if self.vocabulary else "rows"
        text = f"{self.name}: {self.train:,} {what} to train on, {self.held_out:,} held out"
        text += f", {self.vocabulary:,} different tokens" if self.vocabulary else ""
        if self.classes:
            text += f", {len(self.classes)} classes ({named(self.classes)})"
        else:
            text += ", no labels"
        if self.left_out:
            many = "1 file" if len(self.left_out) == 1 else f"{len(self.left_out):,} files"
            text += f"; {many} left out ({named(list(dict.fromkeys(kinds(self.left_out))))})"
        if self.unread:
            text += f"; not read: {named(self.unread)}"
        return text

    @property
    def warnings(self) -> list[str]:
        """What of it may not be as it was meant, a line each."""
        found = []
        if self.copies:
            found.append(
                f"{self.copies:,} of the {self.held_out:,} held-out rows of {self.name} are copies "
                "of rows to train on: a model that repeats those looks better than it is"
            )
        if self.cut:
            found.append(
                f"of {self.cut:,} of the {self.rows:,} records of {self.name} the completion is "
                "cut at `length`, so that no end of it is learnt; raise length"
            )
        called = [name for name in self.classes if name.lower() in PARTS_OF_A_SET]
        if called and len(called) == len(self.classes):
            found.append(
                f"the classes of {self.name} are called {' and '.join(called)}: where these are "
                f"parts of a set and no classes, give one of them ({self.name}/{called[0]})"
            )
        return found


def kinds(files: Sequence[str]) -> list[str]:
    """How the name of each file ends; the whole name where it does not."""
    endings = []
    for file in files:
        last = file.rpartition("/")[2]
        stem, dot, ending = last.rpartition(".")
        endings.append(f".{ending}" if stem and dot else last)
    return endings


def named(names: Sequence[str]) -> str:
    """The first few of these, and how many more there are."""
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
