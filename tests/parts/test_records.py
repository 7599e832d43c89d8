"""Texts of a pretrained tokenizer: blocks, and records of a prompt and its completion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine._tokenizers import digest_of
from engine.contents import Lack
from engine.identity import Part
from engine.parts import traits_of
from engine.refusals import lacking, refusals
from engine.registry import make
from engine.samples import Samples
from tests.support.around import NOTHING

WORDS = [f"w{i}" for i in range(20)]
COLUMNS = {"prompt": "ask", "completion": "tell"}


def saved(folder: Path, *more: str, **special: str) -> Path:
    """A tokenizer of words, as transformers saves one."""
    vocabulary = {
        word: i for i, word in enumerate(["<unk>", "<s>", "</s>", "<pad>", *WORDS, *more])
    }
    own = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    special = special or {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>", **special).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("tokenizer"))


ROWS = [{"ask": f"w{i} w1", "tell": " ".join(WORDS[: 1 + i % 4]), "id": i} for i in range(20)]


def lines(tmp_path: Path, rows: Any = ROWS) -> str:
    path = tmp_path / "own.jsonl"
    text = rows if isinstance(rows, str) else "\n".join(map(json.dumps, rows))
    path.write_text(text)
    return str(path)


def records(path: str, folder: Path, **params: Any) -> Any:
    given = {"tokens": {"tokenizer": str(folder)}, "records": COLUMNS, "length": 6} | params
    return make("dataset", "text", path=path, **given)


def test_a_row_is_a_prompt_its_completion_and_an_end(tmp_path: Path, folder: Path) -> None:
    own = records(lines(tmp_path), folder)
    train, held_out, known = own.training_set(), own.held_out(99), own.contents()
    assert (known.train, known.held_out, known.vocabulary) == (18, 2, 24)
    assert known.cut == 5 and "of 5 of the 20 records" in known.warnings[0]
    assert train.x[0, 0].tolist() == [4, 5, 4, 2, 3, 3]  # w0 w1, w0, its end, padding
    assert train.x[3, 0].tolist() == [7, 5, 4, 5, 6, 7]  # cut at the length, without an end
    assert train.lengths[:4].tolist() == [4, 5, 6, 6] and (train.prompt_lengths == 2).all()
    assert sorted(held_out.x[:, 0, 0].tolist()) == [22, 23]
    assert own.decoded(train.x[0, 0]) == "w0 w1 w0"
    assert own.characters(train.take(slice(0, 3))).tolist() == [2, 5, 8]
    drawn = own.sample(7, np.random.default_rng(0))
    assert (drawn.lengths == 2 + np.minimum(4, 2 + (drawn.x[:, 0, 0] - 4) % 4)).all()


def test_parquet_gives_the_same_rows_as_json(tmp_path: Path, folder: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "own.parquet")
    a, b = (records(p, folder).training_set() for p in (lines(tmp_path), f"{tmp_path}/own.parquet"))
    assert (a.x == b.x).all() and (a.lengths == b.lengths).all()


def test_who_has_another_tokenizer_can_tell(tmp_path: Path, folder: Path) -> None:
    path = lines(tmp_path)
    own = traits_of(records(path, folder)).tokenizer
    assert own is not None and (own.bos, own.eos, own.pad) == (1, 2, 3)
    assert own.digest == digest_of(folder)
    part = Part("dataset", "text", {"path": path, "tokens": {"tokenizer": str(folder)}})
    assert part.traits.tokenizer == own and str(folder) not in part.text
    other = saved(tmp_path / "other", "more")
    assert traits_of(records(path, other)).tokenizer != own
    asked = {"path": path, "tokens": {"tokenizer": str(other)}}
    assert Part("dataset", "text", asked).text != part.text
    (folder / "model.safetensors").write_bytes(b"weights beside it change nothing")
    assert digest_of(folder) == own.digest


def test_blocks_of_a_pretrained_tokenizer(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "own.txt").write_text("w0 w1 w2 w3\n" * 50)
    own = make(
        "dataset",
        "text",
        path=str(tmp_path / "own.txt"),
        tokens={"tokenizer": str(folder)},
        length=8,
    )
    train = own.training_set()
    assert train.x[0, 0].tolist() == [4, 5, 6, 7, 4, 5, 6, 7] and train.lengths is None
    assert traits_of(own).vocabulary == 24 and len(train) == 22


def test_a_tokenizer_without_an_end_or_padding_fills_with_its_first(tmp_path: Path) -> None:
    own = records(lines(tmp_path), saved(tmp_path / "plain", bos_token="<s>"))
    train = own.training_set()
    assert train.x[0, 0].tolist() == [4, 5, 4, 0, 0, 0] and train.lengths[0] == 3


BAD: list[tuple[Any, str]] = [
    ([{"ask": "w1"}], r"own.jsonl, line 1: there is no column 'tell'; there are: ask"),
    ([ROWS[0], {"ask": None, "tell": "w1"}], r"line 2: the cell of 'ask' is null, and no text"),
    ([ROWS[0], {"ask": ["w1"], "tell": "w1"}], r"line 2: the cell of 'ask' is \[\"w1\"\], and no"),
    ([{"ask": "w1 " * 6, "tell": "w1"}], r"line 1: its prompt has 6 tokens, and a row has 6"),
    ('{"ask": "w1", "tell": "w2"}\n\n{"ask"', r"line 3: this is no JSON \(.*\); a record on each"),
    ("[" * 100_000 + "1", r"line 1: this is no JSON \(.*\); a record on each"),
    ("[1, 2]\n", r"line 1: this is no record, such as {...}, but \[1, 2\]"),
    ("", r"own.jsonl is empty"),
    ("\n \n", r"own.jsonl holds no record"),
    ("{}\0", r"line 1: a NUL byte"),
    (ROWS[:1], "none is held out"),
]


@pytest.mark.parametrize(("rows", "said"), BAD)
def test_what_is_no_record_gets_one_sentence(
    tmp_path: Path, folder: Path, rows: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as error:
        records(lines(tmp_path, rows), folder).training_set()
    assert "\n" not in str(error.value)


def test_an_empty_completion_is_refused_where_no_end_stands_for_it(tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain", bos_token="<s>")
    with pytest.raises(ValueError, match="line 1: its completion is empty"):
        records(lines(tmp_path, [{"ask": "w1", "tell": ""}]), plain).contents()


def test_a_parquet_file_that_is_none_or_lacks_a_column_is_named(
    tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "own.parquet"
    pd.DataFrame({"ask": ["w1"], "other": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"own.parquet: there is no column 'tell'; there are: ask"):
        records(str(path), folder).contents()
    path.write_bytes(b"PAR1 and more")
    with pytest.raises(ValueError, match=r"own.parquet is no Parquet file that can be read"):
        records(str(path), folder).contents()


def test_what_records_need_is_said(tmp_path: Path, folder: Path) -> None:
    path = lines(tmp_path)
    for params, said in (
        ({"tokens": "bpe"}, "records need a pretrained tokenizer"),
        ({"records": {"prompt": "ask"}}, "records is {prompt: COLUMN, completion: COLUMN}"),
        ({"alphabet": "letters"}, "leave alphabet out"),
    ):
        with pytest.raises(ValueError, match=said):
            records(path, folder, **params)
    assert isinstance(records(path, tmp_path / "absent").contents(), Lack)
    with pytest.raises(ValueError, match="holds no tokenizer"):
        records(path, tmp_path).contents()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no tokenizer that can be read") as error:
        records(path, tmp_path).contents()
    assert "\n" not in str(error.value)


READ = """
import sys
from pathlib import Path
from engine._tokenizers import pretrained
print(pretrained(Path(sys.argv[1])).vocabulary, "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    "named", ["PreTrainedTokenizerFast", pytest.param("LlamaTokenizerFast", marks=pytest.mark.slow)]
)
def test_a_tokenizer_beside_a_network_is_read_in_a_fresh_process(
    named: str, tmp_path: Path
) -> None:
    """As `ouro plan` does: where the class is the general one without torch, else after what makes
    torchvision importable.
    """
    folder = saved(tmp_path)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    about = json.loads((folder / "tokenizer_config.json").read_text())
    text = json.dumps({**about, "tokenizer_class": named})
    (folder / "tokenizer_config.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=False
    )
    expected = "24 False" if named.startswith("PreTrained") else "24 True"
    assert done.stdout.strip() == expected, done.stderr[-2000:]


