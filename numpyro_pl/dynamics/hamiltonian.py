# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A trajectory without friction, with a Metropolis test at its end: Hamiltonian Monte
Carlo (Duane, Kennedy, Pendleton, Roweth 1987), for few coordinates of a potential that
is known exactly.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax, random

from numpyro_pl.trees.random_bits import normals, split

__all__ = ["hamiltonian_move"]


def hamiltonian_move(
    rng_key: jax.Array,
    energy: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    rates: jax.Array,
    num_steps: int,
) -> tuple[jax.Array, jax.Array]:
    """
    Where a trajectory from `start` ends, or `start` if it is not accepted.

    :param rng_key: a PRNG key.
    :param energy: function of the coordinates: the potential over the temperature.
    :param start: coordinates, shape (n,).
    :param rates: variance of the displacement of each in a step, shape (n,).
    :param int num_steps: number of leapfrog steps, of one gradient each and one more.
    :return: (coordinates, error of the total energy, infinite if it is not finite).
    """
    key_momentum, key_test = split(rng_key)
    thermal = normals(key_momentum, start.size, start.dtype)
    displacement = jnp.sqrt(rates) * thermal
    value_and_grad = jax.value_and_grad(energy)

    # One gradient in the program: the first and the last kick are half as long.
    def step(t, carry):
        x, u, first, _ = carry
        value, gradient = value_and_grad(x)
        at_end = t == num_steps
        kick = jnp.where((t == 0) | at_end, 0.5, 1.0)
        u -= kick * rates * gradient
        return x + jnp.where(at_end, 0.0, u), u, jnp.where(t == 0, value, first), value

    zero = jnp.zeros((), start.dtype)
    carry = start, displacement, zero, zero
    end, after, first, last = lax.fori_loop(0, num_steps + 1, step, carry)
    kinetic = jnp.sum((jnp.square(after) - jnp.square(displacement)) / (2 * rates))
    error = last - first + kinetic
    error = jnp.where(jnp.isfinite(error), error, jnp.inf)
    accepted = -jnp.log(random.uniform(key_test, minval=1e-30)) > error
    return jnp.where(accepted, end, start), error
