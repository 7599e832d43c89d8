"""Records that are decoded, edited and judged: completions of the records' own prompts, and nothing
but these.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.generators.gpt import Gpt
from engine.parts import Draw
from engine.refusals import refusals
from engine.registry import make
from engine.samples import Prompted, Samples
from engine.spec import Part
from tests.support.around import around
from tests.support.pretrained import WORDS, language_model
from tests.support.pretrained import records as written

END, PAD = 1, 2
Records = tuple[Gpt, Samples, dict[str, Any]]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """A model that has learnt records, those, and the parameters of their data set."""
    place = tmp_path_factory.mktemp("records")
    folder = str(language_model(place / "base"))
    file = written(place / "records.jsonl", 40)
    longer = '{"ask": "the new old sun", "say": "red blue"}\n'
    file.write_text(longer * 5 + file.read_text())
    params: dict[str, Any] = {"path": str(file), "tokens": {"tokenizer": folder}, "length": 8}
    params |= {"records": {"prompt": "ask", "completion": "say"}}
    data = make("dataset", "text", **params).sample(24, np.random.default_rng(0))
    model = Gpt(base=folder, steps=25, lr=0.02)
    model.fit(data, np.random.default_rng(0))
    return model, data, params


def drawn(records: Records, n: int, name: str = "decode", **params: Any) -> Draw:
    model, data, own = records
    sampling, dataset = make("sampling", name, **params), make("dataset", "text", **own)
    sampling.prepare(dataset, data, model, np.random.default_rng(0))
    beside = replace(around(data, n, model), training=lambda: data)
    return sampling.draw(model, n, beside, np.random.default_rng(1))


def test_without_settings_it_is_what_the_model_draws(records: Records) -> None:
    model, data, _ = records
    assert data.prompt_lengths is not None and {*data.prompt_lengths.tolist()} == {2, 4}
    plain = model.sample(30, np.random.default_rng(1))
    found = drawn(records, 30).samples
    assert (found.x == plain.x).all() and found.x.dtype == data.x.dtype
    for name, own in plain.beside.items():
        assert (found.beside[name] == own).all()
    assert found.prompted is not None
    assert (found.prompted.real.x == data.x[np.arange(30) % 24]).all()


@pytest.mark.parametrize("how", [{"temperature": 0.5, "batch": 7}, {"beams": 3, "batch": 7}])
def test_a_record_keeps_its_prompt_and_ends(records: Records, how: dict[str, Any]) -> None:
    _, data, _ = records
    found = drawn(records, 30, **how).samples
    prompts, ends = found.prompt_lengths, found.lengths
    assert prompts is not None and ends is not None and data.prompt_lengths is not None
    rows, places = np.arange(30) % 24, np.arange(8)
    assert (prompts == data.prompt_lengths[rows]).all() and (ends > prompts).all()
    given = places < prompts[:, None]
    assert (found.x[:, 0][given] == data.x[rows, 0][given]).all()
    assert (found.x[:, 0][places >= ends[:, None]] == PAD).all()
    inside = (places >= prompts[:, None]) & (places < ends[:, None] - 1)
    assert (found.x[:, 0][inside] != END).all()


def test_greedy_is_the_same_with_batches_and_without(records: Records) -> None:
    one, two = (drawn(records, 24, temperature=0.0, batch=own).samples.x for own in (5, 1000))
    assert (one == two).all()


def test_beams_find_the_most_likely_completion(records: Records) -> None:
    """Of all completions of up to two tokens and an end; what comes after the end is not judged."""
    params = records[2]
    short = make("dataset", "text", **{**params, "length": 5})
    some = short.sample(24, np.random.default_rng(0))
    some = some.take(np.flatnonzero(some.prompt_lengths == 2)[:3])
    small = Gpt(base=params["tokens"]["tokenizer"], steps=25, lr=0.02)
    small.fit(short.sample(24, np.random.default_rng(0)), np.random.default_rng(0))
    found = drawn((small, some, params), 3, beams=14**2).samples
    tokens = np.arange(4 + len(WORDS))
    every = np.stack(np.meshgrid(tokens, tokens, tokens, indexing="ij"), -1).reshape(-1, 3)
    over = every == END
    ends = np.where(over.any(1), over.argmax(1) + 1, 3)
    for row, prompt in enumerate(some.x[:, 0, :2]):
        x = np.concatenate([np.tile(prompt, (len(every), 1)), every], 1)[:, None]
        beside = {"prompt_lengths": np.full(len(x), 2), "lengths": ends + 2}
        score = small.completion_log_density(Samples(x.astype(np.uint8), beside=beside))
        own = small.completion_log_density(found.take(slice(row, row + 1)))
        assert own[0, 0] == pytest.approx(score.max(), abs=1e-4)


# ---- edited ----


def test_a_completion_is_edited_and_ends_where_it_did(records: Records) -> None:
    _, data, _ = records
    assert data.lengths is not None and data.prompt_lengths is not None
    draw = drawn(records, 24, "edit", threshold=0.0, top_k=0, temperature=3.0)
    x, places = draw.samples.x[:, 0], np.arange(8)
    last = data.x[np.arange(24), 0, data.lengths - 1] == END
    free = (places >= data.prompt_lengths[:, None]) & (places < (data.lengths - last)[:, None])
    assert (x[~free] == data.x[:, 0][~free]).all() and (x[free] != END).all()
    assert draw.report["edited"] == 1
    assert draw.report["changed"] == pytest.approx(np.mean(x[free] != data.x[:, 0][free]))
    assert draw.report["changed"] > 0.3
    for name, own in data.beside.items():
        assert (draw.samples.beside[name] == own).all()
    kept = drawn(records, 24, "edit", threshold=1.0, of="training")
    assert (kept.samples.x == data.x).all() and kept.report == {"edited": 0, "changed": 0}


# ---- judged ----


def test_rouge_compares_with_the_real_completion_but_for_its_end(records: Records) -> None:
    _, data, _ = records
    rouge = make("reward", "rouge")
    same = Samples(data.x, beside=data.beside, prompted=Prompted(data))
    scores = rouge.score(same)
    assert (scores == 1).all() and scores.shape == (24, 1)
    assert data.prompt_lengths is not None
    lengths = (data.prompt_lengths + 1).astype(np.int32)
    x = data.x.copy()
    x[np.arange(24), 0, data.prompt_lengths] = END
    empty = Samples(x, beside={**data.beside, "lengths": lengths}, prompted=Prompted(data))
    assert (rouge.score(empty) == 0).all()


def test_likelihood_is_that_of_the_completion_per_token(records: Records) -> None:
    model, data, _ = records
    judge = make("reward", "likelihood", by="model")
    judge.fit(None, data, model, np.random.default_rng(0))
    assert data.lengths is not None and data.prompt_lengths is not None
    expected = model.completion_log_density(data)[:, 0] / (data.lengths - data.prompt_lengths)
    assert judge.score(Samples(data.x, beside=data.beside))[:, 0] == pytest.approx(expected)


def test_the_best_by_rouge_are_nearer_to_the_real_completions(records: Records) -> None:
    kept = drawn(
        records,
        24,
        "verify",
        rule="top",
        share=0.25,
        reward={"name": "rouge"},
        sampling={"name": "decode", "temperature": 2.0},
    )
    assert kept.report["reward/kept"] > kept.report["reward"] + 0.1
    assert kept.samples.beside.keys() == records[1].beside.keys()


# ---- what goes with records ----


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("decode", {"prompt": 3}, "decode: prompt 3 does not go with text, whose records have"),
        ("verify", {"reward": {"name": "rouge"}}, "give the sampling that judges sampling: decode"),
        ("verify", {"reward": {"name": "rouge"}, "sampling": {"name": "decode"}}, ""),
        ("verify", {"reward": {"name": "likelihood"}}, "likelihood learns from whole texts"),
        ("verify", {"reward": {"name": "likelihood", "by": "model"}}, ""),
        ("edit", {}, ""),
    ],
)
def test_a_plan_says_what_does_not_go_with_records(
    records: Records, name: str, params: dict[str, Any], said: str
) -> None:
    data = Part("dataset", "text", records[2])
    params = {"rule": "top", **params} if name == "verify" else params
    found = refusals(data, Part("generator", "gpt"), Part("sampling", name, params))
    assert bool(found) == bool(said) and all(said in own for own in found)


def test_a_plan_says_that_another_tokenizer_encoded_the_text(
    records: Records, tmp_path: Path
) -> None:
    data, plain = Part("dataset", "text", records[2]), Part("sampling", "plain")
    own = records[2]["tokens"]["tokenizer"]
    assert refusals(data, Part("generator", "gpt", {"base": own}), plain) == []
    absent = Part("generator", "gpt", {"base": str(tmp_path / "absent")})
    assert refusals(data, absent, plain) == []
    other = language_model(tmp_path / "other")
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + "\n")
    gpt = Part("generator", "gpt", {"base": str(other)})
    (said,) = refusals(data, gpt, plain)
    assert said.startswith("gpt: another tokenizer encoded the text of text, and base")
    (said,) = refusals(Part("dataset", "markov"), gpt, plain)
    assert said.startswith("gpt: no pretrained tokenizer encoded the text of markov, and base")
    (other / "tokenizer.json").unlink()
    (said,) = refusals(data, gpt, plain)
    assert "holds no tokenizer" in said and "\n" not in said


def test_a_plan_says_that_a_prompt_leaves_nothing_to_write() -> None:
    text, model = Part("dataset", "markov", {"length": 5}), Part("generator", "ngram")
    (said,) = refusals(text, model, Part("sampling", "decode", {"prompt": 5}))
    assert said == "decode: prompt must be below the length of the texts of markov, 5, got 5"
    inner = {"rule": "top", "reward": {"name": "likelihood"}}
    inner["sampling"] = {"name": "decode", "prompt": 7}
    assert len(refusals(text, model, Part("sampling", "verify", inner))) == 1
    assert refusals(text, model, Part("sampling", "decode", {"prompt": 4})) == []
