"""The solvable case for threshold searches: a Gaussian fitted to a constant-size mix of real rows
and its own samples.

y = n |m_T|^2 / d of one chain in d dimensions; by the conservation law (analysis.theory.gaussian)
E y = n (1 - E v_T), whose recursion is exact (`mix_mean_error`), so the fraction at which it
crosses any level is known to machine precision.  Chains of one seed share their real rows and every
random number, as lineages of the engine do.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from analysis.theory.gaussian import mix_mean_error

N, D, T = 100, 40, 5  # rows, dimensions, last generation


def expected(fraction: float) -> float:
    """E y, with n_synthetic = fraction * N as a real number."""
    return float(N * mix_mean_error(N, fraction * N, T))  # type: ignore[arg-type]


def truth(level: float) -> float:
    """The fraction at which E y is at the level."""
    return float(brentq(lambda b: expected(b) - level, 0, 1, xtol=1e-14))


def chains(fractions: np.ndarray, *seed: int) -> np.ndarray:
    """y [f] of the chains of one seed at several fractions (multiples of 1 / N)."""
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((T + 1, N, D))
    kept = [rng.permutation(N) for _ in range(T)]
    return np.array([_chain(round(float(b) * N), normals, kept) for b in fractions])


def _chain(n_synthetic: int, normals: np.ndarray, kept: list[np.ndarray]) -> float:
    rows = normals[0]
    for order, z in zip(kept, normals[1:], strict=True):
        drawn = rows.mean(0) + rows.std(0) * z[:n_synthetic]
        rows = np.concatenate([normals[0][order[n_synthetic:]], drawn])
    return float(N * (rows.mean(0) ** 2).mean())
