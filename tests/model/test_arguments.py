# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Compiled functions of a model's arguments hold no data, and confuse none."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from shared_models import PLAIN, linear_model

from numpyro_pl import PseudoLangevin
from numpyro_pl.model.arguments import ArgumentPrograms, data_signature


class Unhashable:
    """Equal to all of its kind, and without a hash."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, Unhashable)


def signature(*args, **kwargs):
    return data_signature((args, kwargs))


def test_arrays_count_by_shape_and_type():
    assert signature(np.zeros(3)) == signature(np.ones(3))
    assert signature(np.zeros(3)) != signature(np.zeros(4))
    assert signature(np.zeros(3)) != signature(np.zeros(3, int))
    assert signature(np.zeros(3)) != signature(x=np.zeros(3))


@pytest.mark.parametrize(("a", "b"), [(1, True), (1, 1.0), (0, False), (None, 0)])
def test_equal_values_of_other_types_are_told_apart(a, b):
    assert signature(a) != signature(b)
    assert signature(a) == signature(a)


def test_objects_without_a_hash_are_told_apart_by_identity():
    """
    The key holds the object: a number made of its address could come to belong to
    another object, once the first is gone.
    """
    one, other = Unhashable(), Unhashable()
    key = signature(one)
    assert key == signature(one)
    assert hash(key) == hash(signature(one))
    assert key != signature(other)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is not None
    assert all(key != signature(Unhashable()) for _ in range(100))


def test_programs_are_compiled_once_and_take_the_data_given():
    programs = ArgumentPrograms()
    traces = []

    def fn(data, scale):
        traces.append(1)
        (x,), kwargs = data
        return scale * jnp.sum(x) + kwargs["shift"]

    def call(x, shift=1.0):
        data = programs.prepare((x,), {"shift": shift})
        return float(programs.compiled("fn", fn, data)(2.0))

    assert call(np.ones(3)) == 7.0
    assert call(np.full(3, 2.0)) == 13.0
    assert len(traces) == 1


def test_the_first_data_set_is_let_go(regression):
    """After a second run nothing holds the arrays of the first but who made them."""
    kernel = PseudoLangevin(linear_model, num_steps=1, **PLAIN)
    mcmc = MCMC(
        kernel, num_warmup=1, num_samples=1, progress_bar=False, jit_model_args=True
    )
    x, y = (jnp.array(a) for a in regression)
    first = weakref.ref(x)
    mcmc.run(jax.random.key(0), x, y)
    del x
    mcmc.run(jax.random.key(0), regression[0] + 1.0, y)
    gc.collect()
    assert first() is None
    assert len(kernel._bindings) == 1
