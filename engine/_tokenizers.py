"""Tokenizers of texts: byte-level BPE that is trained here, and pretrained ones of transformers.

A text is encoded line by line, each with its line feed, so that no token is part of two lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine import _digests as digests
from engine._cache import Kept
from engine.samples import Tokenizer

BYTES = 256  # tokens of byte-level BPE before the first merge
# how byte-level BPE writes the bytes 0x80 to 0xbf: below 0xa1, and 0xad, as further letters
CONTINUE = {chr(b) for b in range(0xA1, 0xC0) if b != 0xAD} | {chr(0x122 + i) for i in range(33)}
CONTINUE |= {chr(0x143)}
AT_ONCE = 1 << 12  # lines that are encoded together
GENERAL = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes that add nothing of their own
FILES = (  # what a tokenizer is saved as, of all kinds that transformers knows
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


class Pieces(Protocol):
    """A tokenizer at work; `name` is a digest of all that it depends on."""

    name: str

    @property
    def vocabulary(self) -> int:
        """Tokens are 0..vocabulary-1."""
        ...

    def encoded(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, without those that begin or end one."""
        ...

    def decoded(self, tokens: Sequence[int]) -> str:
        """Their text; what is no UTF-8 as a replacement character."""
        ...

    def characters(self, tokens: np.ndarray) -> int:
        """How many characters of text tokens [m] are."""
        ...


def lines_encoded(pieces: Pieces, text: str) -> np.ndarray:
    """All tokens of a text, line by line: int32 [tokens]."""
    lines, found = text.splitlines(keepends=True), list[np.ndarray]()
    for start in range(0, len(lines), AT_ONCE):
        each = pieces.encoded(lines[start : start + AT_ONCE])
        flat = [token for line in each for token in line]
        found.append(np.array(flat, dtype=np.int32))
    return np.concatenate(found) if found else np.zeros(0, np.int32)


# ---- trained here --------------------------------------------------------------------------------


class Bpe:
    """Byte-level BPE (Sennrich 1508.07909, over bytes as GPT-2's): every text can be encoded, and
    decoded to what it was.
    """

    def __init__(self, own: Any, name: str) -> None:
        self._own, self.name = own, name

    @property
    def vocabulary(self) -> int:
        found: int = self._own.get_vocab_size()
        return found

    def encoded(self, texts: Sequence[str]) -> list[list[int]]:
        with _one_thread():
            each = self._own.encode_batch_fast(list(texts), add_special_tokens=False)
        return [own.ids for own in each]

    def decoded(self, tokens: Sequence[int]) -> str:
        text: str = self._own.decode(list(tokens), skip_special_tokens=False)
        return text

    def characters(self, tokens: np.ndarray) -> int:
        return int(self._begun[tokens].sum())

    @cached_property
    def _begun(self) -> np.ndarray:
        """How many characters begin in each token, [V]: bytes of UTF-8 that do not continue one."""
        named, found = self._own.get_vocab(), np.zeros(self.vocabulary, dtype=np.int64)
        for token, i in named.items():
            found[i] = sum(letter not in CONTINUE for letter in token)
        return found


def trained(texts: Callable[[], Sequence[str]], vocabulary: int, name: str) -> Bpe:
    """BPE of at most this many tokens, fewer where the texts have no more pairs to merge; made once
    per machine under this name, which is that of all that it depends on.
    """
    import tokenizers

    kept = Kept(f"tokenizers/{name}.json", f"byte-level BPE of tokenizers {_version()}")
    content = kept.read()
    if content is None:
        content = _trained(texts(), vocabulary).encode()
        kept.write(content)
    return Bpe(tokenizers.Tokenizer.from_str(content.decode()), name)


def _trained(texts: Sequence[str], vocabulary: int) -> str:
    """The tokenizer's JSON; one thread, so that it is the same everywhere."""
    from tokenizers import Tokenizer as Own
    from tokenizers import decoders, models, pre_tokenizers, trainers

    own, level = Own(models.BPE()), pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.pre_tokenizer, own.decoder = level, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=sorted(level.alphabet()), show_progress=False
    )
    with _one_thread():
        own.train_from_iterator(_lines(texts), trainer)
    return own.to_str()


def _lines(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield from text.splitlines(keepends=True)


def _version() -> str:
    return version("tokenizers")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Its threads would outlive the call, and a process with threads cannot be forked."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


# ---- pretrained ----------------------------------------------------------------------------------


class Pretrained:
    """A tokenizer of transformers, from a folder on this machine.

    own  what it is by, for those who have to know whether theirs is the same.
    """

    def __init__(self, loaded: Any, digest: str) -> None:
        self._loaded, self.name = loaded, digest
        ends = (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id)
        self.own = Tokenizer(digest, *ends)
        self.vocabulary = max(loaded.get_vocab().values()) + 1

    def encoded(self, texts: Sequence[str]) -> list[list[int]]:
        with _one_thread():
            found = self._loaded(list(texts), add_special_tokens=False, verbose=False)
        ids: list[list[int]] = found["input_ids"]
        return ids

    def decoded(self, tokens: Sequence[int]) -> str:
        text: str = self._loaded.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def characters(self, tokens: np.ndarray) -> int:
        return len(self.decoded(tokens.tolist()))


def pretrained(folder: Path) -> Pretrained:
    """The tokenizer of a folder; FileNotFoundError, ValueError where there is none.  Nothing is
    fetched, and no code of the folder is run.
    """
    return _pretrained(folder, digest_of(folder))


@lru_cache(maxsize=4)
def _pretrained(folder: Path, digest: str) -> Pretrained:
    try:
        loaded = _class_of(folder).from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # of transformers, tokenizers, and what checks a config
        said = " ".join(str(error).split())[:200] or repr(error)
        raise ValueError(f"{folder} holds no tokenizer that can be read: {said}") from None
    return Pretrained(loaded, digest)


def _class_of(folder: Path) -> Any:
    """The class that reads a folder's tokenizer: the general one where the folder names it, which
    needs no torch; else transformers looks which, also by the network's config.
    """
    named = None
    if (folder / "tokenizer.json").is_file():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            about = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
            named = about.get("tokenizer_class")
    if named in GENERAL:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from engine._torchvision import torchvision  # noqa: F401  (imported for a config)

    from transformers import AutoTokenizer  # isort: skip

    return AutoTokenizer


def digest_of(folder: Path) -> str:
    """Of a tokenizer's own files in a folder, whatever model lies beside them; FileNotFoundError,
    ValueError where there are none.
    """
    if not folder.is_dir():
        fault = f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}"
        kind = ValueError if folder.exists() else FileNotFoundError
        raise kind(f"{fault}; a tokenizer's is wanted, as save_pretrained writes it")
    names = [name for name in FILES if (folder / name).is_file()]
    if not {*names} - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}:
        raise ValueError(
            f"{folder} holds no tokenizer (tokenizer.json, vocab.json, ...); give a folder that "
            "save_pretrained wrote"
        )
    return digests.of_files(folder, names)


def name_of(*about: object) -> str:
    """A digest of what something is made from, to be found by."""
    return hashlib.sha256(repr(about).encode()).hexdigest()[: digests.DIGITS]
