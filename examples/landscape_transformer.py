# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Loss-landscape stabilization of a small transformer
===================================================

How much does one more text change the loss near a trained solution? A decoder-only
character transformer learns windows of Python's own documentation strings; then the
criteria of arXiv:2604.14870 are computed at the solution: their decay with the number k
of examples, the ratio of the subspace criterion to the full one, and the time of each
estimator.

Run as ``python examples/landscape_transformer.py --output DIRECTORY``.
"""

import argparse
import importlib
import inspect
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random

from numpyro_pl import landscape
from numpyro_pl.plots.landscape import (
    plot_quadratic_validity,
    plot_spectrum,
    plot_stabilization,
)

MODULES = (
    "argparse array ast asyncio calendar collections configparser contextlib csv "
    "dataclasses datetime decimal difflib email enum fractions functools hashlib heapq "
    "html http inspect io itertools json logging math multiprocessing operator os "
    "pathlib pickle pprint random re shutil socket statistics string subprocess "
    "tarfile tempfile textwrap threading tokenize typing unittest urllib.parse uuid "
    "zipfile"
).split()
VOCABULARY = 96  # printable ASCII, and one for anything else


def documentation() -> str:
    """Documentation strings of the standard library's public classes and functions."""
    texts = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for member in (module, *vars(module).values()):
            if inspect.ismodule(member) and member is not module:
                continue
            if inspect.isroutine(member) or inspect.isclass(member) or member is module:
                texts[inspect.getdoc(member) or ""] = None
    return "\n".join(texts)


def windows(num: int, length: int, seed: int = 0) -> np.ndarray:
    """`num` windows of `length + 1` characters that do not overlap, shuffled."""
    codes = np.frombuffer(documentation().encode("ascii", "replace"), np.uint8)
    tokens = np.where((codes >= 32) & (codes < 127), codes - 32, VOCABULARY - 1)
    rows = tokens[: len(tokens) // (length + 1) * (length + 1)].reshape(-1, length + 1)
    if len(rows) < num:
        raise ValueError(f"only {len(rows)} windows of {length + 1} characters.")
    return np.random.default_rng(seed).permutation(rows)[:num].astype(np.int32)


class Block(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    widen: eqx.nn.Linear
    narrow: eqx.nn.Linear

    def __init__(self, width, heads, key):
        k1, k2, k3 = random.split(key, 3)
        self.attention = eqx.nn.MultiheadAttention(heads, width, key=k1)
        self.norms = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)
        self.widen = eqx.nn.Linear(width, 4 * width, key=k2)
        self.narrow = eqx.nn.Linear(4 * width, width, key=k3)

    def __call__(self, x):
        causal = jnp.tril(jnp.ones((len(x), len(x)), bool))
        h = jax.vmap(self.norms[0])(x)
        x = x + self.attention(h, h, h, mask=causal)
        h = jax.nn.gelu(jax.vmap(self.widen)(jax.vmap(self.norms[1])(x)))
        return x + jax.vmap(self.narrow)(h)


class Transformer(eqx.Module):
    tokens: jax.Array
    positions: jax.Array
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm

    def __init__(self, width, heads, depth, length, key):
        k1, k2, k3 = random.split(key, 3)
        self.tokens = 0.1 * random.normal(k1, (VOCABULARY, width))
        self.positions = 0.1 * random.normal(k2, (length, width))
        self.blocks = tuple(Block(width, heads, k) for k in random.split(k3, depth))
        self.norm = eqx.nn.LayerNorm(width)

    def __call__(self, tokens):
        x = self.tokens[tokens] + self.positions
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.norm)(x) @ self.tokens.T


