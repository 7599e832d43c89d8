"""Decoding against its laws, and judges of text that goes on from real text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from engine.generators._choices import Tempered
from engine.generators._tables import tempered
from engine.parts import Draw
from engine.refusals import refusals
from engine.registry import make
from engine.rewards.rouge import Spans, overlap
from engine.samples import Prompted, Samples, Traits
from engine.samplings._choice import chosen
from engine.spec import Part
from tests.support.around import around


def fitted(n: int = 60, replicates: int = 2, length: int = 5, **params: Any) -> tuple[Any, Samples]:
    """A language of three tokens, and a model of it."""
    truth = make("dataset", "markov", outcomes=3, length=length, replicates=replicates)
    real = truth.sample(n, np.random.default_rng(0))
    model = make("generator", "ngram", **params)
    model.fit(real, np.random.default_rng(0))
    return model, real


def decoded(model: Any, real: Samples, n: int, **params: Any) -> Draw:
    sampling = make("sampling", "decode", **params)
    sampling.prepare(None, real, model, np.random.default_rng(0))
    return sampling.draw(model, n, around(real, n, model), np.random.default_rng(1))


def labelled(n: int = 40) -> tuple[Any, Samples]:
    """Class k begins with k and goes on with 2."""
    y = np.arange(n) % 2
    x = np.full((n, 1, 4), 2, np.uint8)
    x[:, 0, 0] = y
    real = Samples(x, y, traits=Traits("text", 2, 1, vocabulary=3))
    model = make("generator", "ngram", discount=0.0)
    model.fit(real, np.random.default_rng(0))
    return model, real


# ---- decode ----


@pytest.mark.parametrize("top_k", [0, 3, 9])
def test_what_cuts_nothing_off_is_plain_sampling(top_k: int) -> None:
    """With a top_k of all tokens it goes through the model's logits, to the same bits."""
    model, real = fitted()
    plain = model.sample(200, np.random.default_rng(1))
    found = decoded(model, real, 200, top_k=top_k).samples
    assert (found.x == plain.x).all() and found.x.dtype == plain.x.dtype


@pytest.mark.parametrize(
    ("how", "law"),
    [
        ({"top_p": 0.6}, [0.625, 0.375, 0]),
        ({"top_p": 0.5}, [1, 0, 0]),
        ({"top_p": 0.0}, [1, 0, 0]),
        ({"top_p": 0.8}, [0.625, 0.375, 0]),
        ({"top_k": 2}, [0.625, 0.375, 0]),
        ({"top_k": 2, "top_p": 0.625}, [1, 0, 0]),
        ({"temperature": 0.5}, [25 / 38, 9 / 38, 4 / 38]),
        ({"temperature": 0.0}, [1, 0, 0]),
        (
            {"temperature": 2.0, "top_k": 7},
            np.sqrt([0.5, 0.3, 0.2]) / np.sqrt([0.5, 0.3, 0.2]).sum(),
        ),
    ],
)
def test_tokens_follow_what_is_left_of_the_law(how: dict[str, Any], law: list[float]) -> None:
    where = np.array([2, 0, 1])  # the most likely token is the last
    log_p = np.log(np.array([0.3, 0.2, 0.5]))[None].repeat(20_000, 0)
    u = (np.arange(20_000) + 0.5) / 20_000
    settings = {"temperature": 1.0, "top_k": 0} | how
    seen = np.bincount(chosen(log_p, u, **settings), minlength=3)[where] / 20_000
    assert seen == pytest.approx(np.asarray(law), abs=1e-4)


@pytest.mark.parametrize("temperature", [1e-20, 1e-45, 1e-300, 1e-320])
def test_whatever_is_cold_enough_is_greedy(temperature: float) -> None:
    """Also where logits or logarithms divided by it are infinite."""
    p = np.array([[0.2, 0.5, 0.3], [0.0, 0.1, 0.9]])
    rng, logits = np.random.default_rng(0), np.log(p, where=p > 0, out=np.full(p.shape, -50.0))
    assert tempered(p, temperature) == pytest.approx(np.array([[0, 1, 0], [0, 0, 1]]))
    for own in (logits.astype(np.float32), torch.from_numpy(logits.astype(np.float32))):
        assert Tempered(temperature)(own, rng)[0].tolist() == [1, 2]
    found = chosen(np.log(p + 1e-9), rng.random(2), temperature=temperature, top_k=0)
    assert found.tolist() == [1, 2]


