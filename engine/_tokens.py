"""Sequences of tokens as numbers: the type that holds a vocabulary, and codes of what precedes each
token.

A context of m tokens is one whole number, its tokens as digits to the base V + 1, the oldest first;
the digit V is the beginning of the sequence (BOS), which no sequence holds itself.
"""

from __future__ import annotations

import numpy as np

from engine.samples import Samples

MOST_CODES = 2**62  # codes are int64


def token_dtype(vocabulary: int) -> np.dtype[np.generic]:
    """The smallest type that an output can hold for the tokens 0..vocabulary-1."""
    if vocabulary <= 1 << 16:
        return np.dtype(np.uint8 if vocabulary <= 1 << 8 else np.uint16)
    return np.dtype(np.int32)


def context_codes(x: np.ndarray, vocabulary: int, m: int) -> np.ndarray:
    """The m tokens before each token of x [n, replicates, length], BOS before the first: int64, the
    same shape.
    """
    codes, length = np.zeros(x.shape, dtype=np.int64), x.shape[-1]
    for j in range(1, m + 1):  # the j-th token before
        digit = (vocabulary + 1) ** (j - 1)
        codes[..., j:] += x[..., : max(length - j, 0)].astype(np.int64) * digit
        codes[..., :j] += vocabulary * digit
    return codes


def begin_code(vocabulary: int, m: int) -> int:
    """The context of m tokens before the first token of a sequence: nothing but BOS."""
    most: int = (vocabulary + 1) ** m - 1
    return most


def completions(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Where in each text what counts begins and ends, [n] each: all of it, of records the
    completion.
    """
    if samples.lengths is None or samples.prompt_lengths is None:
        return np.zeros(len(samples), np.int64), np.full(len(samples), samples.x.shape[-1])
    return samples.prompt_lengths, samples.lengths


def written(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Where in each text of a draw what the model wrote begins and ends, [n] each: all but prompts;
    the token that ends a record counts.
    """
    begin, end = completions(samples)
    given = 0 if samples.prompted is None else samples.prompted.given
    return np.maximum(begin, given), end


def counting(samples: Samples, m: int) -> np.ndarray:
    """Which m-grams (`windows`) of each text count: [n, length - m + 1], true or false."""
    begin, end = completions(samples)
    place = np.arange(max(samples.x.shape[-1] - m + 1, 0))
    values: np.ndarray = (place >= begin[:, None]) & (place + m <= end[:, None])
    return values


def windows(x: np.ndarray, vocabulary: int, m: int) -> np.ndarray:
    """Every m-gram of sequences x [n, length] as a number to the base V: [n, length - m + 1]."""
    places = x.shape[1] - m + 1
    codes = np.zeros((len(x), max(places, 0)), dtype=np.int64)
    for j in range(m if places > 0 else 0):
        codes *= vocabulary
        codes += x[:, j : j + places]
    return codes