def make_problem(width=32, heads=4, depth=2, length=32, num_examples=768, seed=0):
    """The loss of each window in nats per character, fresh parameters, and data."""
    model = Transformer(width, heads, depth, length, random.key(seed))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def per_example_loss(params, data):
        logits = jax.vmap(eqx.combine(params, static))(data[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, data[:, 1:]
        ).mean(-1)

    return per_example_loss, params, jnp.asarray(windows(num_examples, length, seed))


def train(per_example_loss, params, data, seconds=60.0, max_steps=100_000, seed=1):
    """Adam on minibatches of 64, for the time or the steps given."""
    optimizer = optax.adam(optax.warmup_constant_schedule(0.0, 2e-3, 100))

    @jax.jit
    def steps(params, state, key):
        def step(carry, key):
            params, state = carry
            rows = data[random.randint(key, (64,), 0, len(data))]
            loss, gradient = jax.value_and_grad(
                lambda p: per_example_loss(p, rows).mean()
            )(params)
            update, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, update), state), loss

        (params, state), losses = jax.lax.scan(
            step, (params, state), random.split(key, 50)
        )
        return params, state, losses.mean()

    state, key, start = optimizer.init(params), random.key(seed), time.perf_counter()
    loss = jnp.inf
    for i in range(max_steps // 50):
        params, state, loss = steps(params, state, random.fold_in(key, i))
        if time.perf_counter() - start > seconds:
            break
    return params, float(loss), (i + 1) * 50


def leading(space: landscape.Eigenspace, dim: int) -> landscape.Eigenspace:
    """The first `dim` pairs of an eigenspace."""
    return space._replace(
        eigenvalues=space.eigenvalues[:dim],
        eigenvectors=jax.tree.map(lambda v: v[:dim], space.eigenvectors),
        residuals=space.residuals[:dim],
    )


def ratio_table(solution, space, curve, *, dims, sigmas, budget, rng_key):
    """
    Delta_2^(D) / Delta_2 by (D, sigma), means over k, orderings and next examples. The
    coefficients of `curve` serve every D and sigma; `budget` and `rng_key` are its own.
    """
    table = np.empty((len(dims), len(sigmas)))
    scale = (curve.ks + 1.0) ** 2
    for j, sigma in enumerate(sigmas):
        full = landscape.stabilization_curve(
            solution,
            curve.ks,
            sigma=sigma,
            eigenspace=leading(space, 1),
            budget=budget,
            rng_key=rng_key,
        )
        for i, dim in enumerate(dims):
            a, c, B = curve.a, curve.c[..., :dim], curve.B[..., :dim, :dim]
            closed = landscape.gaussian_moment(a, c, B, sigma).mean(-1)
            table[i, j] = (closed * scale).sum() / (full.delta2 * scale).sum()
    return table


def run_estimators(solution, k, space, sigma, rng_key):
    """The criterion by each estimator, timed after everything is compiled."""
    results = {}
    for estimator in ("direct_mc", "quadratic_mc", "gaussian_moment"):
        for _ in range(2):
            results[estimator] = landscape.delta2_subspace(
                solution,
                k,
                sigma=sigma,
                estimator=estimator,
                num_samples=256,
                eigenspace=space,
                rng_key=rng_key,
            )
    return results


def print_curve(curve):
    print(f"\n{'k':>6} {'Delta_1':>10} {'Delta_2':>10} {'Delta_2^(10)':>12}")
    columns = curve.delta1, curve.delta2, curve.delta2_subspace
    for row in zip(curve.ks, *(c.mean(0) for c in columns), strict=True):
        print("{:6d} {:10.3g} {:10.3g} {:12.3g}".format(*row))
    for name, slope in curve.slopes.items():
        print(f"slope of {name}: {slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}]")


def print_ratios(dims, sigmas, ratios):
    print("\nDelta_2^(D) / Delta_2")
    print(f"{'D':>6}" + "".join(f"{f'sigma={s:g}':>14}" for s in sigmas))
    for dim, row in zip(dims, ratios, strict=True):
        print(f"{dim:6d}" + "".join(f"{r:14.4f}" for r in row))


def print_times(results):
    print(
        f"\n{'estimator':>16} {'value':>10} {'+-':>8} {'compress':>9} {'evaluate':>9}"
    )
    for name, r in results.items():
        compression = r.seconds.get("compression", 0.0)
        print(
            f"{name:>16} {r.value:10.3g} {r.standard_error:8.1g} {compression:8.2f}s "
            f"{r.seconds['evaluation']:8.2g}s"
        )
    speedup = (
        results["direct_mc"].seconds["evaluation"]
        / results["gaussian_moment"].seconds["evaluation"]
    )
    print(f"closed form against direct Monte Carlo: {speedup:,.0f} times faster")


def draw(curve, space, validity, directory):
    """One picture of the three results, as a file in `directory`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    directory.mkdir(parents=True, exist_ok=True)
    _, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    plot_stabilization(curve, axes[0])
    plot_spectrum(space, axes[1])
    plot_quadratic_validity(validity, axes[2])
    path = directory / "landscape_transformer.png"
    plt.savefig(path, dpi=120)
    print(f"picture: {path}")


def main(args):
    loss, params, data = make_problem(num_examples=args.num_examples)
    n = sum(x.size for x in jax.tree.leaves(params))
    params, value, steps = train(loss, params, data, seconds=args.seconds)
    print(f"{n} parameters, {len(data)} texts; loss {value:.3f} after {steps} steps")
    solution = landscape.Solution(loss, params, data)

    k = len(data) // 2
    start = time.perf_counter()
    space = landscape.top_eigenspace(
        solution, k, dim=10, tol=1e-3, rng_key=random.key(2)
    )
    print(
        f"10 eigenpairs at k={k}: {space.num_products} products, "
        f"{time.perf_counter() - start:.1f} s, largest {space.eigenvalues[0]:.3g}, "
        f"residuals up to {space.residuals.max():.1g}"
    )

    settings = {
        "budget": landscape.CurveBudget(num_samples=16, num_orderings=8, num_next=32),
        "rng_key": random.key(3),
    }
    ks = np.unique(np.geomspace(16, k, 8).astype(int)).tolist()
    curve = landscape.stabilization_curve(
        solution, ks, sigma=1e-3, eigenspace=space, **settings
    )
    print_curve(curve)

    dims, sigmas = (1, 2, 5, 10), (1e-4, 1e-3, 3e-3, 1e-2)
    ratios = ratio_table(solution, space, curve, dims=dims, sigmas=sigmas, **settings)
    print_ratios(dims, sigmas, ratios)

    print_times(run_estimators(solution, k, space, 1e-3, random.key(5)))

    validity = landscape.quadratic_validity(
        solution,
        k,
        sigmas=np.geomspace(1e-3, 1, 10),
        eigenspace=space,
        rng_key=random.key(6),
    )
    print(f"closed form to be trusted up to sigma = {validity.trusted_sigma:.3g}")
    draw(curve, space, validity, args.output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("examples/output"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of training")
    parser.add_argument("--num-examples", type=int, default=768)
    main(parser.parse_args())
