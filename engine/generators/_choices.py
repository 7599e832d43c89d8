"""How a token is chosen from the logits of a language model: plainly, or at a temperature."""

from __future__ import annotations

import numpy as np


def plain(logits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, None]:
    """A token of each row's distribution, by inversion: logits [rows, V]."""
    p = logits.astype(np.float64)
    p -= p.max(1, keepdims=True)
    np.exp(p, out=p)
    ends = np.cumsum(p, axis=1, out=p)
    ends /= ends[:, -1:]
    tokens: np.ndarray = (ends <= rng.random((len(ends), 1))).sum(1)
    return tokens, None


def tempered(
    temperature: float, logits: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, None]:
    """The same at a temperature: p ** (1 / temperature); at 0 the most probable."""
    if temperature == 0:
        return logits.argmax(1), None
    return plain(logits / np.float32(temperature), rng)