def test_a_draw_with_top_p_follows_the_cut_law() -> None:
    x = np.repeat(np.arange(3), [50, 30, 20])[:, None, None].astype(np.uint8)
    real = Samples(x, traits=Traits("text", replicates=1, vocabulary=3))
    model = make("generator", "ngram", order=1, discount=0.0)
    model.fit(real, np.random.default_rng(0))
    found = decoded(model, real, 20_000, top_p=0.6).samples.x.ravel()
    seen = np.bincount(found, minlength=3)
    assert seen[2] == 0 and chisquare(seen[:2], [12_500, 7_500]).pvalue > 1e-4


def texts(length: int, replicates: int) -> np.ndarray:
    """Every text of three tokens."""
    every = np.stack(np.meshgrid(*[range(3)] * length, indexing="ij"), -1)
    return every.reshape(-1, 1, length).repeat(replicates, 1)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_enough_beams_find_the_most_likely_text(order: int) -> None:
    model, real = fitted(order=order, length=4, replicates=5)
    every = texts(4, 5)
    best = every[model.log_density(every).argmax(0), 0]  # [replicates, 4]
    found = decoded(model, real, 3, beams=27).samples.x
    assert (found == best).all()


def test_one_beam_is_greedy_and_greedy_is_temperature_0() -> None:
    model, real = fitted(order=3, replicates=4)
    found = decoded(model, real, 2, temperature=0.0).samples.x
    logits = model.logits(found)
    assert (logits.argmax(-1) == found).all()
    searched = decoded(model, real, 2, beams=2).samples.x
    assert (model.log_density(searched) >= model.log_density(found) - 1e-12).mean() > 0.5


def test_a_prompt_is_that_of_the_real_texts_in_turn() -> None:
    model, real = fitted(n=6)
    found = decoded(model, real, 9, prompt=3, temperature=0.5, batch=4).samples
    rows = np.arange(9) % 6
    assert (found.x[..., :3] == real.x[rows, :, :3]).all()
    assert found.prompted is not None and found.prompted.given == 3
    assert (found.prompted.real.x == real.x[rows]).all()
    assert (found.x[..., 3:] != real.x[rows, :, 3:]).any()
    with pytest.raises(ValueError, match="prompt must be below the length of the texts, 5, got 5"):
        decoded(model, real, 1, prompt=5)


@pytest.mark.parametrize("how", [{"temperature": 0.5}, {"beams": 3}])
def test_a_class_goes_on_from_texts_of_its_own(how: dict[str, Any]) -> None:
    model, real = labelled()
    found = decoded(model, real, 10, prompt=1, **how).samples
    assert found.y is not None and (found.x[:, 0, 0] == found.y).all()
    assert (found.x[:, 0, 1:] == 2).all() and {*found.y.tolist()} == {0, 1}


def test_beams_that_would_be_drawn_are_refused() -> None:
    with pytest.raises(
        ValueError, match="5 beams search for the most likely text and draw nothing"
    ):
        make("sampling", "decode", beams=5, temperature=0.8)


# ---- rewards ----

TEXT = Traits("text", replicates=1, vocabulary=3)


