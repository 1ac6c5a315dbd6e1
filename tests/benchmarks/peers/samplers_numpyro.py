# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
This package's kernels and those of NumPyro, four chains, through their `init` and
`sample`, as `MCMC` calls them.

Warmup and sampling go on in pieces of one size, so that one program is compiled, as by
a user who asks `MCMC` once for all draws. `MCMC` itself compiles every continued run
anew (numpyro 0.22 with jax 0.10): it wraps the body of its loop in a new `jit`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from bnn_digits import BATCH, CHAINS, SHAPES, model
from jax import lax, random
from numpyro.infer import HMC, HMCECS, NUTS

import numpyro_pl

from . import problem
from .chunks import Chunk

LANGEVIN_PIECE, TREE_PIECE = 10, 5
"""Draws of a chunk, in this package and in NumPyro."""

LANGEVIN_STEPS = 100
"""Gradients of a draw of this package, which the warmup may multiply."""


def in_pieces(
    kernel: Any,
    key,
    num_warmup: int,
    piece: int,
    passes_of: Callable[[Any], Any],
    over_chains: Callable | None = None,
) -> Iterator[Chunk]:
    """
    Draws of a kernel with the interface of NumPyro's, those of the warmup first.

    :param piece: draws at a time; it divides the warmup.
    :param passes_of: passes over the data of a draw, from the state after it.
    :param over_chains: `jax.vmap` or `jax.pmap`, for a kernel that is to sample single
        chains; None for one that samples all of them.
    """
    data = problem.data()
    rows = data.x_train, data.y_train

    def init(keys):
        return kernel.init(keys, num_warmup, None, rows, {})

    def some_draws(state):
        def one(state, _):
            new = kernel.sample(state, rows, {})
            draw = {site: new.z[site] for site in SHAPES}
            return new, (draw, passes_of(new))

        return lax.scan(one, state, None, piece)

    chains_first = over_chains is not None
    if over_chains is None:
        some_draws = jax.jit(some_draws)
    else:
        init, some_draws = over_chains(init), over_chains(some_draws)
        if over_chains is jax.vmap:
            init, some_draws = jax.jit(init), jax.jit(some_draws)
    state, passes, made = init(random.split(key, CHAINS)), 0.0, 0
    while True:
        state, (draws, new_passes) = some_draws(state)
        made += piece
        passes += float(np.sum(new_passes) / CHAINS)
        if not chains_first:
            draws = jax.tree.map(lambda x: x.swapaxes(0, 1), draws)
        yield Chunk(draws if made > num_warmup else None, passes)


def pseudo_langevin(key, num_warmup: int) -> Iterator[Chunk]:
    kernel = numpyro_pl.PseudoLangevin(problem.batch_model())
    share = LANGEVIN_STEPS * BATCH / problem.data().x_train.shape[0]

    def passes(state):
        return share * state.settling.stretch

    return in_pieces(kernel, key, num_warmup, LANGEVIN_PIECE, passes)


def num_steps(state) -> Any:
    return state.num_steps


def over_devices(parallel: bool) -> Callable | None:
    return jax.pmap if parallel else None


def nuts(
    key, num_warmup: int, max_tree_depth: int, parallel: bool = False
) -> Iterator[Chunk]:
    """
    NUTS on all rows.

    :param parallel: whether each chain has a device of its own, as with
        `chain_method="parallel"`.
    """
    kernel = NUTS(model, max_tree_depth=max_tree_depth)
    mapped = over_devices(parallel)
    return in_pieces(kernel, key, num_warmup, TREE_PIECE, num_steps, mapped)


def hmc(
    key, num_warmup: int, trajectory_length: float, parallel: bool = False
) -> Iterator[Chunk]:
    """HMC on all rows; `parallel` as in :func:`nuts`."""
    kernel = HMC(model, trajectory_length=trajectory_length)
    mapped = over_devices(parallel)
    return in_pieces(kernel, key, num_warmup, TREE_PIECE, num_steps, mapped)


def hmcecs(
    key, num_warmup: int, max_tree_depth: int, num_blocks: int
) -> Iterator[Chunk]:
    """
    NUTS on a minibatch, of which a block is drawn anew before each draw, accepted or
    not by the ratio of the likelihoods, without a proxy of the other rows.
    """
    inner = NUTS(problem.batch_model(), max_tree_depth=max_tree_depth)
    kernel = HMCECS(inner, num_blocks=num_blocks)
    share = BATCH / problem.data().x_train.shape[0]

    def passes(state):
        return share * state.hmc_state.num_steps

    return in_pieces(kernel, key, num_warmup, TREE_PIECE, passes, jax.vmap)
