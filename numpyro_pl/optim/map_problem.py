# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Maximum a posteriori (MAP) search on a model's own minibatches, as pure functions of one
start.

NumPyro's `SVI` with an `AutoDelta` guide does the step; this file adds what many starts
need: cheap minibatch indices, a random stream for each start, and starts that fail
independently.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import random
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDelta
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.svi import SVIState
from numpyro.infer.util import (
    initialize_model,
    log_density,
    unconstrain_fn,
)

from numpyro_pl.model.arguments import traced_with
from numpyro_pl.model.handlers import density_model, fix_sites, seeded, trace_of
from numpyro_pl.model.indices import INDICES_KWARG
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import MinibatchPotential
from numpyro_pl.model.sites import check_latent_sites, sites_of
from numpyro_pl.optim.random_scaled_sgdm import fold_in_stream
from numpyro_pl.trees.arithmetic import all_finite, is_large, is_traced

__all__ = ["MAPProblem", "Search", "default_optimizer"]


def default_optimizer(num_steps: int) -> optax.GradientTransformation:
    """
    The default optimizer of :func:`find_map`: Adam, whose steps do not depend on the
    scale of the loss (a potential grows with the data), from 0.1 down to 0 along a
    cosine, so that the last iterate needs no averaging. The memory of the squared
    gradients is short (`b2=0.99`), because the first gradients of a start far from the
    mode are huge and would slow the search for a thousand steps.

    :param int num_steps: length of the search.
    """
    return optax.adam(optax.cosine_decay_schedule(0.1, num_steps), b2=0.99)


class Search(NamedTuple):
    """State of one start."""

    svi_state: Any
    rng_key: jax.Array
    failed_at: jax.Array


class MAPProblem:
    """
    A model and its data as a MAP search: pure functions of one start, to be vectorized
    by the caller. Everything is set up on concrete values, so that it may be
    built inside a traced function.

    :param model: a NumPyro model.
    :param tuple args: positional arguments of the model.
    :param dict kwargs: keyword arguments of the model.
    :param optimizer: an optax or NumPyro optimizer.
    :param init_strategy: where the starts come from, a NumPyro strategy.
    :raises ValueError: if the model has no latent site, or one inside a subsampled
        plate.
    """

    def __init__(self, model, args, kwargs, optimizer, init_strategy=init_to_uniform):
        self.init_strategy = init_strategy
        with _concrete_values():
            sizes = partial(PlateSizes.of, model)
            plates, (args, kwargs) = traced_with(sizes, (args, kwargs))
            self.args, self.kwargs = args, kwargs
            self.potential = MinibatchPotential(model, plates)
            first = self._with_indices(self.potential.first_rows())
            self.model: Callable = density_model(model)
            trace = trace_of(self.model, args, first)
            self.sites = check_latent_sites(sites_of(trace), plates)
            # A kernel keeps `param` sites of the model at their initial values, so
            # the search does too. Those of network modules are replaced by latent ones.
            fixed = {k: v["value"] for k, v in trace.items() if v["type"] == "param"}
            if fixed:
                self.model = fix_sites(self.model, fixed)
            guide = AutoDelta(self.model, init_loc_fn=init_strategy)
            self.svi = SVI(self.model, guide, optimizer, Trace_ELBO())
            state = self.svi.init(random.key(0), *args, **first)
            self._mutable_state = state.mutable_state

    def _with_indices(self, indices):
        return {**self.kwargs, INDICES_KWARG: indices}

    def starts(self, rng_key: jax.Array) -> dict[str, jax.Array]:
        """Unconstrained starting points: one for a key, a batch for a batch of keys."""
        info = initialize_model(
            rng_key,
            self.model,
            init_strategy=self.init_strategy,
            model_args=self.args,
            model_kwargs=self._with_indices(self.potential.first_rows()),
        )
        return info.param_info.z

    def init(self, rng_key: jax.Array, start: dict, stream: jax.Array) -> Search:
        """
        State of one start at its starting point.

        :param rng_key: a PRNG key.
        :param start: an unconstrained point.
        :param stream: an integer, different for each start, for its random scales.
        """
        key_svi, key_rows = random.split(rng_key)
        params = {f"{name}_auto_loc": value for name, value in start.items()}
        optim_state = fold_in_stream(self.svi.optim.init(params), stream)
        return Search(
            SVIState(optim_state, self._mutable_state, key_svi),
            key_rows,
            jnp.full((), -1, jnp.int32),
        )

    def advance(
        self, search: Search, first_step: jax.Array, length: int, num_steps: int
    ) -> tuple[Search, jax.Array]:
        """
        Steps `first_step` to `first_step + length`, but only those below `num_steps`. A
        start whose loss or values stop being finite stays where it was.

        :return: (state, losses of shape (length,)).
        """

        def body(search, x):
            step, indices = x
            new, loss = self.svi.update(
                search.svi_state, *self.args, **self._with_indices(indices)
            )
            finite = all_finite((loss, self.svi.optim.get_params(new.optim_state)))
            active = (search.failed_at < 0) & (step < num_steps)
            new = jax.tree.map(
                lambda n, o: jnp.where(active & finite, n, o), new, search.svi_state
            )
            failed = active & ~finite
            failed_at = jnp.where(failed, step.astype(jnp.int32), search.failed_at)
            loss = jnp.where(active, loss, jnp.nan)
            return search._replace(svi_state=new, failed_at=failed_at), loss

        key_rows = random.fold_in(search.rng_key, first_step)
        indices = self.potential.draw_indices(key_rows, length)
        steps = first_step + jnp.arange(length)
        return jax.lax.scan(body, search, (steps, indices))

    def params(self, search: Search) -> dict[str, jax.Array]:
        """Constrained values of one start."""
        values = self.svi.get_params(search.svi_state)
        return {name: values[f"{name}_auto_loc"] for name in self.sites}

    def unconstrained(self, search: Search) -> dict[str, jax.Array]:
        """The same values in the unconstrained space of NumPyro's kernels."""
        kwargs = self._with_indices(self.potential.first_rows())
        replayed = unconstrain_fn(
            seeded(self.model),
            self.args,
            kwargs,
            self.params(search),
        )
        # A replay is correct even if a support depends on other sites; the optimizer's
        # own values are finite even if a constrained value is rounded to its bound.
        own = self.svi.optim.get_params(search.svi_state.optim_state)
        return {
            name: jnp.where(
                jnp.isfinite(replayed[name]), replayed[name], own[f"{name}_auto_loc"]
            )
            for name in self.sites
        }

    def objective(self, search: Search) -> jax.Array:
        """Negative log joint density on the full data, without Jacobian, in nats."""
        model = seeded(self.model)
        values = self.params(search)
        return self.potential.mean_over_data(
            lambda rows: (
                -log_density(model, self.args, self._with_indices(rows), values)[0]
            ),
            is_large(values),
        )

    def solve(self, rng_key: jax.Array, num_steps: int) -> Search:
        """A whole search from one key, as a pure function for use in traced code."""
        key_start, key_run = random.split(rng_key)
        # The key decides the stream: traced code does not know which start this is.
        stream = random.bits(random.fold_in(key_run, 1))
        search = self.init(key_run, self.starts(key_start), stream)
        return self.advance(search, jnp.int32(0), num_steps, num_steps)[0]


def _concrete_values():
    """
    A context for set-up on concrete values even if the caller is traced. If it is not,
    no context is used, because operations compiled inside one are not shared with those
    outside.
    """
    if is_traced(jnp.zeros(())):
        return jax.ensure_compile_time_eval()
    return nullcontext()
