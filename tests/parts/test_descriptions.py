"""Every parameter of every part says what it means, in the docstring of its class."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.descriptions import undescribed
from engine.registry import Description, described

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
