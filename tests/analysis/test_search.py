"""The adaptive search on the engine: what it knows comes from the store, so it resumes, counts
grids, and says how it ended.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.report import figures as gallery
from analysis.report import page as report
from analysis.threshold.estimate import Estimate
from analysis.threshold.workflows import design_of, grown, read, recorded
from engine.cli.main import app
from engine.console.tables import answer_text
from engine.experiment.sources import load
from engine.outcome.summary import History
from engine.store.store import Store
from tests.faults.test_faults import killed
from tests.support import own as folders
from tests.support.ouro import environment, ouro, start
from tests.support.sweeps import results, run, sweep_of

ROOT = Path(__file__).parents[2]
BASE = """
base:
  dataset: {name: gaussian, d: 2, replicates: 10}
  generator: gaussian
  n_real: 50
grid:
  policy: [replace, augment]
generations: 5
metrics: [moments]
collapse: {metric: moments/mean_error, above: 3.0}
tracking: none
keep: last
"""
SEARCH = BASE + "threshold: {width: 0.2, budget: 14, policies: {augment: {between: [0.0, 0.9]}}}\n"


def written(folder: Path, text: str = SEARCH) -> Path:
    file = folder / "experiment.yaml"
    file.write_text(text + f"out: {folder / 'out'}\n")
    return file


def answers(folder: Path) -> dict[str, dict[str, object]]:
    found = json.loads((folder / "out" / "threshold.json").read_text())
    return {own["label"]: own for own in found["workflows"]}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One search to its end, in one process."""
    folder = tmp_path_factory.mktemp("searched")
    end = ouro("threshold", str(written(folder)), "--local", cwd=folder)
    assert end.returncode == 0, end.stdout + end.stderr
    assert "replace: typical fraction 0." in " ".join(end.stdout.split())
    return folder


def test_it_finds_what_theory_says(searched: Path) -> None:
    found = answers(searched)
    assert set(found) == {"replace", "augment"}
    low, high = found["replace"]["low"], found["replace"]["high"]
    assert low is not None and high is not None and low < 0.764 < high  # type: ignore[operator]  # E y by 3,000 plain chains in numpy
    fewer = "fewer than half of the lineages collapse up to 0.9; safe fraction 0.9"
    assert str(found["augment"]["words"]).startswith(fewer)  # at most 1.5 x, `augment_mean_error`
    safe = found["replace"]["safe"]
    assert isinstance(safe, dict) and safe["risk"] == 0.1 and safe["estimate"] < 0.764
    for own in found.values():
        points = [(o["fraction"], o["seed"]) for o in own["outcomes"]]  # type: ignore[attr-defined]
        assert len(set(points)) == len(points) <= 14


def test_the_same_command_again_has_nothing_to_do(searched: Path) -> None:
    before = answers(searched)
    end = ouro("threshold", str(searched / "experiment.yaml"), "--local", cwd=searched)
    assert end.returncode == 0 and ", 0 of them new" in end.stdout
    assert answers(searched) == before


def test_a_larger_budget_goes_on(searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched / "out", tmp_path / "out")
    file, before = (
        written(tmp_path),
        {o["lineage"] for o in answers(searched)["replace"]["outcomes"]},
    )  # type: ignore[attr-defined]
    words = ("--local", "--json", "--set", "threshold.budget=17", "--set", "threshold.width=0.01")
    end = ouro("threshold", str(file), *words, cwd=tmp_path)
    found = {own["label"]: own for own in json.loads(end.stdout)["workflows"]}
    after = {o["lineage"] for o in found["replace"]["outcomes"]}
    assert before < after and len(after) == 17 and found["replace"]["ended"] == "budget spent"


def test_looking_runs_nothing(searched: Path) -> None:
    end = ouro("threshold", str(searched / "experiment.yaml"), "--look", cwd=searched)
    assert (
        end.returncode == 0
        and "collapse: moments/mean_error above 3 x generation 0, generation 5" in end.stdout
    )


def test_what_a_grid_ran_is_counted(tmp_path: Path) -> None:
    """Lineages are ordinary ones: a grid's are outcomes of the search, whose lineages can be read
    as a sweep.
    """
    grid = sweep_of(
        BASE.replace(
            "[replace, augment]\n", "[replace]\n  policy.synthetic_fraction: [0.0, 0.5, 1.0]\n"
        ),
        tmp_path,
    )
    run(grid, seconds=1)
    sweep = sweep_of(SEARCH, tmp_path)
    known = read(sweep, Store(sweep.out))
    replace = next(own for own in known.values() if own.template.policy.name == "replace")
    assert (
        sorted(o.fraction for o in replace.known.values()) == [0.0, 0.5, 1.0]
        and not replace.waiting
    )
    assert {s.id for s in grown(sweep, Store(sweep.out)).lineages} == {s.id for s in grid.lineages}
    new = replace.next()  # the first of the start that is missing: 0.25, on the lattice
    assert new is not None and new.synthetic_fraction == 0.24 and new.seed == 1


