# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Orders of computation change no value, whatever they are computed after."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

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


def loops_within(text):
    """Names of the loops directly within each computation of a compiled program."""
    found, name = {}, ""
    for line in text.splitlines():
        start = re.match(r"(?:ENTRY )?%?([\w.-]+) .*\{$", line)
        if start:
            name = start[1]
        elif " while(" in line:
            body = re.search(r"body=%?([\w.-]+)", line)
            found.setdefault(name, []).append(body[1])
    return found


def test_what_is_not_due_is_not_computed():
    """
    A long loop over what an update leaves as it is. XLA moves it out of a plain loop of
    one pass or none, and it runs at every pass of the loop around that.
    """

    def change(tree):
        x, y = tree
        tied = not_hoisted(x, y)
        return x, y + lax.fori_loop(0, 50, lambda i, v: jnp.tanh(tied @ v), tied[0])

    def run(events, tree):
        def body(i, tree):
            x, y = tree
            tree = 0.99 * x, 0.9 * y
            return updated_if(jnp.any(i == events), change, tree)

        return lax.fori_loop(0, 100, body, tree)

    tree = jnp.ones((30, 30)), jnp.ones(30)
    program = jax.jit(run).lower(jnp.array([3, 7]), tree).compile()
    loops = loops_within(program.as_text())
    (outer,) = (found for name, found in loops.items() if "main" in name)
    for _ in range(2):
        assert len(outer) == 1
        outer = loops[outer[0]]
    assert len(outer) == 1
