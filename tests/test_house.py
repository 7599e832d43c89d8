"""The house rules, read from the source: imports point down, parts do not know each other, nothing
is unpickled, what is imported is declared, every file can be read.
"""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from engine.experiment.sources import load
from engine.lineage.recipe import path
from engine.registry import KINDS, class_name, names
from tests.support.source import (
    PACKAGES,
    files,
    imported,
    libraries,
    modules,
    nested_comprehensions,
    parsed,
    upward_imports,
)

ROOT = Path(__file__).parent.parent
# files and folders from the ground up: each may import from those before it, and from its own
FLOORS = [
    "engine.status",
    "engine._foreign",
    "engine._lasting",
    "engine._deadline",
    "engine.samples",
    "engine._tasks",
    "engine._tokens",
    "engine.contents",
    "engine.files",
    "engine._cache",
    "engine._digests",
    "engine._torchvision",
    "engine._tokenizers",
    "engine.commands",
    "engine._memory",
    "engine._literals",
    "engine._docstrings",
    "engine.parts",
    "engine._annotations",
    "engine.knowledge",
    "engine._traits",
    "engine._signatures",
    "engine._descriptions",
    "engine.seams",
    "engine.outside",
    "engine.registry",
    "engine.identity",
    "engine.refusals",
    "engine._drawn_variance",
    "engine.pipelines",
    "engine._collapse_rule",
    "engine.settings",
    "engine._yardstick",
    "engine._lineage_spec",
    "engine._measure_spec",
    "engine.spec",
    "engine._few_rows",
    "engine.names",
    "engine.training",
    "engine.distances",
    *(f"engine.{folder}" for folder in KINDS.values()),
    "engine.store",
    "engine.lineage",
    "engine.experiment",
    "engine.contracts",
    "engine.outcome",
    "engine.planning",
    "engine.console",
    "engine.tracking",
    "engine.running",
    "analysis",
    "analysis.frame",
    "analysis.theory",
    "analysis.collapse",
    "analysis.threshold",
    "analysis.plots",
    "analysis.report",
    "engine.api",
    "engine",  # its __init__: the public names, imported when they are asked for
    "engine.cli",
]
LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 50
LONG_FUNCTIONS = {"train": 100, "__init__": 100}  # one loop from top to bottom; what a class takes
WIDEST = 100  # columns
MOST_IGNORED = 20  # errors of mypy --strict
MOST_LOOSE = 26  # may only sink
LOOSE = (
    "engine/experiment/",
    "engine/store/rows.py",
    "engine/store/measured.py",
    "engine/store/failures.py",
    "engine/tracking/mlflow_rows.py",
    "engine/parts.py",  # Params: of a part
    "engine/files.py",  # JsonObject: of a file or message
)
MOST_FILES = 14  # public ones, in a folder that does not hold parts
ONLY = {
    "ray": {"engine.running.ray_tune"},
    "mlflow": {"engine.tracking.mlflow", "engine.tracking.mlflow_runs"},
}

MODULES = modules(ROOT)


def short(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# ---- who may import whom -------------------------------------------------------------------------


def test_imports_point_down_and_every_folder_has_a_floor() -> None:
    assert upward_imports(ROOT, FLOORS) == []


def test_every_floor_is_there() -> None:
    rooms = {".".join(name.split(".")[:2]) for name in MODULES}
    assert len(FLOORS) == len(set(FLOORS)) and {*FLOORS} <= rooms


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        (
            "engine/settings.py",
            "from engine.console.live import Live",
            "engine.settings imports upwards: engine.console.live",
        ),
        (
            "engine/tracking/tracker.py",
            "def serve():\n    from engine.cli import main",
            "engine.tracking.tracker imports upwards: engine.cli.main",
        ),
        (
            "analysis/frame/tidy.py",
            "import analysis.report.page",
            "analysis.frame.tidy imports upwards: analysis.report.page",
        ),
        (
            "engine/running/session.py",
            "from analysis.theory import laws",
            "engine.running.session imports upwards: analysis.theory.laws",
        ),
        (
            "engine/store/__init__.py",
            "from engine.lineage.loop import Lineage",
            "engine.store imports upwards: engine.lineage.loop",
        ),
        (
            "engine/store/disk.py",
            "from ..lineage import loop",
            "engine.store.disk imports ..lineage by a relative name",
        ),
        (
            "engine/__init__.py",
            "from engine.samples import Samples",
            "engine/__init__ imports engine.samples before it is asked for",
        ),
        ("engine/helpers/__init__.py", "", "engine.helpers has no floor"),
        ("analysis/utils.py", "", "analysis.utils has no floor"),
    ],
)
def test_an_import_that_points_up_is_named(copy: Path, file: str, line: str, said: str) -> None:
    changed = copy / file
    changed.parent.mkdir(exist_ok=True)
    before = changed.read_text() if changed.exists() else ""
    changed.write_text(f"{before}\n{line}\n")
    assert upward_imports(copy, FLOORS) == [said]


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.split(".")[1:2] != []))
def test_a_part_never_imports_another_part(module: str) -> None:
    if module.split(".")[1] not in KINDS.values():
        return
    for name in imported(MODULES[module], MODULES):
        parts = name.removeprefix("engine.").split(".")
        if name.startswith("engine.") and parts[0] in KINDS.values() and len(parts) > 1:
            assert parts[1].startswith("_"), (
                f"{module} imports the part {name}; it should ask make()"
            )


