# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
This package's kernels and those of NumPyro, four vectorized chains through `MCMC`.

Warmup and sampling go on in pieces of one size. `MCMC` compiles a program for every
length of a run; in pieces it compiles one, as a user does who asks once for all draws.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from bnn_digits import BATCH, CHAINS, model
from jax import random
from numpyro.infer import HMC, HMCECS, MCMC, NUTS

import numpyro_pl

from . import problem
from .chunks import Chunk

WHOLE_DATA = 1.0


def passes_of_batches(batches: float) -> float:
    """Passes over the data that so many minibatches make."""
    return batches * BATCH / problem.data().x_train.shape[0]


def in_pieces(
    kernel: Any, key, num_warmup: int, piece: int, passes_of: Callable
) -> Iterator[Chunk]:
    """
    Draws of a kernel of NumPyro's, those of the warmup first.

    :param piece: draws at a time; it divides the warmup.
    :param passes_of: passes over the data of a piece, from its extra fields.
    """
    data = problem.data()
    rows = data.x_train, data.y_train
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=piece,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    keys = random.split(key, CHAINS)
    state = kernel.init(keys, num_warmup, None, rows, {})
    fields, passes, made = passes_of.fields, 0.0, 0
    while True:
        mcmc.post_warmup_state = state
        mcmc.run(keys, *rows, extra_fields=fields)
        state, made = mcmc.last_state, made + piece
        passes += passes_of(mcmc.get_extra_fields(), state)
        draws = mcmc.get_samples(group_by_chain=True)
        yield Chunk(draws if made > num_warmup else None, passes)


class LangevinPasses:
    """Passes of a piece of a kernel of this package; draws may become longer."""

    fields = ("i",)

    def __init__(self, piece: int, num_steps: int = 100):
        self.batches = piece * num_steps

    def __call__(self, fields: dict, state: Any) -> float:
        return passes_of_batches(self.batches * int(np.max(state.settling.stretch)))


class TreePasses:
    """
    Passes of a piece of HMC or NUTS, averaged over chains.

    :param rows: share of the data that a gradient reads.
    """

    def __init__(self, rows: float = WHOLE_DATA, steps: str = "num_steps"):
        self.rows, self.fields, self.steps = rows, (steps,), steps

    def __call__(self, fields: dict, state: Any) -> float:
        return float(np.sum(fields[self.steps]) / CHAINS * self.rows)


def pseudo_langevin(key, num_warmup: int) -> Iterator[Chunk]:
    kernel = numpyro_pl.PseudoLangevin(problem.batch_model())
    piece = 10
    return in_pieces(kernel, key, num_warmup, piece, LangevinPasses(piece))


def nuts(key, num_warmup: int, max_tree_depth: int) -> Iterator[Chunk]:
    kernel = NUTS(model, max_tree_depth=max_tree_depth)
    return in_pieces(kernel, key, num_warmup, 5, TreePasses())


def hmc(key, num_warmup: int, trajectory_length: float) -> Iterator[Chunk]:
    kernel = HMC(model, trajectory_length=trajectory_length)
    return in_pieces(kernel, key, num_warmup, 5, TreePasses())
