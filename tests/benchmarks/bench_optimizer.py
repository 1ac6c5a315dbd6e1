# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Cost of a step of random-scaled SGDM against `optax.sgd` with momentum.

Prints the ratio of the two in interleaved repetitions, first inside `lax.scan`
(the arithmetic alone), then with one dispatch from Python a step. Run::

    python tests/benchmarks/bench_optimizer.py [number of parameters]
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from numpyro_pl.optim import random_scaled_sgdm

SCAN = 50
REPETITIONS = 60


def make(optimizer, num_steps):
    def step(x, state, g):
        updates, state = optimizer.update(g, state, x)
        return optax.apply_updates(x, updates), state

    def scanned(x, state, g):
        def body(carry, _):
            return step(*carry, g), None

        return jax.lax.scan(body, (x, state), None, length=num_steps)[0]

    return jax.jit(scanned if num_steps > 1 else step, donate_argnums=(0, 1))


def step_times(optimizers, size, num_steps):
    g = jnp.full(size, 1e-3)
    carry = {k: (jnp.ones(size), o.init(jnp.ones(size))) for k, o in optimizers.items()}
    run = {k: make(o, num_steps) for k, o in optimizers.items()}
    times = {k: [] for k in optimizers}
    calls = SCAN // num_steps
    for repetition in range(REPETITIONS + 1):
        names = list(optimizers)[:: 1 if repetition % 2 else -1]
        for name in names:
            start = time.perf_counter()
            for _ in range(calls):
                carry[name] = run[name](*carry[name], g)
            jax.block_until_ready(carry[name])
            times[name].append((time.perf_counter() - start) / SCAN)
    return {k: np.array(v[1:]) for k, v in times.items()}


WAYS = {"in scan": SCAN, "one dispatch a step": 1}


def measure(size: int = 1_000_000) -> dict:
    """
    Figures of a step.

    :param size: number of parameters.
    :return: by way of running and optimizer, `step_us` and the ratios to `optax.sgd`:
        `ratio` (of the medians), `paired_ratio` (median over repetitions) and
        `least_ratio` (of the minima).
    """
    optimizers = {
        "sgd": optax.sgd(0.01, momentum=0.9),
        "random-scaled": random_scaled_sgdm(0.01, 0.9),
        "random-scaled, averaged": random_scaled_sgdm(0.01, 0.9, average=True),
    }
    figures = {}
    for way, num_steps in WAYS.items():
        times = step_times(optimizers, size, num_steps)
        base = times["sgd"]
        figures[way] = {
            name: {
                "step_us": float(1e6 * np.median(t)),
                "ratio": float(np.median(t) / np.median(base)),
                "paired_ratio": float(np.median(t / base)),
                "least_ratio": float(t.min() / base.min()),
            }
            for name, t in times.items()
        }
    return figures


def main(size):
    for way, figures in measure(size).items():
        print(
            f"{way}, {size} parameters; sgd {figures['sgd']['step_us']:.0f} us a step"
        )
        for name, one in figures.items():
            print(
                f"  {name:24s} ratio of medians {one['ratio']:.3f}, "
                f"median of paired ratios {one['paired_ratio']:.3f}, "
                f"ratio of minima {one['least_ratio']:.3f}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
