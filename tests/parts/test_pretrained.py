"""Generators that begin from pretrained weights, on tiny random models of the same classes: what is
read is what was saved, records keep their prompts, and nothing that could be code is opened.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.experiment.reader import SpecError
from engine.generators._language import opened as opened_of
from engine.generators._language import quiet
from engine.generators.ddpm import Ddpm
from engine.generators.flow_matching import FlowMatching
from engine.generators.gpt import Gpt
from engine.registry import make
from engine.samples import Samples
from engine.spec import Part
from tests.support.pretrained import language_model, records
from tests.support.sweeps import sweep_of

FEW: dict[str, Any] = {"steps": 2, "batch": 8}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return language_model(tmp_path / "base")


def recorded(tmp_path: Path, folder: Path, length: int = 8) -> Any:
    """A data set of records, encoded by the tokenizer of a folder."""
    return make(
        "dataset",
        "text",
        path=str(records(tmp_path / "records.jsonl")),
        records={"prompt": "ask", "completion": "say"},
        tokens={"tokenizer": str(folder)},
        length=length,
    )


# ---- language models -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pytest.param("Llama", marks=pytest.mark.slow), "Gemma2"])
def test_training_begins_from_the_weights_of_the_folder(kind: str, tmp_path: Path) -> None:
    folder = language_model(tmp_path / "base", kind)
    data = recorded(tmp_path, folder).sample(20, rng())
    model = Gpt(base=str(folder), lr=1e-30, **FEW)
    model.fit(data, rng())
    from transformers import AutoModelForCausalLM

    own: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    x = torch.from_numpy(data.x[:, 0].astype(np.int64))
    with torch.no_grad():
        logits = own(torch.cat([torch.zeros(20, 1, dtype=torch.long), x[:, :-1]], 1)).logits
    assert logits[..., :14].numpy() == pytest.approx(model.logits(data.x)[:, 0], abs=1e-5)
    model.save(tmp_path)
    again = Gpt()
    again.load(tmp_path)
    assert np.array_equal(again.sample(5, rng()).x, model.sample(5, rng()).x)


def test_records_keep_their_prompts_and_their_completions_are_learnt(tmp_path: Path) -> None:
    """The loss looks at completions alone; a draw has the prompts of the training set, completions
    that end, and their lengths.
    """
    folder = language_model(tmp_path / "base")
    dataset = recorded(tmp_path, folder)
    data = dataset.sample(50, rng())
    model = Gpt(base=str(folder), warm_start=True, steps=60, lr=0.02)
    before = model.fit(data, rng())["loss"]
    drawn = model.sample(60, rng())
    prompts, lengths = drawn.prompt_lengths, drawn.lengths
    assert prompts is not None and lengths is not None and data.prompt_lengths is not None
    assert np.array_equal(drawn.x[:50, 0, :2], data.x[:, 0, :2])
    assert np.array_equal(drawn.x[50:, 0, :2], data.x[:10, 0, :2])
    assert (lengths > prompts).all() and lengths.dtype == np.int32
    padded = np.arange(8) >= lengths[:, None]
    assert (drawn.x[:, 0][padded] == 2).all(), "filled up with the tokenizer's padding"
    assert (drawn.x[np.arange(60), 0, lengths - 1] == 1).mean() > 0.9, "it has learnt to end"
    repeats = drawn.x[:, 0, 2] == drawn.x[:, 0, 1]
    assert repeats.mean() > 0.6, "it says the last word of its prompt again"
    changed = other_padding(data)
    assert np.array_equal(model.completion_log_density(changed), model.completion_log_density(data))
    assert data.lengths is not None
    tokens = data.lengths - data.prompt_lengths
    found = -model.completion_log_density(data).sum() / tokens.sum()
    assert found == pytest.approx(before, abs=0.15) and found < 1.2


def test_a_folder_is_read_once_where_its_network_goes_on_learning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without warm_start each generation begins from it, and reads it."""
    folder = language_model(tmp_path / "base")
    data = recorded(tmp_path, folder).sample(20, rng())
    for warm_start, reads in ((True, 1), (False, 3)):
        opened: list[Any] = []
        monkeypatch.setattr(
            "engine.generators._language.opened",
            lambda *own, opened=opened, real=opened_of: opened.append(own) or real(*own),
        )
        model = Gpt(base=str(folder), warm_start=warm_start, **FEW)
        for t in range(3):
            model.fit(data, rng(t))
        assert len(opened) == reads


def other_padding(data: Samples) -> Samples:
    """Records with another token beyond their ends."""
    assert data.lengths is not None
    found = Samples(data.x.copy(), beside=data.beside, traits=data.traits)
    found.x[:, 0][np.arange(data.x.shape[2]) >= data.lengths[:, None]] = 7
    return found


