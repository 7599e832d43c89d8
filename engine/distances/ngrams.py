"""Features of texts without a network: which n-grams a sequence is made of.

A sequence is the frequencies of its 1-, 2- and 3-grams of tokens, hashed into buckets; their square
roots (Euclidean distance is then Hellinger's) are projected by a fixed orthonormal matrix, scaled
so that a feature's mean square is about 1, as the kernel of KID expects.  Equal n-grams meet in one
bucket whatever the data set; tokens are numbers, so two vocabularies have nothing in common.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.sparse import csr_array

from engine._tokens import counting
from engine.distances.extractors import NGRAM_FEATURES as FEATURES
from engine.samples import Samples

LONGEST = 3  # tokens of an n-gram
BUCKETS = 4096
SEED = 20_211  # of the projection: all data sets share it
AT_ONCE = 1 << 22  # n-grams worked on at once
ODD = np.uint64(
    0x9E3779B97F4A7C15
)  # of the multiplicative hash (Knuth): 2^64 over the golden ratio


def features(samples: Samples) -> np.ndarray:
    """Of texts, of records of their completions: [n, replicates, 64]."""
    x, replicates = samples.x, samples.x.shape[1]
    flat = x.reshape(-1, x.shape[-1])  # [sequences, length]
    longest = range(1, min(LONGEST, x.shape[-1]) + 1)
    counts = np.concatenate([counting(samples, m) for m in longest], axis=1)
    rows = max(1, AT_ONCE // counts.shape[1])
    found = np.zeros((len(flat), FEATURES))
    for i in range(0, len(flat), rows):
        of = np.arange(i, min(i + rows, len(flat)))
        found[of] = _projected(flat[of], counts[of // replicates])
    return found.reshape(*x.shape[:-1], FEATURES)


def _projected(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of sequences x [n, length] of whose n-grams those count that counts [n, n-grams] says:
    [n, 64].
    """
    n, each = counts.shape
    row = np.repeat(np.arange(n), each)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    frequencies = csr_array((share.ravel(), (row, _buckets(x).ravel())), shape=(n, BUCKETS))
    values: np.ndarray = frequencies.sqrt() @ projection()
    return values


def _buckets(x: np.ndarray) -> np.ndarray:
    """The bucket of every n-gram of sequences x [n, length]: [n, n-grams]."""
    tokens = x.astype(np.uint64) + np.uint64(1)
    found, code = [], np.zeros((len(x), x.shape[1] + 1), dtype=np.uint64)
    for _ in range(min(LONGEST, x.shape[1])):
        places = code.shape[1] - 1
        code = code[:, :places] * ODD + tokens[:, -places:]  # wraps around
        found.append(_mixed(code) % np.uint64(BUCKETS))
    return np.concatenate(found, axis=1).astype(np.int64)


def _mixed(code: np.ndarray) -> np.ndarray:
    """Whole numbers as random ones, the same every time: the end of splitmix64 (Steele 2014)."""
    code = (code ^ (code >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    code = (code ^ (code >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values: np.ndarray = code ^ (code >> np.uint64(31))
    return values


@cache
def projection() -> np.ndarray:
    """[buckets, 64]: orthonormal columns, times the root of the buckets."""
    normal = np.random.default_rng(SEED).standard_normal((BUCKETS, FEATURES))
    values: np.ndarray = np.linalg.qr(normal)[0] * np.sqrt(BUCKETS)
    return values
