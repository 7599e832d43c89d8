"""Features of texts: Hellinger's distance of n-gram frequencies, hashed and projected."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.sparse import eye_array

from engine.distances import extractors, features, ngrams
from engine.registry import make
from engine.samples import Samples
from tests.support.around import NOTHING

METRICS = ("fid", "conditional_fid", "kid", "precision_recall", "otdd")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def roots(sequence: list[int]) -> dict[tuple[int, ...], float]:
    """The roots of the frequencies of all n-grams, from the definition."""
    places = [(i, m) for m in (1, 2, 3) for i in range(len(sequence) - m + 1)]
    counts = Counter(tuple(sequence[i : i + m]) for i, m in places)
    return {gram: np.sqrt(n / len(places)) for gram, n in counts.items()}


def test_the_matrix_is_orthonormal_but_for_its_scale() -> None:
    matrix = ngrams.projection()
    assert matrix.shape == (ngrams.BUCKETS, extractors.NGRAM_FEATURES)
    assert np.allclose(matrix.T @ matrix, ngrams.BUCKETS * np.eye(ngrams.FEATURES), atol=1e-9)


def test_frequencies_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a projection, and with too many buckets for two n-grams to meet."""
    monkeypatch.setattr(ngrams, "BUCKETS", 1 << 22)
    monkeypatch.setattr(ngrams, "FEATURES", 1 << 22)
    one, two = [0, 1, 1, 0, 2, 1, 1], [1, 1, 0, 2, 2, 2, 0]
    monkeypatch.setattr(ngrams, "projection", lambda: eye_array(1 << 22))
    every = np.ones((2, 7 + 6 + 5), dtype=bool)
    a, b = ngrams._projected(np.array([one, two], np.uint8), every).tocsr()
    assert sorted(a.data) == pytest.approx(sorted(roots(one).values()))
    expected = sum(roots(one)[g] * roots(two).get(g, 0.0) for g in roots(one))
    assert float(a.dot(b)) == pytest.approx(expected)


def test_equal_sequences_have_equal_features_and_distance_is_about_hellingers() -> None:
    text = make("dataset", "markov", outcomes=27, length=64, replicates=2)
    x = text.sample(60, rng()).x
    found = ngrams.features(Samples(x))
    assert found.shape == (60, 2, 64) and found.dtype == np.float64
    assert np.array_equal(ngrams.features(Samples(x[7:9])), found[7:9])
    assert np.square(found).mean() == pytest.approx(1, abs=0.1)
    exact, projected = [], []
    for i in range(0, 60, 2):
        p, q = roots(x[i, 0].tolist()), roots(x[i + 1, 1].tolist())
        exact.append(2 - 2 * sum(p[g] * q.get(g, 0.0) for g in p))
        projected.append(np.square(found[i, 0] - found[i + 1, 1]).sum() / 64)
    assert np.mean(projected) == pytest.approx(np.mean(exact), rel=0.1)


def test_of_records_the_completion_counts() -> None:
    x = rng().integers(9, size=(4, 1, 12))
    inner = {"prompt_lengths": np.full(4, 3), "lengths": np.full(4, 10)}
    alone = ngrams.features(Samples(x[..., 3:10]))
    assert np.array_equal(ngrams.features(Samples(x, beside=inner)), alone)


@pytest.mark.parametrize("length", [1, 2])
def test_a_text_shorter_than_the_longest_ngram_has_features(length: int) -> None:
    found = ngrams.features(Samples(np.arange(3 * length, dtype=np.uint8).reshape(3, 1, -1)))
    assert np.isfinite(found).all() and not np.allclose(found[0], found[1])


def test_auto_means_ngrams_and_no_other_extractor_reads_text() -> None:
    text = make("dataset", "markov")
    samples = text.sample(5, rng())
    assert features.resolve("auto", text) == "ngrams"
    assert np.array_equal(features.extract(samples, "auto", text), ngrams.features(samples))
    with pytest.raises(ValueError, match=r"'raw' does not read text.*; use 'ngrams'"):
        features.extract(samples, "raw", text)
    with pytest.raises(ValueError, match=r"'ngrams' does not read points.*; use 'raw'"):
        features.extract(Samples(np.zeros((3, 1, 2))), "ngrams", make("dataset", "mixture"))


@pytest.mark.parametrize("name", METRICS)
def test_real_text_stands_at_its_floor_and_another_language_above_it(name: str) -> None:
    text = make("dataset", "languages", replicates=2)
    other = make("dataset", "languages", replicates=2, law_seed=9)
    real = text.sample(240, rng())
    metric = make("metric", name, splits=4)
    metric.prepare(text, real, 240, rng(1))
    assert metric.about_ == {"extractor": "ngrams"}
    key = {"precision_recall": "precision_recall/recall"}.get(name, name)
    same, far = (
        metric(own.sample(240, rng(5)), None, NOTHING, rng(2))[key] for own in (text, other)
    )
    assert same.value.shape == (2,)
    if name == "kid":
        assert (np.abs(same.value - same.floor) < 5 * same.floor_sd).all()
        assert (far.value > 50 * same.floor_sd).all()
    elif name == "precision_recall":
        assert (far.value < 0.5 * same.value).all()
        assert same.value == pytest.approx(same.floor, abs=0.1)
    else:
        assert same.value == pytest.approx(same.floor, rel=0.2)
        assert (far.value > 1.5 * same.value).all()
