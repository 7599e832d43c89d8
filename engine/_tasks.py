"""Streams of tasks: which classes arrive with each task, and what such a stream must be.

A task is a group of classes; task t arrives at generation t, counted from 0.  In an experiment
file `tasks: 5` splits the classes of a data set evenly, in the order of their labels, and `tasks:
[[0, 1], [2, 3]]` says them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

Stream = tuple[tuple[int, ...], ...]  # the classes of every task
Tasks = int | Stream
KEY = re.compile(r"/task_(0|[1-9][0-9]*)$")


def of_key(key: str) -> int | None:
    """The task that a metric's key is about (fid/task_3); None where it is about all of them."""
    found = KEY.search(key)
    return int(found[1]) if found else None


def split(tasks: Tasks, classes: int) -> Stream:
    """The classes of every task, where labels are 0..classes-1: as even as possible."""
    if not isinstance(tasks, int):
        return tasks
    bounds = [i * classes // tasks for i in range(tasks + 1)]
    return tuple(tuple(range(first, last)) for first, last in pairwise(bounds))


def as_tuples(tasks: int | Sequence[Sequence[int]] | None) -> Tasks | None:
    """Tasks as JSON holds them, with tuples for its lists."""
    return tasks if tasks is None or isinstance(tasks, int) else tuple(map(tuple, tasks))


def as_lists(tasks: Tasks) -> int | list[list[int]]:
    """The inverse of `as_tuples`."""
    return tasks if isinstance(tasks, int) else list(map(list, tasks))


def refusal(tasks: Tasks, name: str, classes: int, generations: int, n_real: int) -> str:
    """Why these are no tasks for generations 0..generations of a data set of so many classes, or
    ''; n_real: rows of one task.
    """
    stream = split(tasks, classes)
    if why := _uneven(tasks, name, classes) or _unlike(stream, name, classes):
        return why
    if generations + 1 > len(stream):
        return (
            f"generations 0 to {generations} are {generations + 1} tasks, and {len(stream)} "
            f"arrive; lower generations to {len(stream) - 1}, or give more tasks"
        )
    most = max(map(len, stream))
    if n_real < most:
        return f"n_real {n_real} is less than one row of each class of a task, which has {most}"
    return ""


def _uneven(tasks: Tasks, name: str, classes: int) -> str:
    """Why the classes do not divide into so many tasks, or ''."""
    if not isinstance(tasks, int) or classes % tasks == 0:
        return ""
    said = f"the {classes} classes of {name} do not divide into {tasks} tasks"
    if tasks > classes:
        return f"{said}; give at most {classes}"
    return f"{said}; say the classes of each, such as tasks: {as_lists(split(tasks, classes))}"


def _unlike(stream: Stream, name: str, classes: int) -> str:
    """Why these groups are no tasks, or ''."""
    if not stream or not all(stream):
        return "each task needs a class, such as tasks: [[0, 1], [2, 3]]"
    times = Counter(k for task in stream for k in task)
    if wrong := sorted(k for k in times if not 0 <= k < classes):
        return f"{name} has no class {wrong[0]}: its classes are 0 to {classes - 1}"
    if twice := sorted(k for k, n in times.items() if n > 1):
        own = twice[0]
        return f"a class arrives with one task, and tasks names class {own} {times[own]} times"
    return ""