def overlapping(x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    begin, end = np.zeros(len(x), int), np.full(len(x), x.shape[1])
    return overlap(Spans(x[:, None], begin, end), Spans(y[:, None], begin, end), n)


def test_rouge_counts_what_both_have_as_often_as_both_have_it() -> None:
    x = np.array([[0, 0, 1, 2], [0, 1, 2, 3], [3, 3, 3, 3], [1, 0, 1, 0]])
    y = np.array([[0, 1, 1, 2], [3, 2, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]])
    assert overlapping(x, y, 1).tolist() == [0.75, 1, 0, 1]
    assert overlapping(x, y, 2) == pytest.approx([2 / 3, 0, 0, 1])


def test_rouge_of_parts_of_other_lengths_is_f_of_precision_and_recall() -> None:
    x = np.array([[[9, 0, 1, 2, 9]], [[9, 1, 9, 9, 9]], [[0, 0, 0, 0, 0]]])
    y = np.array([[[7, 1, 2, 3, 4]], [[7, 1, 1, 1, 7]], [[0, 0, 0, 0, 0]]])
    begin = np.array([1, 1, 2])
    ours, theirs = Spans(x, begin, np.array([4, 2, 2])), Spans(y, begin, np.array([5, 4, 5]))
    assert overlap(ours, theirs, 1) == pytest.approx([4 / 7, 2 / 4, 0])  # precision 2/3, recall 2/4
    assert overlap(ours, theirs, 2) == pytest.approx([2 / 5, 0, 0])
    assert overlap(ours, theirs, 4).tolist() == [0, 0, 0]


def test_long_n_grams_of_many_tokens_are_told_apart() -> None:
    """As numbers to the base V these would be one: V^5 times the first token is beyond 64 bits."""
    x, y = np.zeros((1, 6), int), np.zeros((1, 6), int)
    x[0, 0], y[0, 0], x[0, 5] = 512, 0, 255_999
    y[0, 5] = 255_999
    assert overlapping(x, y, 6).tolist() == [0]
    assert overlapping(x, x, 6).tolist() == [1]


def test_rouge_judges_the_continuation_alone_and_wants_one() -> None:
    rouge = make("reward", "rouge", n=2)
    real = texts(4, 2)
    x = Samples(real.copy(), prompted=Prompted(Samples(real, traits=TEXT), 1))
    x.x[:, 1] = x.x[:, 1, ::-1]
    x.x[..., 0] = 0
    score = rouge.score(x)
    assert (score[:, 0] == 1).all() and 0 < score[:, 1].mean() < 1
    with pytest.raises(ValueError, match=r"judge the draws of \{name: decode"):
        rouge.score(Samples(real))
    with pytest.raises(ValueError, match="3 tokens are written, fewer than n, 4"):
        make("reward", "rouge", n=4).score(x)


def test_likelihood_is_the_judges_per_token_written() -> None:
    model, real = fitted(order=3, replicates=1)
    judge = make("reward", "likelihood", order=3)
    judge.fit(None, real, model, np.random.default_rng(0))
    x = texts(5, 1)
    assert judge.score(Samples(x)) == pytest.approx(model.log_density(x) / 5, rel=1e-12)
    written = Samples(x, prompted=Prompted(Samples(x), 2))
    own = np.take_along_axis(model.logits(x), x[..., None], -1)[..., 2:, 0].mean(-1)
    assert judge.score(written) == pytest.approx(own, rel=1e-12)
    itself = make("reward", "likelihood", by="model")
    itself.fit(None, real, model, np.random.default_rng(0))
    assert (itself.score(written) == judge.score(written)).all()


def test_a_judge_of_more_real_texts_is_closer_to_the_truth() -> None:
    truth = make("dataset", "markov")
    real, held_out = truth.sample(30, np.random.default_rng(0)), truth.held_out(200)
    found = []
    for n_judge in (None, 3000):
        judge = make("reward", "likelihood", n_judge=n_judge, order=2)
        judge.fit(truth, real, None, np.random.default_rng(1))
        found.append(judge.score(held_out).mean())
    assert found[0] < found[1] < -truth.entropy() + 0.1


# ---- judges of what a sampling draws ----


def judged(name: str, model: Any, real: Samples, n: int, **params: Any) -> Draw:
    sampling = make("sampling", name, **params)
    sampling.prepare(make("dataset", "markov"), real, model, np.random.default_rng(2))
    return sampling.draw(model, n, around(real, n, model), np.random.default_rng(3))


@pytest.mark.parametrize(
    ("name", "params"),
    [("verify", {"rule": "top", "share": 0.3}), ("curate", {"k": 3})],
)
def test_judging_plain_draws_is_judging_without_a_sampling(
    name: str, params: dict[str, Any]
) -> None:
    model, real = fitted()
    whom = {"reward": {"name": "likelihood", "by": "model"}, **params}
    said = judged(name, model, real, 50, sampling={"name": "plain"}, **whom)
    bare = judged(name, model, real, 50, **whom)
    assert (said.samples.x == bare.samples.x).all() and said.report == bare.report


def test_the_completions_that_are_kept_are_nearer_to_the_real_ones() -> None:
    model, real = fitted(n=30, replicates=1, length=12)
    how = {"sampling": {"name": "decode", "prompt": 4}, "reward": {"name": "rouge"}}
    kept = judged("verify", model, real, 60, rule="top", share=0.25, **how)
    assert kept.report["reward/kept"] > kept.report["reward"] + 0.1
    begun = {row.tobytes() for row in real.x[:, 0, :4]}
    assert {row.tobytes() for row in kept.samples.x[:, 0, :4]} <= begun
    chosen_ones = judged("curate", model, real, 60, k=4, scale=50.0, **how)
    assert (chosen_ones.samples.x[..., :4] == real.x[np.arange(60) % 30, :, :4]).all()
    assert chosen_ones.report["reward/kept"] > chosen_ones.report["reward"] + 5


def test_rouge_is_refused_where_nothing_goes_on_from_a_real_text() -> None:
    text, ngram = Part("dataset", "markov"), Part("generator", "ngram")
    for prompt, wrong in ((0, True), (3, False)):
        inner = {"name": "decode", "prompt": prompt}
        params = {"rule": "top", "reward": {"name": "rouge"}, "sampling": inner}
        found = refusals(text, ngram, Part("sampling", "verify", params))
        assert bool(found) == wrong and all("rouge compares with what a real" in w for w in found)


def test_a_design_of_its_own_takes_no_sampling() -> None:
    with pytest.raises(ValueError, match="takes no sampling"):
        make("sampling", "verify", rule="threshold", sampling={"name": "plain"})