def test_parts_of_a_minibatch_of_records_add_up_and_padding_counts_for_nothing(
    tmp_path: Path,
) -> None:
    folder = language_model(tmp_path / "base")
    data = recorded(tmp_path, folder).sample(40, rng())
    found = []
    for own, micro_batch in ((data, None), (data, 3), (other_padding(data), None)):
        model = Gpt(base=str(folder), lr=1e-3, micro_batch=micro_batch, **FEW)
        model.fit(own, rng())
        found.append(model.logits(data.x))
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert np.array_equal(found[2], found[0])


def test_labelled_text_has_a_beginning_for_each_class(base: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the sun is red\n" * 40)
    (tmp_path / "b.txt").write_text("the moon was old\n" * 40)
    files = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    dataset = make("dataset", "text", path=files, tokens={"tokenizer": str(base)}, length=4)
    data = dataset.sample(30, rng())
    model = Gpt(base=str(base), lr=1e-30, **FEW)
    model.fit(data, rng())
    one, two = (model.logits(data.x[:1], np.array([k])) for k in (0, 1))
    assert one == pytest.approx(two), "each begins as the folder's own"
    model.lr = 0.02
    model.fit(data, rng())
    one, two = (model.logits(data.x[:1], np.array([k])) for k in (0, 1))
    assert not np.allclose(one, two)


def test_text_that_another_tokenizer_encoded_is_refused(base: Path, tmp_path: Path) -> None:
    other = language_model(tmp_path / "other")
    about = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(about, indent=3))
    foreign = recorded(tmp_path, other).sample(20, rng())
    with pytest.raises(ValueError, match="another tokenizer encoded the text, and base"):
        Gpt(base=str(base), **FEW).fit(foreign, rng())
    plain = make("dataset", "markov").sample(20, rng())
    with pytest.raises(ValueError, match="no pretrained tokenizer encoded the text"):
        Gpt(base=str(base), **FEW).fit(plain, rng())


def test_text_that_is_too_long_for_the_network_is_refused(tmp_path: Path) -> None:
    folder = language_model(tmp_path / "base", max_position_embeddings=7)
    data = recorded(tmp_path, folder).sample(20, rng())
    with pytest.raises(ValueError, match="texts of at most 7, the data 14 and texts of 8"):
        Gpt(base=str(folder), **FEW).fit(data, rng())


class Evil:
    """Whoever unpickles it creates the file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def spoilt(folder: Path, how: str, trap: Path) -> None:
    """Make the folder one that must not be read."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    about = json.loads(config.read_text())
    if how == "pickle":
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(trap)))
        weights.unlink()
    elif how == "pickle called safetensors":
        weights.write_bytes(pickle.dumps(Evil(trap)))
    elif how == "code":
        (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\n")
        config.write_text(json.dumps(about | {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}))
    elif how == "code of a hub":
        config.write_text(json.dumps(about | {"attn_implementation": "someone/kernel"}))
    elif how == "another kind":
        config.write_text(json.dumps({"model_type": "vit", "architectures": ["ViTModel"]}))
    elif how == "no JSON":
        config.write_text("{")
    elif how == "other shapes":
        config.write_text(json.dumps(about | {"hidden_size": 32}))
    elif how == "weights are lacking":
        config.write_text(json.dumps(about | {"num_hidden_layers": 3}))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("pickle", "has no safetensors; pytorch_model.bin would have to be unpickled"),
        ("pickle called safetensors", "cannot be read"),
        ("code", "asks for auto_map: code or numbers that are not the library's"),
        ("code of a hub", "asks for attn_implementation"),
        ("another kind", "holds ViTModel, and no language model"),
        ("no JSON", r"config.json cannot be read"),
        ("other shapes", "base: "),
        ("weights are lacking", "missing keys"),
    ],
)
def test_nothing_that_may_be_code_is_opened(
    how: str, said: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recorded(tmp_path, base).sample(20, rng())
    spoilt(base, how, tmp_path / "trap")
    with pytest.raises(ValueError, match=said):
        Gpt(base=str(base), **FEW).fit(data, rng())
    assert not (tmp_path / "trap").exists()


def test_a_network_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    """BERT fills gaps: with what follows in sight it would find every text likely."""
    import transformers

    folder = language_model(tmp_path / "base")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        for is_decoder in (True, False):
            own = transformers.BertConfig(
                vocab_size=16, intermediate_size=24, is_decoder=is_decoder, **sizes
            )
            transformers.BertLMHeadModel(own).save_pretrained(folder)
            if is_decoder:
                opened_of(folder)
    with pytest.raises(ValueError, match="looks at the tokens that follow, so it is no model"):
        opened_of(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no weights", "has no safetensors"),
        ("pickle called safetensors", "model.safetensors cannot be read: Error while"),
        ("code", "asks for auto_map"),
        ("no kind", "does not say what network it holds"),
        ("no JSON", "config.json cannot be read"),
        ("too short", "has texts of at most 64 tokens, the data have 65"),
    ],
)
def test_a_plan_says_what_is_wrong_with_a_base(
    how: str, said: str, base: Path, tmp_path: Path
) -> None:
    """Before anything is trained, and without transformers."""
    length = 65 if how == "too short" else 8
    file = tmp_path / "text.txt"
    file.write_text("the sun is red\n" * 200)
    tokenizer = shutil.copytree(base, tmp_path / "tokenizer")
    if how == "no weights":
        (base / "model.safetensors").unlink()
    elif how == "no kind":
        (base / "config.json").write_text("{}")
    else:
        spoilt(base, how, tmp_path / "trap")
    text = f"""
base:
  dataset: {{name: text, path: {file}, length: {length}, tokens: {{tokenizer: {tokenizer}}}}}
  generator: {{name: gpt, base: {base}}}
  n_real: 4
generations: 1
metrics: [cross_entropy]
"""
    with pytest.raises(SpecError) as error:
        sweep_of(text, tmp_path)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_base_is_in_the_key_by_what_it_holds(base: Path, tmp_path: Path) -> None:
    def key() -> str:
        return Part("generator", "gpt", {"base": str(base)}).text

    before = key()
    moved = base.rename(tmp_path / "elsewhere")
    assert Part("generator", "gpt", {"base": str(moved)}).text == before
    moved.rename(base)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\1")
    assert key() != before
    with pytest.raises(ValueError, match="gpt: width belong to base"):
        Gpt(base=str(base), width=8)


