# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Time and memory of the landscape criteria.

``python tests/benchmarks/bench_landscape.py`` prints, measured in one run:

* 10 eigenpairs of a network of about a million parameters on 512 examples: seconds, and
  the growth of the process's memory at its peak, in units of the parameters, on the
  first call (with compilation) and on the second;
* with ``--solvers``, the same for JAX's LOBPCG and for matfree's Lanczos, if installed;
* the three estimators on the same network, in units of a gradient.
"""

import argparse
import gc
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random
from jax.flatten_util import ravel_pytree

from numpyro_pl.landscape import Solution, delta2_subspace, top_eigenspace
from numpyro_pl.landscape.loss import mean_hvp
from numpyro_pl.trees.arithmetic import size_of


def make_network(width, num_examples=512, num_steps=150):
    """Solution: a 100-width-100-10 ReLU network on noisy copies of ten sign vectors."""
    keys = random.split(random.key(0), 6)
    label = random.randint(keys[0], (num_examples,), 0, 10)
    patterns = random.rademacher(keys[1], (10, 100), jnp.float32)
    flips = random.bernoulli(keys[2], 0.355, (num_examples, 100))
    data = {"x": patterns[label] * jnp.where(flips, -1.0, 1.0), "y": label}
    sizes = [(100, width), (width, 100), (100, 10)]
    params = [
        {"w": random.normal(k, s) / np.sqrt(s[0]), "b": jnp.zeros(s[1])}
        for k, s in zip(keys[3:], sizes, strict=True)
    ]

    def loss(params, data):
        x = data["x"]
        for layer in params[:-1]:
            x = jax.nn.relu(x @ layer["w"] + layer["b"])
        logits = x @ params[-1]["w"] + params[-1]["b"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, data["y"])

    optimizer = optax.adam(1e-3)

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: loss(p, data).mean())(params)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, update), state

    state = optimizer.init(params)
    for _ in range(num_steps):
        params, state = step(params, state)
    return Solution(loss, jax.block_until_ready(params), data)


def resident() -> int:
    """Bytes of memory that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(fn):
    """Result, seconds, and growth of the resident memory at its peak, in bytes."""
    gc.collect()
    base, peak, done = resident(), [0], threading.Event()

    def watch():
        while not done.wait(0.003):
            peak[0] = max(peak[0], resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    start = time.perf_counter()
    try:
        result = jax.block_until_ready(fn())
    finally:
        seconds = time.perf_counter() - start
        done.set()
        thread.join()
    return result, seconds, max(peak[0] - base, 0)


def other_solvers(solution, k, dim):
    """(name, function, product) of other eigensolvers on the same products."""
    flat, unravel = ravel_pytree(solution.params)
    n, problem = flat.size, solution.first(k)

    def matvec(v):
        return ravel_pytree(mean_hvp(problem, unravel(v)))[0]

    def lobpcg():
        from jax.experimental.sparse.linalg import lobpcg_standard

        start = random.normal(random.key(1), (n, dim))
        # Each iteration takes 4 dim products, and the tolerance grows with n.
        return lobpcg_standard(lambda x: jax.lax.map(matvec, x.T).T, start, 3, 1e-12)[
            :2
        ]

    def lanczos():
        from matfree import decomp, eig

        solve = eig.eigh_partial(decomp.tridiag_sym(4 * dim, reortho="full"))
        values, vectors = jax.jit(lambda v: solve(matvec, v))(
            random.normal(random.key(1), (n,))
        )
        return values[::-1][:dim], vectors[::-1][:dim].T

    yield "jax lobpcg_standard, 3 iterations", lobpcg, matvec
    yield f"matfree Lanczos, {4 * dim} products", lanczos, matvec


def time_eigenspace(solution, k, dim):
    """Print time and memory of two calls; return the eigenspace."""
    unit = 4 * size_of(solution.params)
    for call in ("first call", "second call"):
        space, seconds, growth = measure(
            lambda: top_eigenspace(solution, k, dim=dim, rng_key=random.key(0))
        )
        print(
            f"top_eigenspace, {call}: {seconds:.1f} s, {space.num_products} products, "
            f"peak {growth / unit:.1f} x parameters, relative residual "
            f"{float(space.residuals.max() / space.eigenvalues[0]):.1g}"
        )
    return space


def time_other_solvers(solution, k, dim):
    """Print the same of those that are installed."""
    unit = 4 * size_of(solution.params)
    for name, solve, matvec in other_solvers(solution, k, dim):
        try:
            (values, vectors), seconds, growth = measure(solve)
        except ImportError as error:
            print(f"{name}: {error}")
            continue
        worst = max(
            float(jnp.linalg.norm(matvec(v) - x * v))
            for x, v in zip(values, vectors.T, strict=True)
        )
        print(
            f"{name}: {seconds:.1f} s, peak {growth / unit:.1f} x parameters, "
            f"relative residual {worst / float(values[0]):.1g}"
        )


def gradient_seconds(solution):
    """Seconds of one gradient of the mean loss over all examples."""
    loss, params, data = solution.per_example_loss, solution.params, solution.data
    gradient = jax.jit(jax.grad(lambda p: loss(p, data).mean()))
    jax.block_until_ready(gradient(params))
    _, seconds, _ = measure(
        lambda: [jax.block_until_ready(gradient(params)) for _ in range(5)]
    )
    return seconds / 5


def time_estimators(solution, k, space):
    """Print the time of each estimator, in gradients."""
    unit = gradient_seconds(solution)
    seconds = {}
    for estimator in ("direct_mc", "quadratic_mc", "gaussian_moment"):
        # The second call, when everything is compiled.
        for _ in range(2):
            result = delta2_subspace(
                solution,
                k,
                sigma=1e-3,
                rng_key=random.key(1),
                eigenspace=space,
                estimator=estimator,
                num_samples=256,
            )
        seconds[estimator] = result.seconds["evaluation"]
        print(
            f"{estimator}: {result.value:.4g} +- {result.standard_error:.1g}; "
            f"compression {result.seconds.get('compression', 0) / unit:.1f}, "
            f"evaluation {seconds[estimator] / unit:.3g} gradients "
            f"({seconds[estimator]:.3g} s)"
        )
    ratio = seconds["direct_mc"] / seconds["gaussian_moment"]
    print(f"evaluation, direct Monte Carlo / closed form: {ratio:,.0f}")


def main(args):
    solution = make_network(args.width)
    k, dim = 511, 10
    n = size_of(solution.params)
    print(f"n = {n}, k = {k}, {jax.devices()[0].platform}")
    space = time_eigenspace(solution, k, dim)
    if args.solvers:
        time_other_solvers(solution, k, dim)
    time_estimators(solution, k, space)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=5000, help="5000: n = 1,006,110")
    parser.add_argument("--solvers", action="store_true", help="compare others")
    main(parser.parse_args())
