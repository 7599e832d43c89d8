"""Diversity by its definitions: BLEU as it is written in the papers, copies counted one by one."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from engine.metrics.diversity import Diversity, self_bleu
from engine.parts import Around
from engine.registry import make
from engine.samples import Samples
from tests.support.around import NOTHING, around


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def grams(text: list[int], m: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(text[i : i + m]) for i in range(len(text) - m + 1))


def bleu(text: list[int], others: list[list[int]], n: int) -> float:
    """Papineni et al. 2002, with 0.1 n-grams matched where none is."""
    total = 0.0
    for m in range(1, n + 1):
        matched = 0
        for gram, count in grams(text, m).items():
            matched += min(count, max(grams(other, m)[gram] for other in others))
        total += math.log((matched or 0.1) / max(len(text) - m + 1, 1)) / n
    nearest = min((abs(len(other) - len(text)), len(other)) for other in others)[1]
    return math.exp(total + min(0.0, 1 - nearest / len(text)))


def lengths(samples: Samples, begin: np.ndarray, end: np.ndarray) -> Samples:
    return Samples(samples.x, beside={"prompt_lengths": begin, "lengths": end})


def texts() -> list[tuple[Samples, list[list[int]]]]:
    """Of one length, and of several, as numbers and as lists."""
    x = rng().integers(3, size=(12, 1, 9))
    x[4] = x[2]
    begin, end = rng(1).integers(0, 3, 12), rng(2).integers(6, 10, 12)
    some = [row[b:e].tolist() for row, b, e in zip(x[:, 0], begin, end, strict=True)]
    return [(Samples(x), x[:, 0].tolist()), (lengths(Samples(x), begin, end), some)]


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_self_bleu_is_that_of_the_paper(n: int, case: int) -> None:
    samples, rows = texts()[case]
    expected = [bleu(row, rows[:i] + rows[i + 1 :], n) for i, row in enumerate(rows)]
    assert self_bleu(samples, 0, 3, n) == pytest.approx(expected)


@pytest.mark.parametrize("case", [0, 1])
def test_self_bleu_is_that_of_nltk(case: int) -> None:
    theirs = pytest.importorskip("nltk.translate.bleu_score")
    samples, rows = texts()[case]
    smooth = theirs.SmoothingFunction(epsilon=0.1).method1
    expected = [
        theirs.sentence_bleu(rows[:i] + rows[i + 1 :], row, smoothing_function=smooth)
        for i, row in enumerate(rows)
    ]
    assert self_bleu(samples, 0, 3, 4) == pytest.approx(expected)


def test_the_other_numbers_by_hand() -> None:
    real = Samples(np.array([[[0, 1, 0, 1, 0, 1]], [[2, 2, 2, 2, 0, 0]]]))
    x = np.array([[[0, 1, 0, 1, 0, 1]], [[0, 1, 0, 1, 0, 1]], [[2, 1, 0, 0, 1, 2]]])
    metric = Diversity(n=2)
    metric._like, metric.n_, metric._few, metric._vocabulary = real, 3, "", 3
    metric._floors = dict.fromkeys(metric.KEYS, (0.0, 0.0))
    here = Around(real, *[getattr(NOTHING, k) for k in ("labels", "training", "real_of")], None)
    answer = metric(Samples(x), None, here, rng())
    found = {key.partition("/")[2]: value.value[0] for key, value in answer.items()}
    assert found["repetition"] == pytest.approx(2 / 3)  # 01 stands three times
    assert found["duplicates"] == pytest.approx(1 / 3)
    assert found["copies"] == pytest.approx(2 / 3)
    share = np.array([7, 5, 1, 1, 1]) / 15  # 01, 10, 21, 00, 12
    assert found["entropy"] == pytest.approx(-(share * np.log(share)).sum())


def test_real_text_stands_at_its_floors_and_a_narrow_draw_is_less_diverse() -> None:
    truth = make("dataset", "markov", outcomes=6, length=16, replicates=2)
    real = truth.sample(300, rng())
    metric = make("metric", "diversity", n=3, sample=300, splits=2)
    metric.prepare(truth, real, 300, rng(1))
    same = metric(truth.sample(300, rng(5)), None, around(real, 300), rng(2))
    narrow = metric(real.take(np.arange(300) % 20), None, around(real, 300), rng(2))
    for key in metric.KEYS:
        assert same[key].value.mean() == pytest.approx(same[key].floor, rel=0.25), key
    assert (narrow["diversity/copies"].value == 1).all()
    assert narrow["diversity/duplicates"].value == pytest.approx(280 / 300)
    assert (narrow["diversity/self_bleu"].value > same["diversity/self_bleu"].value).all()
    assert (narrow["diversity/entropy"].value < same["diversity/entropy"].value).all()


def test_what_cannot_be_counted_is_refused() -> None:
    truth = make("dataset", "markov", length=3)
    with pytest.raises(ValueError, match="diversity: n 4 is longer than a sequence, 3"):
        make("metric", "diversity").prepare(truth, truth.sample(9, rng()), 9, rng())
    large = SimpleNamespace(_vocabulary=1 << 17, n=4)
    with pytest.raises(ValueError, match="more n-grams than can be numbered; lower n"):
        Diversity._check(large, 32)  # type: ignore[arg-type]
