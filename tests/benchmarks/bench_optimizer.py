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


def measure(optimizers, size, num_steps):
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


def main(size):
    optimizers = {
        "sgd": optax.sgd(0.01, momentum=0.9),
        "random-scaled": random_scaled_sgdm(0.01, 0.9),
        "random-scaled, averaged": random_scaled_sgdm(0.01, 0.9, average=True),
    }
    for label, num_steps in (("in scan", SCAN), ("one dispatch a step", 1)):
        times = measure(optimizers, size, num_steps)
        base = times["sgd"]
        print(f"{label}, {size} parameters; sgd {np.median(base) * 1e6:.0f} us a step")
        for name, t in times.items():
            print(
                f"  {name:24s} ratio of medians {np.median(t) / np.median(base):.3f}, "
                f"median of paired ratios {np.median(t / base):.3f}, "
                f"ratio of minima {t.min() / base.min():.3f}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
