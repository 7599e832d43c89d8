"""Parts that answer something else than they were asked for: the lineage fails with a sentence that
names part, file, what was asked and what came, and nothing is committed under a key that says n.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import registry
from engine.console.tables import failures
from engine.contracts.check import check_folder
from engine.experiment.reader import SpecError
from engine.lineage.history import History, histories
from engine.names import names_of
from engine.outside.places import VARIABLE, use
from engine.parts import Pick
from engine.running.job import Job
from engine.running.worker import run_local
from engine.seams import answers
from engine.store.store import Store
from tests.parts.test_bad_parts import Heard
from tests.support import own
from tests.support.sweeps import sweep_of

HALF = '''"""Trains on what the newest generation has drawn, and on nothing else."""

from engine.parts import Pick


class Half:
    def recipe(self, sizes, t):
        return (Pick((t - 1,), sizes[t - 1]),)

    def needs(self, n_real):
        return n_real
'''
FIRST = '''"""Draws the first samples that come: the plain way, written out once more."""

from engine.parts import Draw


class First:
    """Takes what comes."""

    TINY = {}

    def prepare(self, dataset, real, founder, rng):
        pass

    def draw(self, generator, n, around, rng):
        return Draw(generator.sample(n, rng, labels=around.labels), {})
'''
NEAR = '''"""Likes what is near the origin: a reward that needs to know nothing of the data."""

import numpy as np


class Near:
    """Minus the distance from 0."""

    TINY = {}
    ACCEPTS = ("points",)

    def fit(self, dataset, real, generator, rng):
        return {}

    def score(self, samples):
        return -np.sqrt((samples.x**2).sum(axis=-1))
'''
OTHERS = {"policies/half.py": HALF, "samplings/first.py": FIRST, "rewards/near.py": NEAR}
TEXT = """
base: {dataset: {name: ring, replicates: 2}, n_real: 12, generator: jitter, policy: POLICY,
       sampling: SAMPLING}
