"""n-gram models against exact laws: the known language, Seddik's chain, temperature, the cap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from analysis.theory import discrete as theory
from engine._tokens import context_codes
from engine.generators import _contexts
from engine.generators._tables import capped
from engine.generators.ngram import Ngram
from engine.registry import make
from engine.samples import Samples, Traits, concat
from tests.support.around import NOTHING
from tests.support.chains import assert_mean, chain, measured

EXACT = {"name": "ngram", "discount": 0.0}


def language(**params: object) -> object:
    return make("dataset", "markov", **params)


def text(x: object, vocabulary: int, classes: int = 0, y: object = None) -> Samples:
    """Sequences [n, length] of one replicate."""
    labels = None if y is None else np.asarray(y, np.int64)
    traits = Traits("text", classes, 1, vocabulary=vocabulary)
    return Samples(np.asarray(x, np.uint8)[:, None, :], labels, traits=traits)


def fit(data: Samples, **params: object) -> Ngram:
    model = Ngram(**params)  # type: ignore[arg-type]
    model.fit(data, np.random.default_rng(0))
    return model


# ---- the law itself ----


def test_a_known_language_has_its_entropy_and_no_other_table_comes_below() -> None:
    rng = np.random.default_rng(0)
    for order in (0, 1, 2):
        truth = language(outcomes=3, order=order, length=7)
        assert truth.cross_entropy_of(truth.table_[None])[0] == truth.entropy()
        others = rng.dirichlet(np.ones(3), (20, 4**2))
        assert (truth.cross_entropy_of(others) > truth.entropy()).all()
        scores = -truth.log_density(truth.sample(4000, rng).x)[:, 0] / 7
        error = scores.std(ddof=1) / np.sqrt(len(scores))
        assert abs(scores.mean() - truth.entropy()) < 4 * error


def test_cross_entropy_by_recursion_is_the_sum_over_all_sequences() -> None:
    truth = language(outcomes=3, order=1, length=4)
    model = fit(truth.sample(30, np.random.default_rng(1)), order=3)
    every = np.stack(np.meshgrid(*[range(3)] * 4, indexing="ij"), -1).reshape(-1, 1, 4)
    p = np.exp(truth.log_density(every))
    assert p.sum() == pytest.approx(1)
    assert np.exp(model.log_density(every)).sum() == pytest.approx(1)
    expected = -(p * model.log_density(every)).sum() / 4
    assert truth.cross_entropy_of(model.transitions()) == pytest.approx(expected, rel=1e-12)


def test_a_fitted_model_comes_to_the_truth() -> None:
    truth = language(replicates=2)
    excess = [
        truth.cross_entropy_of(
            fit(truth.sample(n, np.random.default_rng(2)), order=2).transitions()
        ).mean()
        - truth.entropy()
        for n in (30, 300, 3000)
    ]
    assert excess[0] > 3 * excess[1] > 9 * excess[2] > 0
    assert excess[2] < 1e-3


def test_a_table_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=r"markov: a table of .* is too large"):
        language(outcomes=200, order=3)


# ---- smoothing ----


def interpolated(sequences: list[list[int]], order: int, d: float, v: int, c: tuple[int, ...]):
    """p(. | c) as written in the paper, from a dictionary of counters."""
    if len(c) > order - 1:
        c = c[len(c) - order + 1 :]
    if order == 0:
        return np.full(v, 1 / v)
    counts = np.zeros(v)
    for own in sequences:
        padded = [v] * (order - 1) + own
        for i in range(order - 1, len(padded)):
            if tuple(padded[i - order + 1 : i]) == c:
                counts[padded[i]] += 1
    lower = interpolated(sequences, order - 1, d, v, c[1:])
    if not counts.sum():
        return lower
    kept = np.maximum(counts - d, 0)
    return (kept + d * np.count_nonzero(counts) * lower) / counts.sum()


@pytest.mark.parametrize("discount", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_are_those_of_the_formula(order: int, discount: float) -> None:
    x = np.random.default_rng(3).integers(3, size=(9, 6))
    x[x == 2] = 0
    table = fit(text(x, 3), order=order, discount=discount).transitions()[0]
    for code in range(4 ** (order - 1)):
        c = tuple(code // 4**i % 4 for i in reversed(range(order - 1)))
        expected = interpolated(x.tolist(), order, discount, 3, c)
        assert table[code] == pytest.approx(expected, abs=1e-12), c


def test_blocks_give_the_bits_of_the_whole_and_each_is_counted_once() -> None:
    truth, rng = language(replicates=2, length=9), np.random.default_rng(4)
    one, two = (truth.sample(20, rng) for _ in range(2))
    apart, joined = fit(concat([one, two])), fit(concat([one, two]).take(np.arange(40)))
    assert (apart.p_ == joined.p_).all() and (apart.codes_ == joined.codes_).all()
    counted = [next(iter(block.memo.values())) for block in (one, two)]
    fit(concat([one, two, truth.sample(20, rng)]))
    assert all(next(iter(b.memo.values())) is c for b, c in zip((one, two), counted, strict=True))


def test_sets_one_after_the_other_can_be_a_draw() -> None:
    """As of a model that draws them some at a time."""
    truth, rng = language(length=9), np.random.default_rng(4)
    one, two = (truth.sample(20, rng) for _ in range(2))
    drawn = concat([one, two]).drawn_at(3)
    assert (drawn.x == np.concatenate([one.x, two.x])).all() and drawn.traits == one.traits
    assert (drawn.born == 3).all() and drawn.synthetic_fraction == 1
    assert (concat([one, two]).labelled(np.arange(40)).y == np.arange(40)).all()


def test_draws_follow_the_density() -> None:
    model = fit(text(np.random.default_rng(5).integers(3, size=(8, 3)), 3), order=3)
    every = np.stack(np.meshgrid(*[range(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    drawn = model.sample(20_000, np.random.default_rng(6)).x[:, 0].astype(int)
    seen = np.bincount(drawn @ [9, 3, 1], minlength=27)
    assert chisquare(seen, np.exp(model.log_density(every))[:, 0] * 20_000).pvalue > 1e-4


def test_classes_have_models_of_their_own_and_an_untrained_one_is_uniform_and_not_drawn() -> None:
    data = text([[0, 0, 1], [1, 1, 0]], 4, 3, [0, 1])
    model = fit(data, order=2, discount=0.0)
    drawn = model.sample(4000, np.random.default_rng(7), np.arange(4000) % 2)
    assert (drawn.x[drawn.y == 1][:, 0, 0] == 1).all()
    assert (drawn.x[drawn.y == 0][:, 0, 0] == 0).all()
    assert np.exp(model.logits(data.x, np.array([2, 2]))) == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"asked to draw class 2, .* its classes are 0, 1"):
        model.sample(1, np.random.default_rng(0), np.array([2]))
    assert np.exp(model.log_density(data.x)).sum() <= 1
    with pytest.raises(ValueError, match="asked for class 3"):
        model.sample(1, np.random.default_rng(0), np.array([3]))


def test_saved_and_loaded_is_the_same_model(tmp_path: Path) -> None:
    truth = language(replicates=2)
    model, other = fit(truth.sample(30, np.random.default_rng(8))), Ngram()
    model.save(tmp_path)
    other.load(tmp_path)
    x = truth.held_out(10).x
    assert (model.log_density(x) == other.log_density(x)).all()
    assert (model.transitions() == other.transitions()).all()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"gamma": 1.5}, "gamma is a probability"),
        ({"gamma": 0.5, "discount": 0.0}, "gamma below 1 needs a discount"),
        ({"gamma": 0.1}, "below 1 / 8"),
        ({"order": 30}, "more n-grams than can be numbered"),
    ],
)
def test_what_cannot_be_fitted_is_refused(params: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=f"ngram: .*{said}"):
        fit(language().sample(5, np.random.default_rng(0)), **params)


def test_a_vocabulary_that_nobody_declared_is_refused() -> None:
    data = Samples(np.zeros((3, 1, 4), np.uint8), traits=Traits("text", replicates=1))
    with pytest.raises(ValueError, match="declare VOCABULARY"):
        fit(data)


# ---- token by token ----


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_walk_comes_to_the_row_that_a_search_finds(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(order)
    data = text(rng.integers(5, size=(6, 7)), 6, 3, np.arange(6) % 2)  # class 2 has no text
    x, group = rng.integers(6, size=(50, 1, 9)), rng.integers(3, size=(50, 1))
    codes = context_codes(x, 6, order - 1) + group[..., None] * 7 ** (order - 1)
    for most in (1 << 20, 0):
        monkeypatch.setattr(_contexts, "MOST_STEPS", most)
        contexts = fit(data, order=order)._contexts
        assert (contexts.along(x, group) == contexts.row(codes)).all()
        assert (contexts.steps is None) == (most == 0)


def honest(logits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, None]:
    cumulated = np.cumsum(np.exp(logits), axis=1)
    return (cumulated < rng.random((len(logits), 1)) * cumulated[:, -1:]).sum(1), None


@pytest.mark.parametrize("classes", [0, 2])
def test_what_is_generated_honestly_is_what_is_sampled(classes: int) -> None:
    labels = np.arange(40) % 2 if classes else None
    data = Samples(
        np.random.default_rng(1).integers(4, size=(40, 3, 6)).astype(np.uint8),
        labels,
        traits=Traits("text", classes, 3, vocabulary=4),
    )
    model = fit(data)
    drawn = model.sample(40, np.random.default_rng(2), labels).x
    generated = model.generate(40, honest, np.random.default_rng(2), labels=labels)
    assert generated.dtype == drawn.dtype and (generated == drawn).all()
    every = [None] if labels is None else [np.full(40, k) for k in range(2)]
    each = [model.logits(drawn, y) for y in every]  # [40, 3, 6, 4]
    own = [np.take_along_axis(x, drawn[..., None].astype(int), -1).sum((2, 3)) for x in each]
    mixed = np.logaddexp.reduce(own) - np.log(len(own))
    assert mixed == pytest.approx(model.log_density(drawn), abs=1e-12)


def test_a_prompt_stays_and_what_follows_goes_on_from_it() -> None:
    model = fit(text([[0, 1, 2], [1, 2, 0], [2, 0, 1]], 3), order=2, discount=0.0)
    prompts = np.array([[[0]], [[2]]])
    found = model.generate(2, honest, np.random.default_rng(0), prompts)
    assert found[:, 0].tolist() == [[0, 1, 2], [2, 0, 1]]
    with pytest.raises(ValueError, match=r"ngram: prompts are \[3, 1\] x at most 3 tokens"):
        model.generate(3, honest, np.random.default_rng(0), prompts)


def test_a_row_continues_from_the_row_that_was_chosen_for_it() -> None:
    model = fit(text([[0, 1, 2], [1, 2, 0], [2, 0, 1]], 3), order=2, discount=0.0)

    def second(logits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        first = np.isfinite(logits).all()
        return np.array([0, 2]) if first else logits[[1, 1]].argmax(1), np.array([1, 1])

    found = model.generate(2, second, np.random.default_rng(0))[:, 0]
    assert found.tolist() == [[2, 0, 1], [2, 0, 1]]


def test_a_model_of_classes_wants_labels() -> None:
    model = fit(text([[0, 1], [1, 0]], 2, 2, [0, 1]))
    with pytest.raises(ValueError, match="give the labels of the texts"):
        model.logits(np.zeros((1, 1, 2), np.uint8))


# ---- temperature and the cap ----


def test_temperature_to_the_power_of_generations() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    x = np.repeat(np.arange(4), (p * 20_000).astype(int))[:, None]
    data = text(x, 4)
    for t in range(5):
        drawn = fit(data, order=1, discount=0.0).sample(20_000, np.random.default_rng(t), bias=0.8)
        data = text(drawn.x[:, 0], 4)
    found = np.bincount(data.x.ravel(), minlength=4) / 20_000
    law = p ** (0.8**-5) / (p ** (0.8**-5)).sum()
    assert law == pytest.approx([0.80866, 0.17011, 0.02051, 0.00072], abs=5e-6)
    assert found == pytest.approx(law, abs=0.02)


@pytest.mark.parametrize(
    ("q", "gamma", "expected"),
    [
        ([0.9, 0.04, 0.03, 0.02, 0.01], 0.8, [0.8, 0.08, 0.06, 0.04, 0.02]),
        ([0.97, 0.02, 0.01], 0.9, [0.9, 0.2 / 3, 0.1 / 3]),
        ([0.5, 0.4, 0.06, 0.04], 0.3, [0.3, 0.3, 0.24, 0.16]),
        ([0.5, 0.3, 0.2], 0.6, [0.5, 0.3, 0.2]),
        ([0.7, 0.2, 0.1], 1 / 3, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_the_cap_is_the_fixed_point(q: list[float], gamma: float, expected: list[float]) -> None:
    assert capped(np.array([q, q]), gamma) == pytest.approx(np.array([expected] * 2), abs=1e-12)


# ---- chains ----


def test_a_saturated_model_is_seddiks_chain() -> None:
    truth = language(outcomes=4, length=2, concentration=1.0, law_seed=1, replicates=2000)
    every = np.stack(np.meshgrid(range(4), range(4), indexing="ij"), -1).reshape(-1, 1, 2)
    first = float(np.square(np.exp(truth.log_density(np.repeat(every, 2000, 1))[:, 0])).sum())
    steps = chain(truth, {**EXACT, "order": 2}, {"name": "replace"}, n=60, generations=8)
    for step in steps:
        if step.t in (0, 8):
            p = np.exp(step.generator.log_density(np.repeat(every, 2000, 1)))
            law = float(theory.replace_sum_p2(60, step.t, first))
            assert_mean(np.square(p).sum(0), law, what=f"t = {step.t}")


def test_after_nothing_but_bos_every_order_is_that_chain() -> None:
    truth = language(outcomes=4, length=8, replicates=2000)
    first = float(np.square(truth.table_[-1]).sum())
    entropy = []
    steps = chain(truth, {**EXACT, "order": 2}, {"name": "replace"}, n=50, generations=6)
    for step in steps:
        if step.t in (0, 6):
            table = step.generator.transitions()  # [replicates, contexts, V]
            law = float(theory.replace_sum_p2(50, step.t, first))
            assert_mean(np.square(table[:, -1]).sum(1), law, what=f"t = {step.t}")
            entropy.append(-step.generator.log_density(step.drawn.x).mean())
    assert entropy[1] < 0.95 * entropy[0]


def test_accumulate_keeps_what_replace_loses() -> None:
    truth, found = language(replicates=20), {}
    for policy in ("replace", "accumulate"):
        steps = chain(truth, {"name": "ngram", "order": 2}, {"name": policy}, n=50, generations=8)
        values = measured(steps, {"name": "cross_entropy", "points": 100}, truth, {0, 8})
        found[policy] = [values[t]["cross_entropy/excess"].mean() for t in (0, 8)]
    assert found["replace"][1] > 4 * found["replace"][0]
    assert found["accumulate"][1] < 2.5 * found["accumulate"][0]


# ---- metrics ----


def test_cross_entropy_counts_an_unseen_ngram_as_undefined() -> None:
    truth = language(replicates=2)
    model = fit(truth.sample(3, np.random.default_rng(9)), order=3, discount=0.0)
    ruler = make("metric", "cross_entropy", points=50)
    drawn = model.sample(50, np.random.default_rng(1))
    ruler.prepare(truth, drawn, 50, np.random.default_rng(0))
    answer = ruler(drawn, model, NOTHING, np.random.default_rng(0))
    assert answer["cross_entropy"].reason == "the model gives some held-out text probability 0"
    assert (answer["cross_entropy/own"] < truth.entropy()).all()
    better = fit(truth.sample(2000, np.random.default_rng(9)), order=2)
    answer = ruler(drawn, better, NOTHING, np.random.default_rng(0))
    nats = answer["cross_entropy"]
    assert answer["cross_entropy/perplexity"] == pytest.approx(np.exp(nats))
    assert answer["cross_entropy/bits"] == pytest.approx(nats / np.log(2))
    assert answer["cross_entropy/truth"] == truth.entropy()
    assert (answer["cross_entropy/excess"] > 0).all()
    first = better.transitions()[:, -1]  # after nothing but BOS
    expected = [-np.log(p[x]).mean() for p, x in zip(first, ruler._test.x[..., 0].T, strict=True)]
    assert answer["cross_entropy/start"] == pytest.approx(expected)


def test_ngrams_by_hand() -> None:
    ruler = make("metric", "ngrams", order=2)
    ruler._vocabulary = 3
    real, drawn = (Samples(np.array([[row]])) for row in ([0, 0, 1, 2], [0, 0, 0, 1]))
    found = ruler._numbers(real, drawn, 0)
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.75, 0.25, 0.0])
    assert found["ngrams/tv/1"] == pytest.approx(0.25)
    middle = (p + q) / 2
    entropy = [-(v[v > 0] * np.log(v[v > 0])).sum() for v in (middle, p, q)]
    assert found["ngrams/js/1"] == pytest.approx(entropy[0] - (entropy[1] + entropy[2]) / 2)
    a, b = (np.array(v) / 5.5 for v in ([2.5, 1.5, 1.5], [3.5, 1.5, 0.5]))
    assert found["ngrams/kl/1"] == pytest.approx((a * np.log(a / b)).sum())
    # bigrams 00 01 12 against 00 00 01
    a, b = np.full(9, 0.5), np.full(9, 0.5)
    a[[0, 1, 5]] += 1
    b[[0, 1]] += [2, 1]
    assert found["ngrams/kl"] == pytest.approx((a / 7.5 * np.log(a / b)).sum())
    assert found["ngrams/tail"] == pytest.approx(2 / 3)
    assert (found["ngrams/types"], found["ngrams/distinct"]) == (2, pytest.approx(2 / 3))


def test_real_text_stands_at_its_floor_and_noise_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = language(replicates=3)
    real = truth.sample(200, np.random.default_rng(0))
    ruler = make("metric", "ngrams", order=2)
    ruler.prepare(truth, real, 200, np.random.default_rng(0))
    same = ruler(truth.sample(200, np.random.default_rng(5)), None, NOTHING, None)
    noise = Samples(np.random.default_rng(6).integers(8, size=(200, 3, 32)).astype(np.uint8))
    other = ruler(noise, None, NOTHING, None)
    for key in ("ngrams/js", "ngrams/tv", "ngrams/kl", "ngrams/js/1"):
        assert same[key].value.mean() == pytest.approx(same[key].floor, rel=0.5)
        assert (other[key].value > 5 * other[key].floor).all()
    assert (other["ngrams/distinct"].value >= same["ngrams/distinct"].value).all()
    monkeypatch.setattr("engine.metrics.ngrams.DENSE", 1)
    sparse = ruler(noise, None, NOTHING, None)
    assert all((sparse[key].value == value.value).all() for key, value in other.items())
    with pytest.raises(ValueError, match="order 40 is longer than a sequence, 32"):
        make("metric", "ngrams", order=40).prepare(truth, real, 200, np.random.default_rng(0))


def test_a_lost_token_lowers_the_types_and_nothing_crashes() -> None:
    truth = language(outcomes=4, replicates=1)
    real = truth.sample(100, np.random.default_rng(0))
    ruler = make("metric", "ngrams", order=2)
    ruler.prepare(truth, real, 100, np.random.default_rng(0))
    less = Samples(np.minimum(real.x, 2), traits=real.traits)
    drawn = fit(less, order=2, discount=0.0).sample(100, np.random.default_rng(1))
    answer = ruler(drawn, None, NOTHING, None)
    assert drawn.x.max() == 2
    assert answer["ngrams/types"].value < ruler(real, None, NOTHING, None)["ngrams/types"].value


def test_of_single_tokens_it_is_the_chain_of_token_frequencies() -> None:
    truth = language(outcomes=5, order=0, length=1, replicates=2000)
    first = float(np.square(truth.table_[0]).sum())
    steps = chain(truth, {**EXACT, "order": 1}, {"name": "replace"}, n=40, generations=5)
    for step in steps:
        if step.t in (0, 5):
            found = np.square(step.generator.transitions()[:, 0]).sum(1)
            law = float(theory.replace_sum_p2(40, step.t, first))
            assert_mean(found, law, what=f"t = {step.t}")
    steps = chain(truth, {**EXACT, "order": 1}, {"name": "accumulate"}, n=40, generations=5)
    for step in steps:
        if step.t == 5:
            found = np.square(step.generator.transitions()[:, 0]).sum(1)
            kept = np.prod(1 - 1 / (40 * np.arange(1.0, 7.0) ** 2))  # set k is one of k sets
            assert_mean(found, 1 - kept * (1 - first), what="accumulate")
    steps = chain(truth, {**EXACT, "order": 1}, {"name": "augment"}, n=40, generations=5)
    for step in steps:
        if step.t == 5:
            synthetic = len(step.data) - 40
            found = np.square(step.generator.transitions()[:, 0]).sum(1)
            law = float(theory.augment_sum_p2(40, synthetic, 5, first))
            assert_mean(found, law, what="augment")
