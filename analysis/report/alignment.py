"""Latent alignment (Zverev et al. 2512.11867) as a table, and a map of it: do generated samples lie
where real ones do, in the features that the sweep was measured by?

auc, centroid, covariance  see `engine/distances/alignment.py`
otdd                       optimal transport dataset distance of the labelled features
                           (`engine/distances/transport.py`); NaN without labels
Each beside its floor, real against other real samples of the same size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from engine._memory import borrowed
from engine.distances.alignment import LEAST, centroid, covariance, separability
from engine.distances.transport import exact, labelled

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
