# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Nutpie's NUTS on the log density in JAX, called from a thread for each chain."""

import itertools
import queue
from collections import defaultdict
from collections.abc import Iterator

import jax
import numpy as np
import nutpie
from bnn_digits import CHAINS
from jax.flatten_util import ravel_pytree
from nutpie.compiled_pyfunc import from_pyfunc

from . import problem
from .chunks import Chunk

DRAWS = 5
"""Draws of a chunk."""

MOST_DRAWS = 100_000


def nuts(key, tune: int, max_depth: int) -> Iterator[Chunk]:
    """
    Draws are taken from nutpie where it transforms them, as they are made.

    :param tune: draws of its warmup, which are not used.
    :param max_depth: most doublings of a trajectory.
    """
    data = problem.data()
    starts = problem.starts(key, CHAINS)
    flat, unravel = ravel_pytree({site: values[0] for site, values in starts.items()})
    first = [
        ravel_pytree(jax.tree.map(lambda w, i=i: w[i], starts))[0]
        for i in range(CHAINS)
    ]
    next_first = itertools.cycle(np.asarray(first, float)).__next__
    gradient = jax.jit(
        jax.value_and_grad(
            lambda w: problem.log_density(unravel(w), data.x_train, data.y_train)
        )
    )
    jax.block_until_ready(gradient(flat))
    evaluations, made = itertools.count(), queue.SimpleQueue()
    threads = itertools.count()

    def log_density(weights):
        next(evaluations)
        value, slope = gradient(weights.astype(np.float32))
        return float(value), np.asarray(slope, float)

    def expander(seed1, seed2, chain):
        # Nutpie says that every chain is number 0; each has a function of its own.
        chain = next(threads)

        def expand(weights):
            made.put((chain, np.asarray(weights, np.float32)))
            return {"first_weight": np.asarray(weights[:1])}

        return expand

    model = from_pyfunc(
        flat.size,
        lambda: log_density,
        expander,
        [np.dtype(float)],
        [(1,)],
        ["first_weight"],
        make_initial_point_fn=lambda seed: next_first(),
    )
    sampler = nutpie.sample(
        model,
        draws=MOST_DRAWS,
        tune=tune,
        chains=CHAINS,
        cores=CHAINS,
        seed=int(jax.random.bits(key)) >> 1,
        save_warmup=False,
        progress_bar=False,
        blocking=False,
        maxdepth=max_depth,
    )
    try:
        yield from _chunks(made, evaluations, tune, unravel)
    finally:
        sampler.abort()


def _chunks(made, evaluations, tune: int, unravel) -> Iterator[Chunk]:
    """Chunks of draws of all chains from a queue of pairs (chain, weights)."""
    number: dict[int, int] = defaultdict(int)
    kept: dict[int, list] = defaultdict(list)
    while True:
        chain, weights = made.get()
        number[chain] += 1
        if number[chain] > tune:
            kept[chain].append(weights)
        if len(kept) == CHAINS and min(map(len, kept.values())) >= DRAWS:
            draws = np.stack([of_chain[:DRAWS] for of_chain in kept.values()])
            for of_chain in kept.values():
                del of_chain[:DRAWS]
            passes = next(evaluations) / CHAINS
            yield Chunk(jax.vmap(jax.vmap(unravel))(draws), passes)