def test_an_unfinished_lineage_is_finished_first(tmp_path: Path) -> None:
    short = sweep_of(BASE, tmp_path, "generations=2", "grid.policy=[replace]")
    run(short, seconds=1)
    sweep = sweep_of(SEARCH, tmp_path)
    store = Store(sweep.out)
    assert len(recorded(store, [s.workflow for s in sweep.lineages])) == 1
    own = next(own for own in read(sweep, store).values() if own.template.policy.name == "replace")
    new = own.next()
    assert not own.known and new is not None and new.id == short.lineages[0].id


def test_policies_of_one_search_share_their_seeds(searched: Path) -> None:
    seeds = [[o["seed"] for o in own["outcomes"]] for own in answers(searched).values()]  # type: ignore[attr-defined]
    fewest = min(len(s) for s in seeds)
    assert all(sorted(s)[:fewest] == list(range(fewest)) for s in seeds)


def test_the_design_is_the_files(tmp_path: Path) -> None:
    sweep = sweep_of(SEARCH, tmp_path)
    by = {s.policy.name: design_of(sweep, s) for s in sweep.lineages}
    assert by["augment"].between == (0.0, 0.9) and by["replace"].between == (0.0, 1.0)
    assert (
        by["replace"].step == 0.02
        and by["replace"].budget == 14
        and by["replace"].confidence == 0.9
    )


NATS = """
base:
  dataset: {name: markov, outcomes: 4, length: 8, replicates: 2}
  generator: {name: ngram, order: 2}
  n_real: 60
generations: 3
metrics: [cross_entropy]
collapse: {metric: cross_entropy, above: 0.03, by: difference}
threshold: {width: 0.3, budget: 6}
tracking: none
keep: last
"""


def test_a_search_by_difference_judges_nats_above_generation_0(tmp_path: Path) -> None:
    file = written(tmp_path, NATS)
    end = CliRunner().invoke(app, ["threshold", str(file), "--local"])
    said = " ".join(end.output.split())
    assert end.exit_code == 0 and "more than 0.03 nats per token above generation 0" in said
    (own,) = answers(tmp_path).values()
    assert own["level"] == 0.03
    sweep = load(file)
    rows = results(grown(sweep, Store(sweep.out)))
    for found in own["outcomes"]:  # type: ignore[attr-defined]
        first, last = (rows[found["lineage"], t]["values"]["cross_entropy"] for t in (0, 3))
        assert found["y"] == pytest.approx(last - first, abs=1e-12)
    assert {found["y"] > 0.03 for found in own["outcomes"]} == {True, False}  # type: ignore[attr-defined]


def test_a_file_without_a_threshold_is_refused(tmp_path: Path) -> None:
    end = ouro("threshold", str(written(tmp_path, BASE)), cwd=tmp_path)
    assert end.returncode == 2 and "has no threshold section" in end.stderr


def test_a_failed_lineage_is_no_collapse_and_is_tried_again(tmp_path: Path) -> None:
    sweep = sweep_of(SEARCH, tmp_path)
    own = next(iter(read(sweep, Store(sweep.out)).values()))
    spec = own.next()
    assert spec is not None
    own.ended(History(spec, (), "failed", "ZeroDivisionError"))
    assert (
        own.failed == {spec.id}
        and not own.known
        and not own.running
        and own.answer.verdict == "too few"
    )
    assert own.to_dict()["failed"] == 1 and own.next() != spec
    again = next(iter(read(sweep, Store(sweep.out)).values()))
    again.found(History(spec, (), "failed", "ZeroDivisionError"))
    assert again.next() == spec