@pytest.mark.parametrize("library", ONLY)
def test_only_one_file_knows_ray_and_mlflow(library: str) -> None:
    users = {
        name
        for name, tree in MODULES.items()
        if library in (other.split(".")[0] for other in imported(tree))
    }
    assert users <= ONLY[library], f"{library} is imported by {users - ONLY[library]}"


def test_analysis_has_no_command_and_no_console() -> None:
    """What is said to people is said in engine/console and engine/cli."""
    for name, tree in MODULES.items():
        if name.startswith("analysis"):
            found = imported(tree) & {"typer", "rich.console", "rich.live", "rich.table"}
            assert not found, f"{name} imports {found}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_name_is_the_registry(kind: str) -> None:
    room = f"engine.{KINDS[kind]}."
    found = {module.removeprefix(room) for module in MODULES if module.startswith(room)}
    assert {name for name in found if name[0] != "_"} == set(names(kind))
    for name in names(kind):
        tree = MODULES[f"{room}{name}"]
        public = [
            n.name for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")
        ]
        assert class_name(name) in public, f"{KINDS[kind]}/{name}.py defines {public}"
        assert ast.get_docstring(tree), f"{KINDS[kind]}/{name}.py does not say what it is"


@pytest.mark.parametrize(
    "module", ["engine.cli", "engine.experiment.reader", "engine.lineage.recipe"]
)
def test_planning_needs_none_of_the_heavy_libraries(module: str) -> None:
    heavy = (
        "torch",
        "ray",
        "transformers",
        "mlflow",
        "diffusers",
        "umap",
        "sklearn",
        "pandas",
        "matplotlib",
    )
    program = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]", f"importing {module} imports {answer.stdout}"


# ---- what is imported is declared, what is declared is imported ----------------------------------

# declared because another library finds it by name, so that nothing here imports it
FOUND_BY_NAME = {
    "pyarrow": "pandas writes parquet with it",
    "torchvision": "engine/_torchvision imports it by name, around a missing operator",
    "s3fs": "fsspec opens s3:// with it",
    "gcsfs": "fsspec opens gs:// with it",
    "boto3": "`ray up` starts machines of AWS with it",
    "psycopg2-binary": "sqlalchemy opens postgresql:// with it",
}
SHIPPED_WITH = {"pydantic_core": "pydantic"}  # a library -> the one that pins it


def declared(*extras: str) -> set[str]:
    """The names of what pyproject wants, always and with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return {Requirement(line).name.lower() for line in wanted}


def optional() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [extra for extra in project["optional-dependencies"] if extra != "test"]


def owners(library: str) -> set[str]:
    """The distributions that hold a library, as they are called in pyproject."""
    found = distributions().get(SHIPPED_WITH.get(library, library), [library])
    return {name.lower() for name in found}


@cache
def distributions() -> Mapping[str, list[str]]:
    """By library those that hold it; every installed file is looked at, so once."""
    return packages_distributions()


def test_what_is_imported_is_declared() -> None:
    known = declared(*optional())
    for library in libraries(ROOT) - sys.stdlib_module_names:
        assert owners(library) & known, f"{library} is imported and not declared"


def test_what_is_declared_is_imported() -> None:
    used = set[str]().union(*map(owners, libraries(ROOT)))
    assert declared(*optional()) - used - FOUND_BY_NAME.keys() == set()


def test_what_is_declared_is_pinned() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    assert declared() - pinned == set()


def test_what_is_not_python_is_installed_too() -> None:
    """The page of the report lies beside its module: a pattern holds for one folder only."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    patterns = tool["setuptools"]["package-data"]
    for file in tracked():
        room = ".".join(file.relative_to(ROOT).parent.parts)
        if room.split(".")[0] in PACKAGES and file.suffix != ".py":
            assert any(file.match(pattern) for pattern in patterns.get(room, [])), short(file)


# ---- what can be read ----------------------------------------------------------------------------


def test_nothing_is_unpickled() -> None:
    unsafe = re.compile(
        r"pickle\.loads?\(|torch\.load\(|yaml\.load\(|allow_pickle\s*=\s*True|joblib\.load|Tuner\.restore"
        r"|weights_only\s*=\s*False|trust_remote_code\s*=\s*True|load_model\(|pyfunc|torch\.hub\.load\("
    )
    guilty = [
        f"{short(file)}: {found.group()}"
        for file in files(ROOT)
        if (found := unsafe.search(file.read_text()))
    ]
    assert not guilty


def test_files_are_short() -> None:
    lengths = {short(file): file.read_text().count("\n") for file in files(ROOT)}
    long = {name for name, n in lengths.items() if n > LONGEST_FILE}
    assert not long, f"over {LONGEST_FILE} lines: {long}"


