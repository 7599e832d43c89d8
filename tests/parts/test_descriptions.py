"""Every parameter of every part says what it means, in the docstring of its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine._descriptions import keys_of, undeclared, undescribed
from engine.contracts.companions import LABELLED, needs_labels
from engine.parts import declared
from engine.registry import KINDS, Description, PartError, describe, described, make, names
from engine.samples import given
from tests.support.around import trained_on

PARTED = '''
class Mine:
    """A model.  Not another one.

    steps  optimiser steps; the learning
           rate falls over them.
    share  of what is kept, 0 to 1; None: all.

    The end of it: prose.
    """

    def __init__(self, *, steps: int = 3, share: float | None = None) -> None: ...
'''
GOOGLE = '''
class Mine:
    """A model.

    Note: its data are points.

    Args:
        steps (int): optimiser steps; the learning
            rate falls over them.
        share: of what is kept, 0 to 1; None: all.

    Raises:
        ValueError: for data of another kind.
    """

    def __init__(self, *, steps: int = 3, share: float | None = None) -> None: ...
'''
INHERITED = '''
class Base:
    """steps  optimiser steps.
    share  of what is kept; None: all.
    """

    def __init__(self, *, steps: int = 3, share: float | None = None) -> None: ...


class Mine(Base):
    """A model.

    steps  updates of the critic.
    """
'''


def read(folder: Path, text: str) -> Description:
    file = folder / "mine.py"
    file.write_text(f'"""A stranger\'s."""\n{text}')
    return described("generator", "mine", file)


@pytest.mark.parametrize("text", [PARTED, GOOGLE], ids=["columns", "Google's"])
def test_a_class_describes_its_parameters(text: str, tmp_path: Path) -> None:
    part = read(tmp_path, text)
    assert part.parameters["steps"].words == "optimiser steps; the learning rate falls over them."
    assert part.parameters["share"].words == "of what is kept, 0 to 1; None: all."
    assert not undescribed(part)


def test_the_nearest_description_of_an_inherited_parameter_counts(tmp_path: Path) -> None:
    part = read(tmp_path, INHERITED)
    assert part.parameters["steps"].words == "updates of the critic."
    assert part.parameters["share"].words == "of what is kept; None: all."
    assert not undescribed(part)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "    steps  optimiser steps; the learning\n           rate falls over them.\n",
            "",
            "'steps'",
        ),
        ("; None: all", "", "what None means for 'share'"),
        ("    steps  ", "    stepz  ", "describes 'stepz', which is not one of its parameters"),
    ],
)
def test_what_a_description_lacks_is_named(
    before: str, after: str, said: str, tmp_path: Path
) -> None:
    assert before in PARTED
    found = undescribed(read(tmp_path, PARTED.replace(before, after)))
    assert any(said in text for text in found), found


def test_a_name_that_google_describes_and_nobody_takes_is_named(tmp_path: Path) -> None:
    found = undescribed(read(tmp_path, GOOGLE.replace("        share:", "        shares:")))
    assert any("describes 'shares'" in text for text in found)
    assert not any("Note" in text or "ValueError" in text for text in found)


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in KINDS for n in names(k)])
def test_a_part_describes_all_that_it_takes_and_returns(kind: str, name: str) -> None:
    assert undescribed(describe(kind, name)) == []


# ---- the keys of metrics -------------------------------------------------------------------------

N = 40
SUITED = {  # quick data sets, and generators that know all that is asked of them
    "points": ("mixture", ["gaussian", "vae"]),
    "tokens": ("categorical", ["categorical"]),
    "regression": ("regression", ["linear_regression"]),
    "text": ("markov", ["ngram"]),
}


def answers(name: str) -> dict[str, Any]:
    """What a metric answers, over the quick kinds of data that it takes."""
    found: dict[str, Any] = {}
    for kind in SUITED.keys() & set(describe("metric", name).constants["ACCEPTS"]):
        labelled = LABELLED.get(kind) if needs_labels("metric", name) else None
        dataset = tiny("dataset", labelled or SUITED[kind][0])
        real = dataset.sample(N, np.random.default_rng(0))
        for generator in (tiny("generator", own) for own in SUITED[kind][1]):
            generator.fit(real, np.random.default_rng(1))
            metric, rng = tiny("metric", name), np.random.default_rng(2)
            labels = given(real, N) if declared(generator, "CONDITIONAL") else None
            samples = generator.sample(N, rng, labels).drawn_at(0)
            metric.prepare(dataset, real, N, rng)
            found |= metric(samples, generator, trained_on(samples), rng)
    return found


def tiny(kind: str, name: str) -> Any:
    return make(kind, name, **describe(kind, name).constants["TINY"])


@pytest.mark.parametrize("name", names("metric"))
def test_a_metric_returns_the_keys_that_it_declares(name: str) -> None:
    part, answer = describe("metric", name), answers(name)
    assert not undeclared(part, answer)
    for key in keys_of(part):
        if key.name.endswith("/task_N"):  # of streams of tasks, see tests/lineage/test_tasks.py
            continue
        assert any(key.means(own) for own in answer), f"{key.name} is never returned"


@pytest.mark.parametrize("keys", ['"mine"', '{"mine": "a distance"}', '{"mine": ("it", "nats")}'])
def test_keys_of_another_shape_are_refused_by_line(keys: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"class Mine:\n    KEYS = {keys}\n")
    with pytest.raises(PartError, match=r"mine.py:2: KEYS .*what it is"):
        described("metric", "mine", file)


def test_n_stands_for_a_whole_number(tmp_path: Path) -> None:
    metric = describe("metric", "conditional_fid")
    assert not undeclared(metric, ["conditional_fid", "conditional_fid/class_12"])
    others = ["conditional_fid/class_", "conditional_fid/class_x", "conditional_fid/class_1/se"]
    assert undeclared(metric, others) == others


def test_a_key_of_each_task_must_be_declared(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    text = 'class Mine:\n    KEYS = {{"mine": ("it", "nats", "lower")}}\n    PER_TASK = ({!r},)\n'
    file.write_text(text.format("mine"))
    assert [key.name for key in keys_of(described("metric", "mine", file))] == [
        "mine",
        "mine/task_N",
    ]
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(text.format("mine/of"))
    found = undescribed(described("metric", "mine", other))
    assert any("PER_TASK of the metric mine names 'mine/of'" in said for said in found)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("{}", "does not declare the keys"),
        ('{"mine": ("", "nats", "lower")}', "does not say what it is"),
        ('{"mine": ("a distance", "", "lower")}', "or its unit"),
        ('{"mine": ("a distance", "nats", "down")}', "is better 'down'; allowed: 'lower'"),
        ('{"fid": ("a distance", "nats", "lower")}', "does not begin with the metric's name"),
    ],
)
def test_keys_that_say_too_little_are_named(keys: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"class Mine:\n    KEYS = {keys}\n")
    assert any(said in text for text in undescribed(described("metric", "mine", file)))
