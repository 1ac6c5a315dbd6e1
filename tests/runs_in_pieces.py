# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A run that stops and goes on, beside one that does not.

With a progress bar NumPyro's `MCMC` compiles one draw, not a loop, and uses it again in
every further run of the same object, if as many draws are kept. So the runs here have
one program.
"""

import pickle
from typing import Any, NamedTuple

import jax
import numpy as np
from numpyro.infer import MCMC

NUM_DRAWS, NUM_CHAINS = 16, 2
"""Draws of the warmup and of each half, and vectorized chains."""


class Pieces(NamedTuple):
    """
    - **mcmc** - the object of all runs, with the draws of the last one.
    - **data** - the arguments of the model.
    - **site** - whose draws these are:
    - **warm** - the state at the end of the warmup.
    - **middle** - the state at the end of the first half.
    - **halves** - draws in two runs, shape (chain, draw, ...).
    - **every_second** - every second one of the draws in one run, the last one.
    """

    mcmc: MCMC
    data: tuple
    site: str
    warm: Any
    middle: Any
    halves: np.ndarray
    every_second: np.ndarray


def in_pieces(kernel, data, site, fields=()) -> Pieces:
    """
    Two runs and one of twice as many draws, after the same warmup.

    :param kernel: one of a few steps a draw. Over many, chains of the same random
        numbers come together, and whatever a state lacked would be forgotten.
    :param data: positional arguments of the model.
    :param str site: whose draws are returned.
    :param fields: what is collected besides.
    """

    def going_on(state):
        return draws_from(mcmc, state, data, site, fields)

    mcmc = MCMC(
        kernel,
        num_warmup=NUM_DRAWS,
        num_samples=NUM_DRAWS,
        num_chains=NUM_CHAINS,
        chain_method="vectorized",
    )
    mcmc.progress_bar = True  # NumPyro switches it off where tests run in parallel
    mcmc.warmup(jax.random.key(0), *data, collect_warmup=True, extra_fields=fields)
    warm = mcmc.last_state
    first, middle = going_on(warm), mcmc.last_state
    second = going_on(middle)
    mcmc.num_samples, mcmc.thinning = 2 * NUM_DRAWS, 2
    whole = going_on(warm)
    mcmc.num_samples, mcmc.thinning = NUM_DRAWS, 1
    halves = np.concatenate([first, second], axis=1)
    return Pieces(mcmc, data, site, warm, middle, halves, whole)


def draws_from(mcmc, state, data, site, fields=()) -> np.ndarray:
    """Draws of a run that starts at a state."""
    mcmc.post_warmup_state = state
    mcmc.run(state.rng_key, *data, extra_fields=fields)
    return np.asarray(mcmc.get_samples(group_by_chain=True)[site])


def check_resumed(pieces: Pieces) -> None:
    """
    A run that goes on is that without a stop, bit for bit, and the same after pickling.

    An unpickled kernel has its programs compiled anew, and XLA does not always compile
    one program twice alike: once in many runs of all tests a twelfth of the draws
    differed in the last bit.
    """
    np.testing.assert_array_equal(pieces.halves[:, 1::2], pieces.every_second)
    assert (np.diff(pieces.halves, axis=1) != 0).any(1).all()
    again = pickle.loads(pickle.dumps(pieces.mcmc))
    second = draws_from(again, pieces.middle, pieces.data, pieces.site)
    expected = pieces.halves[:, NUM_DRAWS:]
    np.testing.assert_allclose(second, expected, rtol=1e-5, atol=1e-6)