def test_functions_are_short() -> None:
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                most = LONG_FUNCTIONS.get(node.name, LONGEST_FUNCTION)
                assert length <= most, f"{name}: {node.name} has {length} lines"


def test_lines_are_narrow() -> None:
    for file in files(ROOT):
        for i, line in enumerate(file.read_text().splitlines(), 1):
            assert len(line) <= WIDEST, f"{short(file)}:{i} has {len(line)} columns"


def test_no_comprehension_stands_inside_another() -> None:
    nested = {}
    for file in files(ROOT):
        if lines := nested_comprehensions(parsed(file.read_text())):
            nested[short(file)] = lines
    assert not nested, nested


def test_the_types_have_few_exceptions_and_each_says_why() -> None:
    """A comment on the line, or the one above it."""
    found = []
    for file in files(ROOT):
        lines = ["", *file.read_text().splitlines()]
        for above, line in itertools.pairwise(lines):
            if "# type: ignore[" in line:
                found.append(short(file))
                said = line.partition("# type: ignore[")[2].partition("#")[2] or above.strip()
                assert said and (said[0] == " " or above.strip()[0] == "#"), (short(file), line)
            assert not re.search(r"# type: ignore(?!\[)", line), (short(file), line)
    assert len(found) <= MOST_IGNORED, found


def test_loose_dictionaries_become_fewer() -> None:
    """Where a file or a row is read everything is loose; elsewhere a dataclass can stand."""
    loose = "dict[str, Any]"
    counts = {short(file): file.read_text().count(loose) for file in files(ROOT)}
    elsewhere = {name: n for name, n in counts.items() if not name.startswith(LOOSE)}
    assert sum(elsewhere.values()) <= MOST_LOOSE, elsewhere


def test_folders_are_small() -> None:
    for folder in {file.parent for file in files(ROOT)}:
        held = [file for file in folder.glob("*.py") if not file.stem.startswith("_")]
        if folder.name not in KINDS.values():
            assert len(held) <= MOST_FILES, f"{short(folder)} holds {len(held)} files"


# ---- what no file names --------------------------------------------------------------------------


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = [ROOT / name for name in listed.stdout.splitlines()]
    return [file for file in found if file.is_file() and file.suffix not in (".png", ".npz")]


# an index of packages by an option or an address; a folder of somebody's own machine
PRIVATE = re.compile(
    r"index[-_]url|find[-]links|https?://[^\s/]+/(simple|packages)\b|/(home/\w+|root|Users)/"
)


def test_no_file_names_a_registry_or_a_machine() -> None:
    for file in tracked():
        found = PRIVATE.search(file.read_text(errors="ignore"))
        assert not found, f"{short(file)} names {found and found.group()}"


@pytest.mark.parametrize(
    "line", ["--extra-index" + "-url", "https://mirror.example" + "/simple/numpy", "/ro" + "ot/x"]
)
def test_a_registry_or_a_machine_would_be_found(line: str) -> None:
    assert PRIVATE.search(f"see {line}")


def test_no_file_cites_a_page_that_is_not_here() -> None:
    cited = re.compile(r"\b(SCIENCE|DESIGN|HOUSE)" + r"\.md")
    for file in tracked():
        found = cited.search(file.read_text(errors="ignore"))
        assert not found, f"{short(file)} cites {found and found.group()}"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda file: file.stem
)
def test_an_experiment_says_question_expected_answer_and_cost_and_can_be_planned(
    file: Path,
) -> None:
    head = file.read_text().split("base:")[0]
    assert head.startswith("# Question:") and "Expect:" in head and "Cost:" in head
    sweep = load(file)
    assert sweep.lineages and sweep.question
    assert all(path(spec, min(sweep.generations, 3)) for spec in sweep.lineages)


# ---- prose is made at the edge -------------------------------------------------------------------

SPOKEN = {"words", "what", "how", "reason", "label", "why", "needs", "undefined", "verdict"}
PROBES = {"startswith", "endswith", "partition", "rpartition", "removeprefix", "removesuffix"}


def probed(tree: ast.Module) -> list[int]:
    """Lines that look for text in what we say ourselves, which would be a format then."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=probe, value=text)) if probe in PROBES:
                found += [node.lineno] * spoken(text)
            case ast.Compare(left=ast.Constant(), ops=[ast.In()], comparators=[text]):
                found += [node.lineno] * spoken(text)
    return found


def spoken(node: ast.expr) -> bool:
    """Whether an expression is one of our own texts, or str() of one."""
    if isinstance(node, ast.Call) and node.args:
        return spoken(node.args[0])
    return isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node).split(".")[-1] in SPOKEN


def test_nothing_reads_the_sentences_that_it_makes() -> None:
    guilty = {short(f): lines for f in files(ROOT) if (lines := probed(ast.parse(f.read_text())))}
    assert not guilty


@pytest.mark.parametrize(
    "line",
    [
        'BAD if "from" in str(row.words) else GOOD',
        'h.reason.startswith("NotReproduced")',
        'answer.words.rpartition(" (")',
    ],
)
def test_a_probe_of_our_own_sentences_is_seen(line: str) -> None:
    assert probed(ast.parse(line)) == [1]
