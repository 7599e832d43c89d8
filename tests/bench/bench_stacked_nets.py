"""16 replicates of the point WGAN in one stacked generator against 16 trained one after another:
CPU time of one thread.

    python tests/bench/bench_stacked_nets.py [--quick | --smoke]

Both sides are the same class with the same parameters (h = 64 hidden units, B = 64 points per
minibatch); a replicate has minibatches and noise of its own on both sides.  Sides in turn, medians,
the ratio is the median of the rounds' ratios.  For comparison a plain loop of torch (nn.Linear, no
engine) trains one replicate with the same architecture, penalty and optimiser.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.registry import make
from engine.samples import Samples

REPLICATES, N, WIDTH, BATCH = 16, 5000, 64, 64
FLOOR = 4.0  # times


def stacked(steps: int) -> None:
    fit(
        make("dataset", "mixture", replicates=REPLICATES).sample(N, np.random.default_rng(0)), steps
    )


def one_after_another(steps: int) -> None:
    for r in range(REPLICATES):
        fit(make("dataset", "mixture").sample(N, np.random.default_rng(r)), steps)


def fit(data: Samples, steps: int) -> None:
    make("generator", "wgan", steps=steps, width=WIDTH, batch=BATCH).fit(
        data, np.random.default_rng(1)
    )


def plain_loops(steps: int) -> None:
    for r in range(REPLICATES):
        plain_loop(make("dataset", "mixture").sample(N, np.random.default_rng(r)).x[:, 0], steps)


def plain_loop(points: np.ndarray, steps: int) -> None:
    """One WGAN-GP as a researcher writes it."""
    x = torch.from_numpy(points).float()
    generator = nn.Sequential(
        nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2)
    )
    critic = nn.Sequential(
        nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
    )
    critic_steps = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    generator_steps = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
    for _ in range(steps):
        for _ in range(5):
            real, fake = (
                x[torch.randint(len(x), (BATCH,))],
                generator(torch.randn(BATCH, 2)).detach(),
            )
            between = torch.lerp(real, fake, torch.rand(BATCH, 1)).requires_grad_()
            (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            loss = (
                critic(fake).mean() - critic(real).mean() + ((gradient.norm(dim=1) - 1) ** 2).mean()
            )
            critic_steps.zero_grad()
            loss.backward()
            critic_steps.step()
        loss = -critic(generator(torch.randn(BATCH, 2))).mean()
        generator_steps.zero_grad()
        loss.backward()
        generator_steps.step()


def cpu_seconds(work: Callable[[int], None], steps: int) -> float:
    start = time.process_time()
    work(steps)
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds")
    parser.add_argument("--smoke", action="store_true", help="the smallest size, judging nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, rounds = (40, 3) if options.quick else (200, 5)
    if options.smoke:
        steps, rounds = 2, 1
    sides = (stacked, one_after_another, plain_loops)
    for side in sides:
        side(2)  # warm
    times = [[cpu_seconds(side, steps) for side in sides] for _ in range(rounds)]
    print(
        f"{REPLICATES} replicates x {steps} generator steps, h = {WIDTH}, B = {BATCH}, one "
        f"thread, median of {rounds} rounds"
    )
    for i, side in enumerate(sides):
        ratio = median(t[i] / t[0] for t in times)
        print(
            f"{side.__name__:18} {median(t[i] for t in times):8.2f} CPU s   {ratio:5.2f} x stacked"
        )
    ratio = median(t[1] / t[0] for t in times)
    print(
        f"stacked is {ratio:.2f} times faster (floor {FLOOR}): "
        f"{'ok' if ratio >= FLOOR else 'BELOW THE FLOOR'}"
    )
    return 0 if ratio >= FLOOR or options.smoke else 1


if __name__ == "__main__":
    raise SystemExit(main())