def test_a_workflow_says_why_it_ended_or_where_it_stands(tmp_path: Path) -> None:
    sweep = sweep_of(SEARCH.replace("budget: 14", "budget: 14, seeds: 2"), tmp_path)
    own = next(own for own in read(sweep, Store(sweep.out)).values() if own.label == "replace")
    assert own.why == "going on"
    first, second = own.next(), own.next()
    assert first is not None and second is not None and own.why == "2 running"
    for spec in (first, second):
        own.ended(History(spec, (), "failed", "ZeroDivisionError"))
    assert own.why == "going on" and own.said().how[1:] == ("0 lineages, 2 failed", "going on")
    while (spec := own.next()) is not None:
        own.ended(History(spec, (), "failed", "ZeroDivisionError"))
    assert own.why == "budget spent" and len(own.specs) == 14
    few = next(iter(read(sweep, Store(sweep.out)).values()))
    few.design = few.design.model_copy(update={"start": (0.0, 1.0), "step": 1.0})
    while (spec := few.next()) is not None:
        few.ended(History(spec, (), "failed", "ZeroDivisionError"))
    assert len(few.specs) == 4, "two seeds at each of two fractions"
    assert few.why == "no seed left"


def test_a_workflow_that_knows_enough_says_why_it_ends(tmp_path: Path) -> None:
    sweep = sweep_of(SEARCH, tmp_path)
    own = next(own for own in read(sweep, Store(sweep.out)).values() if own.label == "replace")
    never = Estimate("never", None, None, None, 0.9, (0.0, 1.0), 14, 14)
    narrow = Estimate("bracketed", 0.5, 0.4375, 0.5625, 0.9, (0.0, 1.0), 14, 14)
    narrow = replace(narrow, fractions=8 * (0.1,) + (0.34, 0.4, 0.5, 0.5, 0.6, 0.66))
    for answer, why in ((never, "no crossing"), (narrow, "width 0.125")):
        own.__dict__["answer"] = answer
        assert own.why == why and own.next() is None and own.said().how[-1] == why
    own.__dict__["answer"] = replace(narrow, fractions=14 * (0.1,))
    assert own.why == "going on", "no lineage near the interval bears it out"
    own.__dict__["answer"] = replace(narrow, high=0.7)
    assert own.why == "going on", "wider than the 0.2 that the file asks for"
    own.waiting.append(sweep.lineages[0])
    own.running.add("another")
    assert own.why == "2 running"


def test_an_answer_says_what_it_rests_on_without_reading_its_own_text(searched: Path) -> None:
    sweep = load(searched / "experiment.yaml")
    for own in read(sweep, Store(sweep.out)).values():
        said, text = own.said(), answer_text(own.said()).plain
        assert (said.who, said.what, said.verdict) == (
            own.label,
            own.answer.words,
            own.answer.verdict,
        )
        assert said.how[0] == "90%" and said.how[-1] == own.why
        assert text == f"{said.who}: {said.what}  ({'; '.join(said.how)})"


