# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Orders of computation change no value, whatever they are computed after."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_pl.trees.ordering import computed_after, not_hoisted, updated_if


@pytest.mark.parametrize("first", [1.0, np.nan, np.inf, -np.inf])
def test_orders_change_no_value(first):
    """Whole numbers too, which cannot hold a NaN: they are the rows of minibatches."""
    tree = {"a": jnp.array([0.0, -1.5, jnp.inf]), "b": jnp.arange(2)}
    earlier = (jnp.full((2, 2), first), jnp.zeros(1))
    ordered = jax.jit(computed_after)(tree, earlier)
    for result in (ordered, jax.jit(not_hoisted)(tree, earlier)):
        jax.tree.map(np.testing.assert_array_equal, result, tree)
        assert result["b"].dtype == tree["b"].dtype


def test_the_order_survives_the_compiler():
    """The zero that is added is still computed from the value that comes first."""
    program = jax.jit(lambda x, y: computed_after(x, y)).lower(jnp.ones(3), jnp.ones(2))
    assert "is-finite" in program.compile().as_text()


@pytest.mark.parametrize("condition", [False, True])
def test_updated_if(condition):
    change = jax.jit(lambda c, x: updated_if(c, lambda x: 2 * x, x))
    assert change(jnp.asarray(condition), jnp.ones(())) == 1 + condition