# ---- image models --------------------------------------------------------------------------------

TINY: dict[str, Any] = {"steps": 2, "batch": 8, "sampling_steps": 3}


@pytest.fixture(scope="module")
def digits() -> Samples:
    data: Samples = make("dataset", "digits").sample(20, rng())
    return data


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, digits: Samples) -> Path:
    """A saved ddpm, which is a pipeline of diffusers."""
    model = Ddpm(channels=[8, 16], attention=[], **TINY)
    model.fit(digits, rng())
    folder = tmp_path_factory.mktemp("pipeline")
    model.save(folder)
    return folder


@pytest.fixture
def pipeline(saved: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "pipeline"))


def unet_of(model: Any) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = model.net_.module.state_dict()
    return weights


@pytest.mark.parametrize("kind", [pytest.param(Ddpm, marks=pytest.mark.slow), FlowMatching])
def test_images_begin_from_a_pipeline(
    kind: Any, pipeline: Path, digits: Samples, tmp_path: Path
) -> None:
    model = kind(base=str(pipeline), lr=1e-30, ema=0.0, **TINY)
    model.fit(digits, rng())
    first = Ddpm()
    first.load(pipeline)
    expected = unet_of(first)
    assert all(torch.equal(w, expected[name]) for name, w in unet_of(model).items())
    model.save(tmp_path)
    again = kind(**TINY)
    again.load(tmp_path)
    assert np.array_equal(again.sample(4, rng(1)).x, model.sample(4, rng(1)).x)


def test_labels_that_a_network_has_not_seen_are_new(tmp_path: Path, digits: Samples) -> None:
    unlabelled = Ddpm(channels=[8, 16], attention=[], conditional=False, **TINY)
    unlabelled.fit(digits, rng())
    unlabelled.save(tmp_path)
    model = Ddpm(base=str(tmp_path / "unet"), **TINY)
    model.fit(digits, rng())
    assert model.sample(10, rng(), digits.y[:10]).y is not None  # type: ignore[index]


def test_another_network_is_refused(pipeline: Path, digits: Samples, base: Path) -> None:
    def fit(kind: Any = Ddpm, folder: Path = pipeline, data: Samples = digits, **own: Any) -> None:
        kind(base=str(folder), **TINY, **own).fit(data, rng())

    with pytest.raises(ValueError, match="holds a None; a UNet2DModel of diffusers"):
        fit(folder=base)
    with pytest.raises(ValueError, match="prediction_type v_prediction, here epsilon"):
        fit(prediction="epsilon")
    with pytest.raises(ValueError, match="channels belong to base"):
        fit(channels=[8, 16])
    with pytest.raises(ValueError, match="has 11 classes, that of no label among them"):
        fit(data=Samples(digits.x, digits.y % 3 if digits.y is not None else None))
    colour = Samples(np.repeat(digits.x, 3, axis=3), digits.y)
    with pytest.raises(ValueError, match="has in_channels 1, the images have 3 channels"):
        fit(FlowMatching, data=colour)
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be read"):
        fit()
    points = make("dataset", "gaussian").sample(20, rng())
    with pytest.raises(ValueError, match="base is a network of images"):
        fit(FlowMatching, data=points)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fit(folder=pipeline / "none")