@pytest.mark.slow
def test_the_page_has_the_lineages_that_the_search_grew(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("phase_diagram", "curve_moments_mean_error")
    few = lambda *of, **how: (s for s in gallery.figures(*of, **how) if s.name in names)  # noqa: E731
    monkeypatch.setattr(report, "figures", few)
    sweep = load(searched / "experiment.yaml")
    text = report.write(sweep, tmp_path / "report", pictures=False).read_text()
    found, answer = (
        answers(searched),
        text[text.index("<h2>Answer</h2>") : text.index("</section>")],
    )
    for own in found.values():
        low_high = [f">{own[k]:.4g}<" for k in ("low", "high") if own[k] is not None]
        assert f"<b>{own['label']}:</b> {own['words']}" in answer
        for said in (f">{own['ended']}<", *low_high):
            assert said in text[text.index('<details id="what-the-search-found">') :], said
    made = sum(len(own["outcomes"]) for own in found.values())  # type: ignore[arg-type]
    assert made > len(sweep.lineages) and f"<dd>{made} of {made}</dd>" in text
    numbers = pd.read_csv(tmp_path / "report" / "figures" / "phase_diagram.csv").set_index("group")
    for label, own in found.items():  # the figure says what the search says
        assert numbers.loc[label, "verdict"] == own["verdict"] and numbers.loc[label, "last"] == (
            0.9 if label == "augment" else 1
        )
        assert own["estimate"] is None or numbers.loc[label, "estimate"] == pytest.approx(
            own["estimate"]
        )
    curve = pd.read_csv(tmp_path / "report" / "figures" / "curve_moments_mean_error.csv")
    assert set(curve["synthetic_fraction"]) == {
        o["fraction"] for own in found.values() for o in own["outcomes"]
    }  # type: ignore[attr-defined]


def test_a_budget_that_is_spent_is_not_said_to_be_a_finding(searched: Path, tmp_path: Path) -> None:
    """Under augment nothing collapses: found after all of the start and four more, and before that
    the budget has run out.
    """
    assert answers(searched)["augment"]["ended"] == "no crossing"
    shutil.copytree(searched / "out", tmp_path / "out")
    for path in (tmp_path / "out" / "lineages").glob("*.json"):
        spec = json.loads(path.read_text())["value"]["spec"]
        if spec["policy"]["name"] == "augment" and spec["seed"] > 8:
            path.unlink()
    file = written(tmp_path)
    end = ouro(
        "threshold", str(file), "--look", "--json", "--set", "threshold.budget=9", cwd=tmp_path
    )
    own = next(own for own in json.loads(end.stdout)["workflows"] if own["label"] == "augment")
    assert (own["verdict"], own["lineages"], own["ended"]) == ("never", 9, "budget spent")


# ---- killed --------------------------------------------------------------------------------------

PROGRAM = """
import sys; sys.path.insert(0, sys.argv[2])
from engine.cli import threshold
from engine.console.text import console
from engine.console.tables import answer_text
from engine.experiment.sources import load
from engine.running.session import Options
from analysis.threshold import search

class Telling(search.Search):
    def ended(self, lineage):
        super().ended(lineage)
        print(lineage, flush=True)

search.Search = Telling
options = Options((), True, None, None, True, "")
threshold.search(load(sys.argv[1]), console(True), options)
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(searched: Path, tmp_path: Path) -> None:
    file, choose = written(tmp_path), random.Random(3)
    for kill in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(file), str(ROOT)],
            stdout=-1,
            text=True,
            env=environment(),
        )
        assert killed(child, choose.randrange(2, 8), choose.uniform(0, 0.05)), (
            f"the search had ended before kill {kill}"
        )
    assert not (tmp_path / "out" / "threshold.json").exists()
    end = ouro("threshold", str(file), "--local", cwd=tmp_path)
    assert end.returncode == 0, end.stdout + end.stderr
    assert answers(tmp_path) == answers(searched), "the same lineages, outcomes and words"
    broken, whole = (load(folder / "experiment.yaml") for folder in (tmp_path, searched))
    assert results(grown(broken, Store(broken.out))) == results(grown(whole, Store(whole.out))), (
        "the same rows, bit for bit"
    )
    looked = ouro("threshold", str(file), "--look", "--json", cwd=tmp_path)
    assert {own["label"]: own for own in json.loads(looked.stdout)["workflows"]} == answers(
        tmp_path
    ), "what the store says"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_ray_killed_and_resumed(tmp_path: Path, searched: Path) -> None:
    """Ctrl-C in the middle: the same command goes on; on Ray all workflows are served at once."""
    import signal
    import time

    file = written(tmp_path)
    running = start("threshold", str(file), "--cpus", "2", cwd=tmp_path)
    folder, until = tmp_path / "out" / "lineages", time.monotonic() + 200
    while time.monotonic() < until and (
        not folder.exists() or len(list(folder.glob("*.json"))) < 6
    ):
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=100)
    assert running.returncode in (0, 130)
    there = len(list(folder.glob("*.json")))
    end = ouro("threshold", str(file), "--cpus", "2", cwd=tmp_path)
    assert end.returncode == 0, end.stdout + end.stderr
    new = int(end.stdout.split(" of them new")[0].split()[-1])
    assert new == len(list(folder.glob("*.json"))) - there > 0
    found = answers(tmp_path)
    assert found["augment"]["verdict"] == "never" and len(found["replace"]["outcomes"]) <= 14  # type: ignore[arg-type]
    assert found["replace"]["low"] < 0.764 < found["replace"]["high"]  # type: ignore[operator]


def test_a_search_whose_lineages_all_fail_stops_and_says_once_why(tmp_path: Path) -> None:
    folders.folder(tmp_path / "parts", jitter=folders.JITTER.replace("size=n)", "size=n - 1)"))
    (tmp_path / "own.yaml").write_text(folders.EXPERIMENT)
    words = ("threshold", "own.yaml", "--local", "--parts", "parts", "--set", "threshold.seeds=9")
    end = ouro(*words, cwd=tmp_path, columns=250)
    said = " ".join(end.stdout.split())
    assert end.returncode == 1, end.stderr
    assert "budget at most 60 lineages for 1 workflow: 60 in all, 0 are there" in said
    assert "a lineage generations 0 to 3; its time is known once the first has ended" in said
    assert "and 3 other lineages: WrongAnswer: the generator jitter, sample: asked for" in said
    assert said.count("WrongAnswer") == 1 and "given up after 4 failures in a row" in said
    assert "stopped after 4 failures in a row: mend what failed, and the same command goes" in said
    folders.folder(tmp_path / "parts")
    again = ouro(*words[:-2], cwd=tmp_path, columns=250)
    assert again.returncode == 0 and "failures" not in again.stdout
