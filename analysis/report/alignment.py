"""Latent alignment (Zverev 2512.11867): do generated samples lie where real ones do, in a
real-trained classifier's features?

separability   AUC of a linear two-sample classifier (shrunk discriminant), cross-fitted: 0.5 where
               nobody can tell them apart, 1 where all can.  The 95 % interval is Hanley and
               McNeil's (1982) on the held-out folds.
centroid       distance of the means over the root mean square distance of real samples from theirs
covariance     Frobenius distance of the covariances over that of the real one
otdd           optimal transport dataset distance of the labelled features
               (`engine/distances/transport.py`); NaN without labels
Each beside its floor, real against other real samples of the same size.  Not FID, which cannot say
whether two clouds overlap.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

from engine._memory import borrowed
from engine.distances.transport import exact, labelled

FOLDS = 5
LEAST = 2 * FOLDS  # samples on each side
COUPLED = 2000  # at most so many on each side, by optimal transport


Labels = tuple[np.ndarray, np.ndarray]  # of the real and of the generated samples


def alignment(
    real: np.ndarray,
    sets: Mapping[Any, np.ndarray],
    real_y: np.ndarray | None = None,
    set_y: Mapping[Any, np.ndarray | None] | None = None,
) -> pd.DataFrame:
    """Real features [n, d] and generated ones by name (a generation) -> a row per name, and one
    named "floor".

    One half of the real samples is the reference; the other half is the floor.  All sides are cut
    to the same n.  Labels [n], where there are any, are cut alike.
    """
    n = min([len(real) // 2, *(len(x) for x in sets.values())])
    if n < LEAST:
        raise ValueError(
            f"alignment needs {LEAST} samples on each side, and twice as many real ones; it got {n}"
        )
    one, two = _halves(len(real), n, real_y)

    def labels(of: np.ndarray | None) -> Labels | None:
        return None if real_y is None or of is None else (real_y[one], of[:n])

    rows = [
        ("floor", compared(real[one], real[two], labels(None if real_y is None else real_y[two])))
    ]
    rows += [
        (name, compared(real[one], x[:n], labels((set_y or {}).get(name))))
        for name, x in sets.items()
    ]
    return pd.DataFrame([{"set": name, **values} for name, values in rows])


def _halves(m: int, n: int, y: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint choices of n out of m rows, with the same classes where there are labels y [m]:
    chance in the number of each class is no distance between them.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(m)
    if y is not None:
        order = order[np.argsort(y[order], kind="stable")]
    pairs = rng.permutation(order[: m - m % 2].reshape(-1, 2))[:n]  # [n, 2]
    return pairs[:, 0], pairs[:, 1]


def compared(
    real: np.ndarray, generated: np.ndarray, labels: Labels | None = None
) -> dict[str, Any]:
    """auc, auc_low, auc_high, centroid, covariance, otdd, n of two feature sets [n, d]; NaN and a
    reason where not finite.
    """
    names = ("auc", "auc_low", "auc_high", "centroid", "covariance", "otdd")
    if not np.isfinite(generated).all():
        return dict.fromkeys(names, np.nan) | {
            "n": len(generated),
            "undefined": "some features are not finite",
        }
    distance = dataset_distance(real, generated, labels)
    values = (
        *separability(real, generated),
        centroid(real, generated),
        covariance(real, generated),
        distance,
    )
    return dict(zip(names, values, strict=True)) | {"n": len(generated), "undefined": ""}


def dataset_distance(real: np.ndarray, generated: np.ndarray, labels: Labels | None) -> float:
    """Exact, in the units of squared features; NaN without labels."""
    if labels is None:
        return float("nan")
    rng = np.random.default_rng(0)  # of the part that is coupled, beyond COUPLED points
    one, two = (
        labelled(x, y, COUPLED, rng) for x, y in zip((real, generated), labels, strict=True)
    )
    return exact(one, two)


def separability(real: np.ndarray, generated: np.ndarray) -> tuple[float, float, float]:
    """AUC with its 95 % interval."""
    x = np.concatenate([real, generated])
    y = np.repeat([0, 1], [len(real), len(generated)])
    score = np.empty(len(y))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x[train], y[train])
        raw = model.decision_function(x[test])
        score[test] = rankdata(raw) / len(
            raw
        )  # ranks within the fold: scores of two models are not on one scale
    return _auc(score, y)


def _auc(score: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    m, n = int((y == 1).sum()), int((y == 0).sum())
    auc = (rankdata(score)[y == 1].sum() - m * (m + 1) / 2) / (m * n)
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (m - 1) * (one - auc**2) + (n - 1) * (two - auc**2)) / (m * n)
    half = norm.ppf(0.975) * np.sqrt(max(variance, 0.0))
    return float(auc), float(max(auc - half, 0.0)), float(min(auc + half, 1.0))


def centroid(real: np.ndarray, generated: np.ndarray) -> float:
    scale = np.sqrt(np.square(real - real.mean(0)).sum(1).mean())
    return float(np.linalg.norm(generated.mean(0) - real.mean(0)) / scale)


def covariance(real: np.ndarray, generated: np.ndarray) -> float:
    a, b = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    return float(np.linalg.norm(np.atleast_2d(b - a)) / np.linalg.norm(np.atleast_2d(a)))


def embedded(real: np.ndarray, sets: Mapping[Any, np.ndarray], *, seed: int = 0) -> pd.DataFrame:
    """UMAP (McInnes 2018) fitted on real features alone, then applied to the generated ones:
    columns set, x, y.
    """
    import warnings

    with borrowed(), warnings.catch_warnings():  # numba sets the threads of all of OpenMP
        warnings.simplefilter("ignore")  # about its random state and numba's
        from umap import UMAP

        _compile_once()
        model = UMAP(
            n_neighbors=min(15, len(real) - 1), min_dist=0.1, random_state=seed, n_jobs=1
        ).fit(real)
        parts = [
            ("real", model.embedding_),
            *((name, model.transform(x)) for name, x in sets.items()),
        ]
    return pd.concat(
        [pd.DataFrame({"set": str(name), "x": p[:, 0], "y": p[:, 1]}) for name, p in parts],
        ignore_index=True,
    )


def _compile_once() -> None:
    """umap-learn compiles itself in every process, which takes 15 s; numba keeps what it compiled
    on disk for those that follow, as Python does (beside the source, or in NUMBA_CACHE_DIR).
    """
    from umap import distances, layouts, umap_, utils

    for module in (distances, layouts, umap_, utils):
        for function in vars(module).values():
            if hasattr(function, "enable_caching"):
                with contextlib.suppress(RuntimeError):  # no folder can be written
                    function.enable_caching()
