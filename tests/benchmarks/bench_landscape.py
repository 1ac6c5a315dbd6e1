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
import functools
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

from numpyro_pl.landscape import delta2_subspace, top_eigenspace
from numpyro_pl.landscape._loss import mean_hvp


def make_network(width, num_examples=512, num_steps=150):
    """A trained 100-width-100-10 ReLU network on noisy copies of ten sign vectors."""
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
    return loss, jax.block_until_ready(params), data


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


def other_solvers(loss, params, data, k, dim):
    """(name, function) of other eigensolvers on the same products."""
    _, unravel = ravel_pytree(params)
    n = ravel_pytree(params)[0].size
    order = jnp.arange(k)

    def matvec(v):
        product = mean_hvp(loss, params, data, order, k, unravel(v), 128)
        return ravel_pytree(product)[0]

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


def main(args):
    loss, params, data = make_network(args.width)
    k, dim = 511, 10
    n = sum(x.size for x in jax.tree.leaves(params))
    unit = 4 * n
    print(f"n = {n}, k = {k}, {jax.devices()[0].platform}")
    for call in ("first call", "second call"):
        space, seconds, growth = measure(
            lambda: top_eigenspace(loss, params, data, k, dim=dim, key=random.key(0))
        )
        print(
            f"top_eigenspace, {call}: {seconds:.1f} s, {space.num_products} products, "
            f"peak {growth / unit:.1f} x parameters, relative residual "
            f"{float(space.residuals.max() / space.eigenvalues[0]):.1g}"
        )
    if args.solvers:
        partial_loss = jax.tree_util.Partial(loss)
        for name, solve, matvec in other_solvers(partial_loss, params, data, k, dim):
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
    gradient = jax.jit(jax.grad(lambda p: loss(p, data).mean()))
    jax.block_until_ready(gradient(params))
    _, unit_seconds, _ = measure(
        lambda: [jax.block_until_ready(gradient(params)) for _ in range(5)]
    )
    unit_seconds /= 5
    run = functools.partial(
        delta2_subspace,
        loss,
        params,
        data,
        k,
        sigma=1e-3,
        num_samples=256,
        eigenspace=space,
        key=random.key(1),
    )
    seconds = {}
    for estimator in ("direct_mc", "quadratic_mc", "gaussian_moment"):
        # The second call, when everything is compiled.
        result = [run(estimator=estimator) for _ in range(2)][1]
        seconds[estimator] = result.seconds["evaluation"]
        print(
            f"{estimator}: {result.value:.4g} +- {result.standard_error:.1g}; "
            f"compression {result.seconds.get('compression', 0) / unit_seconds:.1f}, "
            f"evaluation {seconds[estimator] / unit_seconds:.3g} gradients "
            f"({seconds[estimator]:.3g} s)"
        )
    ratio = seconds["direct_mc"] / seconds["gaussian_moment"]
    print(f"evaluation, direct Monte Carlo / closed form: {ratio:,.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=5000, help="5000: n = 1,006,110")
    parser.add_argument("--solvers", action="store_true", help="compare others")
    main(parser.parse_args())
