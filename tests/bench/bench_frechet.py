"""FID and conditional FID against torchmetrics and pytorch-fid: CPU time of one thread, sides in
turn, medians, ratios.

    python tests/bench/bench_frechet.py [--quick | --smoke]

Given moments: the distance alone, our real side with its factor, theirs with mean and covariance,
everything in float64. From features: each side also takes mean and covariance of the generated
features [n, d]; the real side stays ready, as in a
lineage.  The references are their formulas, without their network.  Below n = d we never form a
          covariance, so only the
second kind exists.  Loops over classes that are too slow to repeat are timed on `timed` classes and
                     multiplied.  Differences
are relative to our value; where n < d the references carry noise of the null space, so the last
column compares us with an independent exact form (QR factors and singular values, no covariance).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
import scipy.linalg
import torch
from threadpoolctl import threadpool_limits

from engine._torchvision import torchvision  # noqa: F401  (before anything that imports torchvision itself)
from engine.distances.frechet import frechet, moments_by_group, moments_of

# isort: split
from pytorch_fid.fid_score import calculate_frechet_distance
from torchmetrics.image.fid import _compute_fid

warnings.filterwarnings("ignore", category=DeprecationWarning)
FLOOR_FID, FLOOR_CONDITIONAL = (
    5.0,
    100.0,
)  # times faster than the faster of the two, from d = 512 on


def features(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """ReLU features with a decaying spectrum."""
    rng = np.random.default_rng(seed)
    scale = (1 + np.arange(d)) ** -0.5
    mixing = np.linalg.qr(np.random.default_rng(99).normal(size=(d, d)))[0] * np.sqrt(d) * 0.2
    return np.maximum((rng.normal(size=(n, d)) * scale) @ mixing + 0.4 + shift, 0)


Statistics = tuple[np.ndarray, np.ndarray]


def statistics(x: np.ndarray) -> Statistics:
    return x.mean(0), np.cov(x, rowvar=False)


def torch_statistics(x: np.ndarray) -> Statistics:
    t = torch.from_numpy(x)
    return t.mean(0).numpy(), torch.cov(t.T).numpy()


def by_torchmetrics(real: Statistics, drawn: Statistics) -> float:
    return float(_compute_fid(*(torch.from_numpy(array) for array in (*real, *drawn))))


def by_pytorch_fid(real: Statistics, drawn: Statistics) -> float:
    return float(calculate_frechet_distance(*real, *drawn))


def exact(a: np.ndarray, b: np.ndarray) -> float:
    """Singular values of R1 R2' with QR factors: no covariance is formed, so no null space and no
    squared rounding.
    """
    rows = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    factors = [
        r if len(r) <= r.shape[1] else scipy.linalg.qr(r, mode="r")[0][: r.shape[1]] for r in rows
    ]
    cross = scipy.linalg.svdvals(factors[0] @ factors[1].T).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + sum((r**2).sum() for r in rows) - 2 * cross)


def in_turn(
    sides: dict[str, Callable[[], float]], rounds: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Value and CPU seconds of every side; one side after the other in each round, after a warm-up
    of the first.
    """
    next(iter(sides.values()))()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values = {}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            values[name] = side()
            seconds[name].append(time.process_time() - start)
    return values, seconds


def repeated(side: Callable[[], float], times: int) -> Callable[[], float]:
    """Runs too short for the clock, several at a time."""

    def run() -> float:
        for _ in range(times - 1):
            side()
        return side()

    return run


def ratio(ours: list[float], theirs: list[float], factor: float = 1.0) -> float:
    return median(t * factor / o for o, t in zip(ours, theirs, strict=True))


def fid(d: int, n: int, rounds: int) -> float:
    """Prints a line from features, and one given moments where there is a covariance; returns the
    smaller ratio of the last.
    """
    a, b = features(n, d, 1), features(n, d, 2, 0.05)
    real, drawn, ready, moments = statistics(a), statistics(b), moments_of(a), moments_of(b)
    lines = {
        "features": {
            "ours": lambda: float(frechet(ready, moments_of(b))),
            "torchmetrics": lambda: by_torchmetrics(real, torch_statistics(b)),
            "pytorch-fid": lambda: by_pytorch_fid(real, statistics(b)),
        }
    }
    if n > d:
        lines["moments"] = {
            "ours": lambda: float(frechet(ready, moments)),
            "torchmetrics": lambda: by_torchmetrics(real, drawn),
            "pytorch-fid": lambda: by_pytorch_fid(real, drawn),
        }
    times = 20 if d <= 64 else 1
    for name, sides in lines.items():
        values, seconds = in_turn(
            {side: repeated(run, times) for side, run in sides.items()}, rounds
        )
        ratios = [
            ratio(seconds["ours"], seconds[other]) for other in ("torchmetrics", "pytorch-fid")
        ]
        ms = [1e3 * median(each) / times for each in seconds.values()]
        off = [
            abs(values[other] - values["ours"]) / values["ours"]
            for other in ("torchmetrics", "pytorch-fid")
        ]
        truth = abs(values["ours"] - exact(a, b)) / values["ours"]
        print(
            f"{d:>5} {n:>6} {name:>9} {ms[0]:>10.3f} {ms[1]:>13.2f} {ms[2]:>12.2f} "
            f"{ratios[0]:>10.1f} {ratios[1]:>10.1f}"
            f" {off[0]:>9.1e} {off[1]:>9.1e} {truth:>10.1e}",
            flush=True,
        )
    return min(ratios)


