"""Tiny random models of the classes that people have pretrained ones of, in folders as
save_pretrained writes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from engine.generators._language import quiet

WORDS = ("the", "sun", "moon", "is", "was", "red", "blue", "old", "new", "not")


def tokenizer(folder: Path) -> int:
    """A tokenizer of a few words; how many tokens it has."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    named = ("<bos>", "<eos>", "<pad>", "<unk>", *WORDS)
    own = Tokenizer(WordLevel({word: i for i, word in enumerate(named)}, unk_token="<unk>"))
    own.pre_tokenizer = Whitespace()
    ends = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=own, **ends).save_pretrained(folder)
    return len(named)


def language_model(folder: Path, kind: str = "Llama", **config: Any) -> Path:
    """A language model with its tokenizer."""
    import transformers

    usual = {
        "vocab_size": tokenizer(folder) + 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        own = getattr(transformers, f"{kind}Config")(**{**usual, **config})
        getattr(transformers, f"{kind}ForCausalLM")(own).save_pretrained(folder)
    return folder


def records(file: Path, n: int = 60) -> Path:
    """Prompts of two words and completions of one to three, which say the prompt's last again."""
    rows = []
    for i in range(n):
        first, last = WORDS[i % 5], WORDS[5 + i % 4]
        completion = " ".join([last] * (1 + i % 3))
        rows.append({"ask": f"{first} {last}", "say": completion})
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return file
