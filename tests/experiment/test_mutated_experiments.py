"""Experiment files that somebody mangled: keys deleted, doubled, renamed, values of other types,
raw bytes.

Every one loads or is refused with a SpecError that says why; from the command line that is exit 0
or 2, and never a traceback.
"""

from __future__ import annotations

import atexit
import copy
import functools
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from engine.cli import main as cli
from engine.console.tables import plan_lines
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.experiment.yaml import parse
from engine.planning.plan import make_plan
from engine.store.store import Store
from tests.support.ouro import ouro

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
TEXTS = [file.read_text() for file in FILES]
MOST_SEEDS = 3  # of the originals: planning thousands of lineages is measured elsewhere


def values_of(text: str) -> Any:
    values = parse(text).values
    return {**values, "seeds": MOST_SEEDS}


ORIGINALS = [values_of(text) for text in TEXTS]
KEYS = sorted(
    {key for values in ORIGINALS for _, key in [*enumerate(values)] if isinstance(key, str)}
)
PARTS = [
    "gaussian",
    "kde",
    "vae",
    "replace",
    "augment",
    "plain",
    "verify",
    "curate",
    "fid",
    "moments",
    "mixture",
    "digits",
]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-2, 3),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            [],
            {},
            "",
            " ",
            "name",
            1e400,
            -0.0,
            10**400,
            "1e-4",
            "..",
            "../x",
            "a.b",
            [[]],
            [None],
            {"name": None},
        ]
    ),
    st.sampled_from([*KEYS, *PARTS]),
    st.sampled_from(PARTS).map(lambda name: {"name": name}),
    st.dictionaries(st.sampled_from([*KEYS, "name", "d", "x"]), st.integers(-1, 2), max_size=2),
    st.recursive(st.integers(0, 1), lambda inner: st.lists(inner, max_size=2), max_leaves=4),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value below this one."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [p for key, child in inner for p in [(*path, key), *places(child, (*path, key))]]


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """The YAML of a real experiment after one to three changes."""
    values = copy.deepcopy(draw(st.sampled_from(ORIGINALS)))
    for _ in range(draw(st.integers(1, 3))):
        if not (paths := places(values)):
            break
        *above, last = draw(st.sampled_from(paths))
        holder = values
        for key in above:
            holder = holder[key]
        change = draw(st.sampled_from(["delete", "value", "key", "copy"]))
        if change == "delete":
            del holder[last]
        elif change == "value":
            holder[last] = draw(ODD)
        elif change == "copy":
            holder[last] = copy.deepcopy(draw(st.sampled_from([values, holder, holder[last]])))
        elif isinstance(holder, dict):
            holder[
                draw(
                    st.one_of(
                        st.sampled_from(KEYS),
                        st.text(max_size=5),
                        st.just(f"{last}.x"),
                        st.integers(),
                    )
                )
            ] = holder.pop(last)
        else:
            holder.insert(last, holder[last])
    return str(
        yaml.dump(values, Dumper=NoAliases, sort_keys=False, allow_unicode=draw(st.booleans()))
    )


class NoAliases(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


@st.composite
def scratched(draw: st.DrawFn) -> bytes:
    """The bytes of a real experiment with lines deleted or doubled and bytes replaced."""
    lines = draw(st.sampled_from(TEXTS)).encode().splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["delete", "double", "bytes", "indent"]))
        line = lines[at]
        cut = draw(st.integers(0, len(line)))
        lines[at] = {
            "delete": b"",
            "double": line + line,
            "bytes": line[:cut]
            + draw(st.binary(max_size=4))
            + line[cut + draw(st.integers(0, 4)) :],
            "indent": b" " * draw(st.integers(0, 3)) + line.lstrip(),
        }[change]
    return b"".join(lines)


