"""Exact laws of discrete chains (Seddik 2404.05090): frequencies of n drawn tokens, fitted anew.

The probability that two tokens of model t are equal follows, under replace,
1 - S_t = (1 - 1/n) (1 - S_{t-1}); under augment (N real rows always the same, n of the newest
model, a = n / (N + n)) S_t = (1 - a^2) S_0 + a^2 (1/n + (1 - 1/n) S_{t-1}).

t is the project's generation (0 = trained on real data only; f = t + 1 fits).  sum_p2 is S_t, the
expected sum of squared probabilities, 1 at total collapse; `truth` stands for that of the true
distribution, S_* there.
"""

from __future__ import annotations

import numpy as np

from analysis.theory.gaussian import Number, Time


def replace_sum_p2(n: int, t: Time, truth: float) -> Number:
    """Eq. (6), their m = f."""
    return 1 - (1 - 1 / n) ** (np.asarray(t) + 1) * (1 - truth)


def augment_sum_p2(n_real: int, n_synthetic: int, t: Time, truth: float) -> Number:
    """Eq. (9), their m = t, with the sign of the last term that its own S_1 asks for (the
    paper prints the other).
    """
    a = n_synthetic / (n_real + n_synthetic)
    decay = (a * ((1 + 1 / n_real) * a - 1 / n_real)) ** np.asarray(t)
    noise = (1 + 2 * a - (1 - 1 / n_real) * a * decay) / n_real
    return (noise + (1 - 1 / n_real) * truth * (1 + a + a / n_real * decay)) / (
        1 + (1 + 1 / n_real) * a
    )


# ---- curation: K-choice among discrete outcomes, infinitely many samples ----