generations: 2
metrics: [spread]
tracking: none
"""
CURATE = "{name: curate, k: 2, reward: near}"
TORCH = "__import__('torch')"
JITTER, SPREAD, RING = "generators/jitter.py", "metrics/spread.py", "datasets/ring.py"
DRAWN, SAID, GIVEN = "Samples(noisy(", "return {}", "return Samples(x).of(traits_of(self))"
VALUE = "Value(spread_of(synthetic.x) / self.real_, n=float(len(synthetic)))"
# what is wrong: the file, what stands there, what instead, words of the sentence
ANSWERS = {
    "n - 1 rows": (JITTER, "size=n)", "size=n - 1)", "asked for 12 rows, it drew 11"),
    "2n rows": (JITTER, "size=n)", "size=2 * n)", "asked for 12 rows, it drew 24"),
    "no rows": (JITTER, "size=n)", "size=0)", "asked for 12 rows, it drew 0"),
    "None": (JITTER, f"return {DRAWN}", f"return None and {DRAWN}", "Samples, it returned None"),
    "an array": (JITTER, f"return {DRAWN}", "return (noisy(", "it returned an array [12, 2, 2]"),
    "a generator": (JITTER, f"return {DRAWN}", f"yield {DRAWN}", "it returned a generator"),
    "a tensor": (
        JITTER,
        "scale, rng))",
        f"scale, rng)).__class__({TORCH}.ones(n, 2, 2, requires_grad=True))",
        "x is a torch Tensor (torch.float32, on cpu, that requires grad)",
    ),
    "half precision": (
        JITTER,
        "scale, rng))",
        "scale, rng).astype(np.float16))",
        "of float64 as the data have, it gave an array [12, 2, 2] of float16",
    ),
    "texts": (JITTER, "scale, rng))", "scale, rng).astype(str))", "are no real numbers"),
    "complex": (JITTER, "scale, rng))", "scale, rng) * 1j)", "of complex128, which are no real"),
    "another shape": (JITTER, "scale, rng))", "scale, rng)[:, :1])", "asked for rows [2, 2] of"),
    "labels": (JITTER, "scale, rng))", "scale, rng), np.zeros(n, int))", "the rows have labels"),
    "no report": (JITTER, SAID, "return None", "asked for a report, it returned None"),
    "itself": (JITTER, SAID, "return self", "asked for a report, it returned a Jitter"),
    "words": (JITTER, SAID, "return {'loss': 'low'}", "loss of the report is 'low', no number"),
    "a tensor in the report": (
        JITTER,
        SAID,
        f"return {{'loss': {TORCH}.tensor(1.0)}}",
        "loss of the report is a torch Tensor",
    ),
    "an unknown finding": (
        JITTER,
        SAID,
        "from engine.parts import Finding\n        raise Finding('bored', 'of it')",
        "it raised Finding('bored'); use one of constant, diverged",
    ),
    "another key": (SPREAD, 'return {"spread"', 'return {"spread/x"', "'spread/x'; declare it"),
    "a key of nobody": (SPREAD, 'return {"spread"', 'return {"fid"', "call keys spread, spread/"),
    "no value": (SPREAD, VALUE, "None", "spread is None, no number"),
    "a complex value": (SPREAD, VALUE, "1j", "spread is 1j, no number"),
    "nan": (SPREAD, VALUE, "float('nan')", "spread is nan; return Undefined(reason)"),
    "nested": (SPREAD, VALUE, "{'mean': 1.0}", "spread is a dict, no number"),
    "a table": (SPREAD, VALUE, "np.ones((2, 2))", "spread is an array [2, 2] of float64"),
    "a number alone": (SPREAD, f'{{"spread": {VALUE}}}', "1.0", "values by key, it returned 1.0"),
    "real rows that are not finite": (RING, "radius = 1 +", "radius = np.inf +", "infinite"),
    "too few real rows": (RING, GIVEN, GIVEN.replace("(x)", "(x[1:])"), "asked for 12 rows, it d"),
    "other replicates": (RING, GIVEN, GIVEN.replace("(x)", "(x[:, :1])"), "REPLICATES is 2, and x"),
    "labels of no class": (
        RING,
        GIVEN,
        GIVEN.replace("(x)", "(x, np.zeros(n, int))"),
        "the rows have labels",
    ),
    "pictures": (RING, GIVEN, GIVEN.replace("(x)", "(x[..., None])"), "not of 3 axes"),
    "a draw that is none": ("samplings/first.py", "Draw(", "(", "asked for a Draw, it returned a"),
    "a draw too long": ("samplings/first.py", "sample(n,", "sample(n + 1,", "12 rows, it drew 13"),
    "a score too few": ("rewards/near.py", "(axis=-1))", "(axis=-1))[1:]", "scores of 24 samples"),
    "scores of nan": ("rewards/near.py", "-np.sqrt", "np.nan * np.sqrt", "48 of 48 scores are nan"),
}


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, "")
    yield
    monkeypatch.undo()
    registry.refresh()


def parts(folder: Path, path: str, before: str, after: str) -> Path:
    """Our own parts with one mistake; the file that has it."""
    own.folder(folder)
    for name, text in OTHERS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert before in (folder / path).read_text()
    (folder / path).write_text((folder / path).read_text().replace(before, after, 1))
    return folder / path


def ran(folder: Path, text: str, **sets: Any) -> list[History]:
    """What a sweep with these parts came to, run in this process."""
    use([folder / "parts"])
    registry.refresh()
    sweep = sweep_of(text, folder, *(f"{key}={value}" for key, value in sets.items()))
    Path(sweep.out).mkdir(exist_ok=True)
    store = Store(sweep.out)
    run_local([Job.of(sweep, store, s, sweep.generations) for s in sweep.lineages], Heard())
    return list(histories(sweep, store).values())


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_is_none_fails_its_lineage_with_part_file_and_mend(
    answer: str, tmp_path: Path
) -> None:
    path, before, after, said = ANSWERS[answer]
    file = parts(tmp_path / "parts", path, before, after)
    sampling = {"samplings": "first", "rewards": CURATE}.get(path.split("/")[0], "plain")
    text = TEXT.replace("POLICY", "replace").replace("SAMPLING", sampling)
    (found,) = ran(tmp_path, text)
    assert found.status == "failed" and found.failure is not None, found
    kind, name = Path(path).parts[0].rstrip("s").replace("policie", "policy"), file.stem
    assert found.reason.startswith(f"WrongAnswer: the {kind} {name}, "), found.reason
    assert said in found.reason and found.failure.file == str(file) and found.failure.line > 1


@pytest.mark.parametrize("answer", [a for a in ANSWERS if ANSWERS[a][0] == JITTER])
def test_a_check_finds_the_same_beforehand(answer: str, tmp_path: Path) -> None:
    path, before, after, _ = ANSWERS[answer]
    file = parts(tmp_path, path, before, after)
    for other in ("metrics", "datasets", "policies", "samplings", "rewards"):
        for text in (tmp_path / other).glob("*.py"):
            text.unlink()
    broken = [verdict for verdict in check_folder(tmp_path) if verdict.fault]
    assert broken and broken[0].file == file and "the generator jitter, " in broken[0].fault


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("(Pick((t + 3,), 4),)", "generation 1 picks of sources [4], which are not there yet"),
        ("(Pick((t - 1,), -4),)", "generation 1 picks -4 rows"),
        ("(Pick((t - 1,), 1.5),)", "generation 1 picks 1.5 rows"),
        ("[{'sources': (0,)}]", "the recipe holds a dict, not a Pick"),
        ("None", "asked for a tuple of Pick, it returned None"),
        ("sizes[t]", "half, recipe: it raised KeyError: 1; mend it"),
        ("(Pick((t - 1 if t < 9 else t,), 4),)", "generation 9 picks of sources [9]"),
        ("(Pick((t - 1,), 4, 'all'),)", "how is 'all'"),
        ("(Pick((t - 1,), 10 ** 6),)", "wants 1000000 rows of generation 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_the_plan(
    after: str, said: str, tmp_path: Path
) -> None:
    before = "(Pick((t - 1,), sizes[t - 1]),)"
    parts(tmp_path / "parts", "policies/half.py", before, after)
    with pytest.raises(SpecError, match="no cell of this grid makes sense") as error:
        text = TEXT.replace("POLICY", "half").replace("SAMPLING", "plain")
        ran(tmp_path, text.replace("generations: 2", "generations: 9"))
    assert said in str(error.value)


def test_a_generator_that_draws_by_class_labels_what_it_draws(tmp_path: Path) -> None:
    file = parts(tmp_path / "parts", JITTER, "    ACCEPTS", "    CONDITIONAL = True\n    ACCEPTS")
    text = TEXT.replace("POLICY", "replace").replace("SAMPLING", "plain")
    text = text.replace("{name: ring, replicates: 2}", "{name: mixture, replicates: 2}")
    (found,) = ran(tmp_path, text)
    assert "the rows lack labels" in found.reason, found
    right = "scale, rng), None if labels is None else labels + 99)"
    file.write_text(file.read_text().replace("scale, rng))", right))
    (found,) = ran(tmp_path, text)
    assert "and there are" in found.reason and "labels go from 99" in found.reason


def test_equal_failures_are_one_sentence_with_a_count(tmp_path: Path) -> None:
    parts(tmp_path / "parts", JITTER, "size=n)", "size=n - 1)")
    text = TEXT.replace("POLICY", "replace").replace("SAMPLING", "plain")
    found = ran(tmp_path, text, seeds=3, **{"grid.n_real": "[12, 15]"})
    sweep = sweep_of(text, tmp_path, "seeds=3", "grid.n_real=[12, 15]")
    (said,) = failures(found, names_of(sweep))
    assert "and 5 other lineages: WrongAnswer: the generator jitter, sample: asked for 1" in said


class Uncounted(dict[int, int]):
    """Sizes that may be asked for, and not gone through."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("who looks at a recipe of a million generations goes through them")


def test_looking_at_a_good_recipe_takes_as_long_at_the_last_generation_as_at_the_first() -> None:
    sizes = Uncounted({t: 10 for t in range(-1, 100)})
    answers.recipe((Pick((-1,), 4), Pick((99,), 6)), sizes, 100)
    with pytest.raises(answers.Wrong, match=r"picks of sources \[100\], which are not there yet"):
        answers.recipe((Pick((100,), 6),), {**{t: 10 for t in range(-1, 100)}}, 100)