@functools.cache
def place() -> Path:
    """One folder in memory for all mutants: making and removing one costs more than to
    read a file.
    """
    folder = tempfile.TemporaryDirectory(
        prefix="mutants-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    )
    atexit.register(folder.cleanup)
    return Path(folder.name)


def check_load(data: bytes) -> None:
    """Refused with reasons, or loaded and then planned (not far: some mutants ask for 10^20
    generations).
    """
    file = place() / "mutant.yaml"
    file.write_bytes(data)
    try:
        sweep = load(file)
    except SpecError as error:
        assert error.problems and all(problem.message.strip() for problem in error.problems)
        return
    near = replace(
        sweep,
        lineages=sweep.lineages[:20],
        generations=min(sweep.generations, 2),
        out=str(place() / "none"),
    )
    plan = make_plan(near, Store(near.out), 2)
    assert 0 < plan.unique <= plan.asked and plan_lines(plan, near)


def check_mangled(text: str) -> None:
    check_load(text.encode("utf-8", "surrogatepass"))


QUIET = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": True,
}
SOME = settings(max_examples=250, **QUIET)  # type: ignore[arg-type]
FEW = settings(max_examples=6, phases=[Phase.generate], **QUIET)  # type: ignore[arg-type]


def test_a_mangled_experiment_loads_or_is_refused() -> None:
    SOME(given(mangled())(check_mangled))()


def test_a_scratched_file_loads_or_is_refused() -> None:
    SOME(given(scratched())(check_load))()


@pytest.mark.parametrize("key", ["_x", "int", "list", "literal", "dict", "function", "_"])
@pytest.mark.parametrize(
    "place",
    [
        "{}: 1",
        "base: {{{}: 1}}",
        "resources: {{{}: 1}}",
        "collapse: {{{}: 1}}",
        "threshold: {{{}: 1}}",
    ],
)
def test_an_unknown_key_may_look_like_a_type(key: str, place: str, tmp_path: Path) -> None:
    (file := tmp_path / "odd.yaml").write_text(place.format(key) + "\ngenerations: 1\n")
    with pytest.raises(SpecError, match=f"unknown key '{key}'"):
        load(file)


HANDFUL = {
    "odd key": b"_x: 1\n",
    "bytes": bytes(range(256)),
    "nul": b"base: \0\n",
    "half": TEXTS[0].encode()[: len(TEXTS[0]) // 2],
    "a number": b"1\n",
    "huge": b"base: {n_real: 1" + b"0" * 5000 + b"}\n",
    "deep": b"[" * 600,
    "sound": next(
        text for file, text in zip(FILES, TEXTS, strict=True) if file.stem == "quickstart"
    ).encode(),
}


@pytest.mark.parametrize("what", HANDFUL)
def test_from_the_command_line_it_is_exit_0_or_2(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mutant.yaml").write_bytes(HANDFUL[what])
    result = CliRunner().invoke(cli.app, ["plan", "mutant.yaml"])
    assert result.exit_code == (0 if what == "sound" else 2), result.output
    assert "Traceback" not in result.output and not isinstance(result.exception, Exception)


IN_CI, BY_HAND = (
    [pytest.mark.faults, pytest.mark.timeout(900)],
    [pytest.mark.soak, pytest.mark.timeout(3000)],
)


@pytest.mark.parametrize(
    ("mutants", "check"),
    [(mangled(), check_mangled), (scratched(), check_load)],
    ids=["values", "bytes"],
)
@pytest.mark.parametrize(
    "count", [pytest.param(2000, marks=IN_CI), pytest.param(50_000, marks=BY_HAND)]
)
def test_thousands_of_mutants(mutants: st.SearchStrategy[Any], check: Any, count: int) -> None:
    settings(max_examples=count, **QUIET)(given(mutants)(check))()  # type: ignore[arg-type]


@pytest.mark.faults
def test_a_few_through_the_real_command(tmp_path: Path) -> None:
    """Exit 0 or 2, and never a traceback; not those whose generations became billions, which are
    right and take their time.
    """

    def check(data: bytes) -> None:
        (tmp_path / "mutant.yaml").write_bytes(data)
        answer = ouro("plan", "mutant.yaml", "--json", cwd=tmp_path)
        assert answer.returncode in (0, 2) and "Traceback" not in answer.stdout + answer.stderr, (
            answer.stderr
        )
        assert (answer.returncode == 0) == answer.stdout.startswith("{") and bool(
            answer.stderr
        ) == (answer.returncode == 2)

    FEW(given(scratched())(check))()
    some = (
        mangled()
        .filter(lambda text: "generations: 1" in text)
        .map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
    FEW(given(some)(check))()
