"""A causal language model of transformers for texts of one length: what it is fed, its logits over
the tokens of the data alone, and its files.

A text is x_1..x_L after a BOS that it does not hold; p(x) = prod p(x_i | BOS, x_<i) is then an
exact density.  A network of our own has a BOS per class: the tokens after those of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import CRITICAL
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine._tokenizers import digest_of
from engine._torchvision import torchvision  # noqa: F401  (before transformers, which imports it)
from engine.files import JsonObject
from engine.generators._pretrained import (
    LANGUAGE_MODEL,
    config_of,
    in_a_line,
    place_of,
    require_whole,
)
from engine.samples import Samples
from engine.training.device import Precision, device, tensor, tensor_float
from engine.training.progress import pieces

from transformers import AutoModelForCausalLM, DynamicCache  # isort: skip
from transformers import LlamaConfig, LlamaForCausalLM  # isort: skip
from transformers.models.auto import modeling_auto as known  # isort: skip
from transformers.utils import logging as speech  # isort: skip

MOST_LOGITS = 1 << 25  # that are in memory at a time
MOST_CACHED = {"cpu": 1 << 29, "cuda": 1 << 33}  # keys and values in memory at a time
MOST_ROWS = 1024  # texts written at a time
OURS = "ouroboros"  # the entry of config.json that is not of transformers


@dataclass(frozen=True)
class Size:
    """A network, and the learning rate that suits it."""

    width: int
    layers: int
    heads: int
    lr: float


class TextNet:
    """module, a causal language model, and what it was trained on.

    about  vocabulary: tokens of the data; length: of a text; begins: the BOS of each class.
    """

    def __init__(self, module: Any, about: JsonObject) -> None:
        self.module, self.about = module, about
        self.vocabulary: int = about["vocabulary"]
        self.length: int = about["length"]

    @classmethod
    def new(cls, about: JsonObject, size: Size, dropout: float) -> TextNet:
        """A small Llama with new weights, from torch's global stream."""
        config = LlamaConfig(
            vocab_size=about["vocabulary"] + len(about["begins"]),
            hidden_size=size.width,
            intermediate_size=8 * size.width // 3,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=about["length"],
            attention_dropout=dropout,
            tie_word_embeddings=True,
            bos_token_id=about["begins"][0],
            eos_token_id=None,
        )
        return cls(LlamaForCausalLM(config), about)

    @classmethod
    def based(cls, folder: Path, about: JsonObject, dropout: float) -> TextNet:
        """The network of a folder, to be trained further; what begins a text is that of `about` or,
        where it says None, of the folder.  Of several classes each has a new token instead, which
        is as that one until it is trained.  ValueError for a folder that holds no such network, and
        for one that is too small for the text.
        """
        module = opened(folder, dropout)
        config, length, tokens = module.config, about["length"], about["vocabulary"]
        longest = getattr(config, "max_position_embeddings", length)
        if tokens > config.vocab_size or length > longest:
            raise ValueError(
                f"base: the network in {folder} has {config.vocab_size:,} tokens and texts of at "
                f"most {longest:,}, the data {tokens:,} and texts of {length:,}"
            )
        begins = (about["begins"][0], config.bos_token_id, config.eos_token_id)
        begin = next((token for token in begins if token is not None), None)
        if not isinstance(begin, int) or not 0 <= begin < config.vocab_size:
            raise ValueError(f"base: {folder} does not say which token begins a text; got {begin}")
        classes = len(about["begins"])
        if classes == 1:
            return cls(module, about | {"begins": [begin]})
        first = config.vocab_size
        module.resize_token_embeddings(first + classes, mean_resizing=False)
        with torch.no_grad():
            for layer in (module.get_input_embeddings(), module.get_output_embeddings()):
                layer.weight[first:] = layer.weight[begin]
        return cls(module, about | {"begins": list(range(first, first + classes))})

    def is_for(self, about: JsonObject) -> bool:
        """Whether it was made for such texts, of as many classes."""
        known = all(self.about[key] == about[key] for key in ("vocabulary", "length"))
        return known and len(self.about["begins"]) == len(about["begins"])

    def is_like(self, other: TextNet) -> bool:
        """Whether this network can be trained further where the other would be trained."""
        known = all(self.about[key] == value for key, value in other.about.items())
        return known and _shapes(self.module) == _shapes(other.module)

    # ---- score ----

    def begin(self, labels: np.ndarray | None, n: int) -> Tensor:
        """The BOS of each of n texts [n]."""
        begins = np.asarray(self.about["begins"])
        return tensor(begins[np.zeros(n, np.int64) if labels is None else labels], device())

    def logits(self, x: Tensor, begin: Tensor) -> Tensor:
        """Of every token of x [b, length] given those before it: float32 [b, length, V]."""
        fed = torch.cat([begin[:, None], x[:, :-1]], dim=1)
        logits: Tensor = self.module(fed, use_cache=False).logits[..., : self.vocabulary]
        return logits.float()

    def surprise(self, x: Tensor, begin: Tensor) -> Tensor:
        """-log p of every token of x [b, length], in nats: float32 [b, length]."""
        logits = self.logits(x, begin)
        each = functional.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none")
        return each.view(x.shape)

    def scored(
        self,
        what: Callable[[Tensor, Tensor], Tensor],
        x: np.ndarray,
        labels: np.ndarray | None,
        precision: Precision,
    ) -> np.ndarray:
        """`logits` or `surprise` of texts x [n, length], so many at a time as memory holds."""
        begin, found = self.begin(labels, len(x)), []
        at_once = max(1, min(256, MOST_LOGITS // (self.length * self.vocabulary)))
        with writing(precision):
            for rows in pieces(len(x), at_once):
                texts = tensor(x[rows].astype(np.int64), device())
                found.append(what(texts, begin[rows]).cpu().numpy())
        return np.concatenate(found)

    # ---- write ----

    @property
    def rows_written(self) -> int:
        """Texts written at a time, by their keys and values."""
        config = self.module.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        each: int = 2 * config.num_hidden_layers * heads * size * self.length
        return max(1, min(MOST_ROWS, MOST_CACHED[device().type] // each))

    # ---- files ----

    def save(self, folder: Path, label_counts: list[int]) -> None:
        """As transformers keeps a model: config.json and model.safetensors."""
        setattr(self.module.config, OURS, self.about | {"label_counts": label_counts})
        with quiet():
            self.module.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> TextNet:
        module = opened(folder)
        return cls(module.to(device()).eval(), getattr(module.config, OURS))


class Writer:
    """Texts that are being written: the next token's logits of each, from keys and values of all
    tokens before.
    """

    def __init__(self, net: TextNet, begin: Tensor, prompts: np.ndarray) -> None:
        prompt = tensor(prompts.astype(np.int64), device())  # [b, m]
        self.net, self.fed = net, torch.cat([begin[:, None], prompt], dim=1)
        self.cache: Any = DynamicCache(config=net.module.config)

    def logits(self) -> Tensor:
        """Of the next token: float32 [b, V]."""
        found = self.net.module(self.fed, cache=self.cache, use_cache=True, logits_to_keep=1)
        logits: Tensor = found.logits[:, -1, : self.net.vocabulary]
        return logits.float()

    def write(self, tokens: np.ndarray, parents: np.ndarray | None) -> None:
        """Put a token [b] after the text of each row, or of its parent's [b]."""
        if parents is not None:
            self.cache.reorder_cache(tensor(parents, device()))
        self.fed = tensor(tokens.astype(np.int64), device())[:, None]


def begin_of(base: str, data: Samples) -> int | None:
    """The token that begins a text; ValueError for data of another tokenizer."""
    own, theirs = data.declared.tokenizer, digest_of(place_of(base))
    if own is None or own.digest != theirs:
        has = "no pretrained tokenizer" if own is None else "another tokenizer"
        raise ValueError(
            f"gpt: {has} encoded the text, and base {base} knows its own alone; give the data "
            "set `text` with tokens: {tokenizer: FOLDER}, the folder of base"
        )
    return own.bos


def opened(folder: Path, dropout: float | None = None) -> Any:
    """The language model of a folder in float32; errors as in _pretrained."""
    config = config_of(folder, LANGUAGE_MODEL)
    if config.get("model_type") not in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        named = ", ".join(config.get("architectures") or ()) or config.get("model_type")
        raise ValueError(f"base: {folder} holds {named}, and no language model of transformers")
    own = {} if dropout is None else {"attention_dropout": dropout}
    if own and not dropout and "attention_dropout" not in config:
        own = {}
    try:
        with quiet():
            found: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
                **own,
            )
    except Exception as error:  # of transformers, torch, and what checks a config
        raise ValueError(f"base: {folder} cannot be read: {in_a_line(error)}") from None
    require_whole(found[1], folder)
    _require_causal(found[0], folder)
    return found[0]


def _require_causal(module: Any, folder: Path) -> None:
    """ValueError for a network that looks at the tokens that it is to predict, as those that fill
    gaps do: it would find every text likely.
    """
    texts = torch.zeros(2, 4, dtype=torch.long, device=module.device)
    texts[1, -1] = 1
    with torch.inference_mode():
        one, two = module.eval()(texts, use_cache=False).logits[:, :-1].float()
    if not torch.allclose(one, two, atol=1e-4, rtol=1e-3):
        raise ValueError(
            f"base: the network in {folder} looks at the tokens that follow, so it is no model of "
            "what comes next"
        )


def _shapes(module: Any) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}


@contextmanager
def writing(precision: Precision) -> Iterator[None]:
    """Inside, a network computes as in training, without gradients; not compiled, since shapes met
    before would change bits.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with (
        torch.inference_mode(),
        tensor_float(precision),
        torch.autocast(device().type, dtype=dtype, enabled=dtype is not None),
        torch.compiler.set_stance("force_eager"),
    ):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers shows no progress of reading and writing files, and no table of what
    weights it found: that is said by whoever reads.
    """
    shown, loud = speech.is_progress_bar_enabled(), speech.get_verbosity()
    speech.disable_progress_bar()
    speech.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        speech.set_verbosity(loud)
        if shown:
            speech.enable_progress_bar()