def conditional(d: int, classes: int, n: int, timed: int, rounds: int) -> float:
    """Prints one line, from features; returns the smaller ratio."""
    a = [features(n, d, 2 * c) for c in range(classes)]
    b = [features(n, d, 2 * c + 1, 0.05) for c in range(classes)]
    ready, pairs = (
        moments_by_group(a),
        [(statistics(x), y) for x, y in zip(a[:timed], b, strict=False)],
    )
    values, seconds = in_turn(
        {
            "ours": lambda: float(frechet(ready, moments_by_group(b)).mean()),
            "torchmetrics": lambda: float(
                np.mean([by_torchmetrics(real, torch_statistics(x)) for real, x in pairs])
            ),
            "pytorch-fid": lambda: float(
                np.mean([by_pytorch_fid(real, statistics(x)) for real, x in pairs])
            ),
        },
        rounds,
    )
    first = float(
        frechet(moments_by_group(a[:timed]), moments_by_group(b[:timed])).mean()
    )  # what the references timed
    ratios = [
        ratio(seconds["ours"], seconds[name], classes / timed)
        for name in ("torchmetrics", "pytorch-fid")
    ]
    ms = [
        1e3 * median(seconds[name]) * (1 if name == "ours" else classes / timed) for name in seconds
    ]
    off = [abs(values[name] - first) / first for name in ("torchmetrics", "pytorch-fid")]
    truth = abs(first - np.mean([exact(x, y) for x, y in zip(a[:timed], b, strict=False)])) / first
    print(
        f"{d:>5} {classes:>4} x {n:<4} {ms[0]:>10.2f} {ms[1]:>13.0f} {ms[2]:>12.0f} "
        f"{ratios[0]:>9.0f} {ratios[1]:>9.0f}"
        f" {off[0]:>10.1e} {off[1]:>10.1e} {truth:>10.1e} {timed:>6}",
        flush=True,
    )
    return min(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="d up to 512 only")
    parser.add_argument("--smoke", action="store_true", help="the smallest size, judging nothing")
    options = parser.parse_args()
    quick = options.quick
    print("FID: milliseconds of CPU, times faster than the two, relative differences")
    print(
        "    d      n      from       ours  torchmetrics  pytorch-fid  x torchm.  x pytorch    "
        "dif tm    dif pf  dif exact"
    )
    whole = [(64, 1000, 5), (512, 5000, 5), (512, 300, 5)] + (
        [] if quick else [(2048, 5000, 3), (2048, 500, 3)]
    )
    whole = [(16, 100, 1), (32, 20, 1)] if options.smoke else whole
    fids = {(d, n): fid(d, n, rounds) for d, n, rounds in whole}
    print(
        "\nconditional FID: classes x samples each; the loops are timed on `timed` classes and "
        "multiplied"
    )
    print(
        "    d  classes        ours  torchmetrics  pytorch-fid  x torchm.  x pytorch    dif tm  "
        "  dif pf  dif exact  timed"
    )
    by_class = [
        (64, 10, 100, 10, 5),
        (64, 100, 50, 10, 5),
        (512, 10, 50, 3, 3),
        (512, 100, 20, 3, 3),
        (512, 10, 100, 3, 3),
    ]
    by_class += [] if quick else [(2048, 10, 100, 1, 1), (2048, 100, 50, 1, 1)]
    by_class = [(16, 3, 30, 2, 1)] if options.smoke else by_class
    conditionals = {
        (d, c, n): conditional(d, c, n, timed, rounds) for d, c, n, timed, rounds in by_class
    }
    slow = [f"FID {k}: {v:.1f}" for k, v in fids.items() if k[0] >= 512 and v < FLOOR_FID]
    slow += [
        f"conditional {k}: {v:.0f}"
        for k, v in conditionals.items()
        if k[0] >= 512 and v < FLOOR_CONDITIONAL
    ]
    verdict = "missed by " + "; ".join(slow) if slow else "held"
    print(
        f"\nfloors at d >= 512 ({FLOOR_FID:.0f} and {FLOOR_CONDITIONAL:.0f} times the faster of "
        f"the two): {verdict}"
    )
    raise SystemExit(bool(slow))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        main()