def test_a_model_of_whole_texts_is_refused_records(tmp_path: Path, folder: Path) -> None:
    given = {"path": lines(tmp_path), "tokens": {"tokenizer": str(folder)}, "records": COLUMNS}
    data, sampling = Part("dataset", "text", given), Part("sampling", "plain")
    (said,) = refusals(data, Part("generator", "ngram"), sampling)
    assert said.startswith("ngram learns texts of one length, but text gives records")
    gpt, params = Part("generator", "gpt"), {"rule": "top", "reward": {"name": "true_density"}}
    (said,) = refusals(data, gpt, Part("sampling", "verify", params))
    assert said.startswith("true_density judges texts of one length, but text gives records, of")
    assert refusals(data, gpt, Part("sampling", "plain")) == []
    assert lacking(Part("metric", "classifier_accuracy"), data, gpt).startswith(
        "classifier_accuracy measures texts of one length"
    )
    assert lacking(Part("metric", "cross_entropy"), data, gpt) == ""
    sampling = Part("sampling", "plain")
    whole = Part("dataset", "text", {"path": "a"})
    assert refusals(whole, Part("generator", "ngram"), sampling) == []


def test_metrics_count_the_tokens_of_completions_only(tmp_path: Path, folder: Path) -> None:
    """A model that gives each token of a completion 1/2; padding and prompts change nothing."""
    own = records(lines(tmp_path), folder)

    def log_density(samples: Samples) -> np.ndarray:
        return -np.log(2) * (samples.lengths - samples.prompt_lengths)[:, None]  # type: ignore[operator]

    model = SimpleNamespace(
        KNOWS=("density", "completions"),
        log_density=lambda x: pytest.fail("padding would count"),
        completion_log_density=log_density,
    )
    entropy = make("metric", "cross_entropy")
    entropy.prepare(own, own.training_set(), 9, np.random.default_rng(0))
    answer = entropy(own.held_out(2), model, NOTHING, np.random.default_rng(0))
    assert answer["cross_entropy"] == pytest.approx(np.log(2))
    assert answer["cross_entropy/own"] == pytest.approx(np.log(2))
    ngrams = make("metric", "ngrams", order=2, splits=1)
    train = own.training_set()
    found = []
    for fill in (3, 9):
        x = train.x.copy()
        for row, begin, end in zip(x[:, 0], train.prompt_lengths, train.lengths, strict=True):
            row[:begin] = row[end:] = fill
        changed = Samples(x, beside=train.beside).of(train.traits)
        ngrams.prepare(own, changed, 2, np.random.default_rng(0))
        found.append(ngrams(changed.take(slice(0, 2)), model, NOTHING, np.random.default_rng(0)))
    assert found[0]["ngrams/types"].value == found[1]["ngrams/types"].value == 3
