"""Parameters of text that no run could use are refused when planning, a sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.experiment.reader import SpecError
from tests.support.sweeps import sweep_of

TEXT = """
base:
  dataset: {{name: markov, length: 8, outcomes: 3{data}}}
  generator: {{name: ngram{generator}}}
  sampling: {sampling}
  n_real: 40
generations: 1
metrics: {metrics}
"""
JUDGED = "{{name: verify, rule: top, reward: {{name: rouge, n: {n}}}, sampling: {inner}}}"
ROUGE_5 = JUDGED.format(n=5, inner="{name: decode, prompt: 4}")
JUDGE = "{name: verify, rule: top, reward: likelihood, sampling: {name: decode, prompt: 4}}"
WRONG = [
    ({"sampling": JUDGED.format(n=1, inner=JUDGE)}, "nothing that it judges goes on from a real"),
    ({"generator": ", order: 50"}, "ngram: order 50 over 3 tokens has more n-grams"),
    ({"generator": ", order: 1000000000"}, "has more n-grams than can be numbered"),
    ({"generator": ", gamma: 0.01"}, "ngram: gamma 0.01 is below 1 / 3, the mean probability"),
    ({"generator": ", gamma: 0.5, discount: 0"}, "gamma below 1 needs a discount above 0"),
    ({"data": ", order: 30"}, "markov: a table of"),
    ({"sampling": "{name: decode, beams: 5, top_k: 2}"}, "5 beams search for the most likely"),
    ({"sampling": "{name: decode, prompt: 8}"}, "prompt must be below the length of the texts"),
    ({"sampling": "{name: verify, rule: top}"}, "rule 'top' needs a reward"),
    ({"sampling": ROUGE_5}, "rouge: n 5 is more than the tokens of a text of markov beyond the 4"),
]


def asked(tmp_path: Path, **own: str) -> object:
    usual = {"data": "", "generator": "", "sampling": "plain", "metrics": "[cross_entropy]"}
    return sweep_of(TEXT.format(**{**usual, **own}), tmp_path)


@pytest.mark.parametrize(("own", "said"), WRONG)
def test_what_cannot_be_is_refused_when_planning(
    tmp_path: Path, own: dict[str, str], said: str
) -> None:
    with pytest.raises(SpecError, match="no cell of this grid makes sense") as error:
        asked(tmp_path, **own)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_metric_that_looks_at_more_tokens_than_there_are_is_left_out(tmp_path: Path) -> None:
    sweep = asked(
        tmp_path, metrics="[cross_entropy, {name: ngrams, order: 9}, {name: diversity, n: 9}]"
    )
    said = "is more than the tokens of a text of markov, 8 (1 of 1 cells)"
    assert sweep.left_out() == [f"ngrams: order 9 {said}", f"diversity: n 9 {said}"]  # type: ignore[attr-defined]
