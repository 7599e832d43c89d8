"""An output keeps the experiments that it was made from, and every command takes it for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.experiment import sources
from engine.experiment.kept import kept, place
from engine.experiment.sources import NoExperiment
from engine.experiment.yaml import MOST_BYTES
from engine.store.outputs import identity, sweep_id
from engine.store.store import Store
from tests.support.commands import GAUSSIANS, ouro
from tests.support.sweeps import files

OLD = Path(__file__).parents[1] / "store" / "old_output"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which runs/few was run, with a second seed that only --set asked for."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("few.yaml").write_text(GAUSSIANS)
        ran = ouro("run", "few.yaml", "--local", "--set", "seeds=2")
        assert ran.code == 0, ran
        assert "ouro report few.yaml --set seeds=2" in ran.out, "it names the next command"
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, without the file: the working directory."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_takes_the_folder(here: Path) -> None:
    planned = ouro("plan", "runs/few", "--json").json
    assert (planned["lineages"], planned["missing"], planned["out"]) == (4, 0, "runs/few")
    before = files(here / "runs" / "few")
    assert "4 of 4 lineages have an outcome" in ouro("status", "runs/few").out
    assert "nothing damaged" in ouro("verify", "runs/few").out
    assert ouro("export", "runs/few", "--to", "few.csv").code == 0
    assert ouro("report", "runs/few", "--no-pictures", "--to", "page").code == 0
    assert "grid:" in Path("page/report.html").read_text(), "the page shows the experiment"
    assert "tracking: none" in ouro("ui", "runs/few").err
    again = ouro("run", "runs/few", "--local")
    assert again.code == 0 and "to compute   nothing" in again.out
    assert files(here / "runs" / "few") == before


def test_a_folder_is_continued_as_it_was_last_run(here: Path) -> None:
    assert ouro("run", "runs/few", "--local", "--set", "generations=3").code == 0
    planned = ouro("plan", "runs/few", "--json").json
    assert (planned["generations"], planned["lineages"], planned["missing"]) == (3, 4, 0)


def test_another_output_may_be_made_of_the_same_experiment(here: Path) -> None:
    for words in (("--out", "runs/other"), ("--set", "out=runs/third")):
        assert ouro("run", "runs/few", "--local", "--set", "seeds=1", *words).code == 0
    for name in ("other", "third"):
        assert ouro("status", f"runs/{name}", "--json").json["statuses"] == {"ok": 2}
    assert ouro("plan", "runs/few", "--json").json["lineages"] == 4, "the first one is as it was"


def test_of_several_experiments_one_is_chosen_by_its_file(here: Path) -> None:
    Path("more.yaml").write_text(GAUSSIANS.replace("seeds: 1", "seeds: [7]"))
    assert ouro("run", "more.yaml", "--local", "--out", "runs/few").code == 0
    several = ouro("status", "runs/few")
    assert several.code == 2 and "keeps 2 experiments" in several.err
    for name, lineages in (("few", 4), ("more", 2)):
        file = place("runs/few", name)
        assert file in several.err
        planned = ouro("plan", file, "--json").json
        assert (planned["name"], planned["lineages"], planned["out"]) == (
            name,
            lineages,
            "runs/few",
        )


def test_its_output_is_the_folder_where_it_lies(here: Path) -> None:
    """Whatever the kept file says, and however it is named."""
    file = here / "runs" / "few" / "experiments" / "few.yaml"
    assert "out:" not in file.read_text()
    file.write_text(file.read_text() + "out: runs/elsewhere\n")
    for given in ("runs/few", str(here / "runs" / "few"), str(file), "runs/../runs/few"):
        found = sources.load(given)
        assert Path(found.out).resolve() == here / "runs" / "few", given


def test_a_kept_file_is_trusted_no_more_than_any_other(here: Path) -> None:
    file = here / "runs" / "few" / "experiments" / "few.yaml"
    file.write_text("base: !!python/object/apply:os.system ['touch ran']\n")
    refused = ouro("run", "runs/few", "--local")
    assert refused.code == 2 and "YAML tags are not allowed" in refused.err
    assert not Path("ran").exists()


def test_what_means_no_experiment_is_told_the_nearest(here: Path) -> None:
    Path("mine.yaml").write_text(GAUSSIANS)
    for given, said in (
        ("mime.yaml", "mime.yaml: no such file or folder; did you mean mine.yaml"),
        ("quikstart", "did you mean quickstart"),
        ("experiments/quickstrat.yaml", "did you mean quickstart"),
        ("runs/fwe", "no such file or folder; did you mean runs/few"),
    ):
        refused = ouro("plan", given)
        assert refused.code == 2 and said in refused.err, refused


def test_an_experiment_that_comes_with_the_engine_is_known_by_its_name(here: Path) -> None:
    planned = ouro("plan", "quickstart", "--json").json
    assert (planned["name"], planned["out"]) == ("quickstart", "runs/quickstart")
    Path("quickstart").mkdir()
    assert ouro("plan", "quickstart", "--json").json["cells"] == 8, "an empty folder is no output"


def test_an_output_of_an_earlier_version_is_named_with_its_file(tmp_path: Path) -> None:
    out = shutil.copytree(OLD / "out", tmp_path / "old").as_posix()
    with pytest.raises(NoExperiment, match=r"keeps no experiment.*--out"):
        sources.load(out)
    before = sweep_id(Store(out), "closed")
    ran = ouro("run", str(OLD / "closed.yaml"), "--local", "--out", out, "--set", "tracking=none")
    assert ran.code == 0 and kept(Store(out)) == ["closed"]
    known = identity(Store(out))
    assert known is not None and sweep_id(Store(out), "closed") == before
    mine = {spec.id for spec in sources.load(out).lineages}
    assert mine and not mine & set(known.earlier) and len(known.earlier) == 5 - len(mine)


def test_an_object_store_keeps_them_too(here: Path) -> None:
    out = "memory://kept/few"
    assert ouro("run", "runs/few", "--local", "--set", "seeds=1", "--out", out).code == 0
    planned = ouro("plan", out, "--json").json
    assert (planned["lineages"], planned["missing"], planned["out"]) == (2, 0, out)
    assert ouro("plan", place(out, "few"), "--json").json["out"] == out
    assert ouro("run", out, "--local").code == 0
    missing = ouro("plan", place(out, "fwe"))
    assert missing.code == 2 and "did you mean few.yaml" in missing.err
    Store("memory://kept", repairs=False).write("/kept/big.yaml", b"#" * (MOST_BYTES + 1))
    big = ouro("plan", "memory://kept/big.yaml")
    assert big.code == 2 and "more than 10,000,000 bytes" in big.err


def test_an_output_may_lie_below_a_variable(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", str(here / "own"))
    planned = ouro("plan", "runs/few", "--json", "--out", "$MINE/a")
    assert planned.json["out"] == str(here / "own" / "a")
    Path("own.yaml").write_text(
        "base: {dataset: digits, generator: vae, policy: replace, n_real: 30}\n"
        "generations: 1\nmetrics: [fid]\nout: $MINE/b\n"
    )
    assert ouro("plan", "own.yaml", "--json").json["out"] == str(here / "own" / "b")
    refused = ouro("plan", "own.yaml", "--set", "out=$NOBODY/b")
    assert refused.code == 2 and "$NOBODY is not set" in refused.err


def test_a_run_that_is_refused_leaves_nothing(here: Path) -> None:
    """Neither locks nor logs: the next command finds no output there."""
    Path("needs.yaml").write_text(
        "base: {dataset: {name: mnist, root: nowhere}, generator: vae, n_real: 30}\n"
        "generations: 2\nmetrics: [fid]\n"
    )
    refused = ouro("run", "needs.yaml", "--local", "--out", "runs/new/deep")
    assert refused.code == 4 and "--root nowhere" in refused.err, refused
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["few"]


@pytest.mark.parametrize("key", ["base.policy=replace", "base.policy.synthetic_fraction=0.5"])
def test_a_value_that_the_grid_sets_anyway_is_no_silent_override(key: str, here: Path) -> None:
    refused = ouro("plan", "runs/few", "--set", key)
    assert refused.code == 2 and "changes nothing: grid.policy sets it" in refused.err
    alone = ("--set", "base.policy=replace", "--set", key, "--set", "grid={}")
    assert ouro("plan", "runs/few", *alone).code == 0


def test_of_a_run_of_some_lineages_those_are_counted(here: Path) -> None:
    one = sources.load("runs/few").lineages[2].id
    ran = ouro("run", "runs/few", "--local", "--out", "runs/new", "--only", one)
    assert ran.code == 0 and "of 4 lineages the 1 that were asked for have an outcome" in ran.out


def test_two_files_of_one_name_are_kept_apart(here: Path) -> None:
    """Whose output is named by the file alone; the same file, moved or changed, continues."""
    for folder, n in (("a", 30), ("b", 40)):
        Path(folder).mkdir()
        text = GAUSSIANS.replace("n_real: 30", f"n_real: {n}")
        Path(folder, "exp.yaml").write_text(text)
    assert ouro("run", "a/exp.yaml", "--local").code == 0
    summary = Path("runs/exp/summary.json").read_bytes()
    refused = ouro("run", "b/exp.yaml", "--local")
    assert (
        refused.code == 2 and f"another file of this name, {here / 'a' / 'exp.yaml'}" in refused.err
    )
    assert Path("runs/exp/summary.json").read_bytes() == summary
    assert ouro("run", "b/exp.yaml", "--local", "--out", "runs/other").code == 0
    assert ouro("run", "a/exp.yaml", "--local", "--set", "generations=1").code == 0
    assert ouro("run", "runs/exp", "--local").code == 0
    Path("a/exp.yaml").rename("b/exp.yaml")
    assert ouro("run", "b/exp.yaml", "--local", "--set", "generations=3").code == 0
