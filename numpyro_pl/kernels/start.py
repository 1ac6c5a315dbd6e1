# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Where a chain starts: initial values, and the checks made there."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.kernels.binding import Binding
from numpyro_pl.kernels.run import Run
from numpyro_pl.kernels.state import LangevinState, first_state
from numpyro_pl.model.potential import Data, MinibatchPotential
from numpyro_pl.model.sites import describe_non_finite
from numpyro_pl.optim.init_to_map import map_search_of
from numpyro_pl.trees.arithmetic import Tree, all_finite, is_traced, leaf_names
from numpyro_pl.trees.random_bits import fold_in, is_single_key, split
from numpyro_pl.warmup.frame import first_frame
from numpyro_pl.warmup.start import heat_at_start, nearer_start

__all__ = [
    "Start",
    "check_finite",
    "given_position",
    "initial_position",
    "two_keys",
]


@jax.jit
def two_keys(rng_key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """
    Two keys from one, or two batches of keys from one batch.

    :param rng_key: a PRNG key, or a batch of them.
    """
    if is_single_key(rng_key):
        first, second = split(rng_key)
        return first, second
    keys = jax.vmap(split)(rng_key)
    return keys[:, 0], keys[:, 1]


def initial_position(
    rng_key: jax.Array,
    model: Callable | None,
    binding: Binding,
    data: Data,
    init_strategy: Callable,
) -> Tree:
    """
    Unconstrained initial values from a NumPyro strategy; a batch of them for a batch of
    keys.

    :raises ValueError: if there is no model to start from.
    """
    search = map_search_of(init_strategy)
    if search is not None and model is not None:
        return search(rng_key, model, *data)

    def first_position(data, key):
        return binding.potential.first_position(key, data, init_strategy)

    name = f"initial_position_{is_single_key(rng_key)}"
    return binding.programs.compiled(name, first_position, data)(rng_key)


def _arrived(run: Run, rng_key: jax.Array, z: Tree) -> tuple[Tree, jax.Array, Tree]:
    """
    Where a chain starts, the potential and its gradient there. If there is a warmup,
    the chain may start nearer to zero than it was told.

    :param Run run: what a draw depends on.
    :param rng_key: a PRNG key.
    :param z: the start.
    """
    potential = run.binding.potential

    def value_and_grad(z):
        return potential.full_value_and_grad(z, *run.data)

    if run.schedule.num_warmup == 0:
        return z, *value_and_grad(z)
    cheap = partial(run.potential_at_start, fold_in(rng_key, 2))
    return nearer_start(cheap, value_and_grad, z, _highest_temperature(run))


class Start(NamedTuple):
    """
    The program that prepares a chain.

    - **binding** - the target.
    - **run_of** - function (data, position) -> what a draw depends on.
    - **warming** - whether there is a warmup. A chain without one starts where it is
      told, one with a warmup may not.
    - **strategy** - an `init_to_uniform` strategy, by which the program draws the
      start: once, so that it need not compile a gradient to look for a better one. None
      where the start is given.
    """

    binding: Binding
    run_of: Callable[[Data, Tree], Run]
    warming: bool
    strategy: Callable | None = None

    def __call__(self, data: Data, rng_key: jax.Array, *rest: Any):
        """:meth:`one` as a compiled program, for one key or for a batch of chains."""
        single = is_single_key(rng_key)
        name = f"init {single} {self.warming} {self.strategy is None}"
        program = self.one if single else self.many
        return self.binding.programs.compiled(name, program, data)(rng_key, *rest)

    def one(
        self, data: Data, rng_key, origin: Any, anchor, temperature
    ) -> tuple[LangevinState, tuple]:
        """
        A chain before its first draw.

        :param Data data: the data.
        :param rng_key: a PRNG key.
        :param origin: the start, or a PRNG key for it.
        :param anchor: the anchor that the user has given, if any.
        :param temperature: temperature of all groups; None for the kernel's own.
        :return: its state, and whether the potential and each array of its gradient
            are finite.
        """

        def run_at(z):
            run = self.run_of(data, z)
            return run if temperature is None else run.at_temperature(temperature)

        if self.strategy is None:
            run = run_at(origin)
            arrival = _arrived(run, rng_key, origin)
        else:
            potential = self.binding.potential
            assert isinstance(potential, MinibatchPotential)
            starts = potential.uniform_starts(data, self.strategy)
            run = run_at(starts.shapes)
            arrival = _arrived(run, rng_key, starts.draw(origin)[1])
        state = _prepared(run, rng_key, arrival, anchor)
        # Looked at here, not one array after the other: each would be a program.
        return state, jax.tree.map(all_finite, arrival[1:])

    def many(self, data: Data, rng_keys, origins: Any, *rest):
        """:meth:`one` for a batch of chains."""

        def one(rng_key, origin):
            return self.one(data, rng_key, origin, *rest)

        return jax.vmap(one)(rng_keys, origins)


def _prepared(
    run: Run,
    rng_key: jax.Array,
    arrival: tuple[Tree, jax.Array, Tree],
    anchor: Tree | None = None,
) -> LangevinState:
    """
    The state of a chain before its first draw.

    :param Run run: what a draw depends on.
    :param rng_key: a PRNG key.
    :param arrival: the start, the potential and its gradient there, see
        :func:`_arrived`.
    :param anchor: the anchor that the user has given, if any.
    """
    z, energy, slope = arrival
    heat = heat_at_start(
        fold_in(rng_key, 1),
        run.gradient(),
        run.layout.pack(z),
        run.layout.pack(slope),
        _highest_temperature(run),
    )
    frame: Any = ()
    if run.framing is not None:
        center = run.layout.pack(z if anchor is None else anchor)
        value, curvature = (energy, run.layout.pack(slope)), None
        if anchor is not None:
            value = run.full_value_and_grad(center)
            curvature = run.full_hessian(center) if run.is_white else None
        friction = getattr(run.dynamics.members[0], "friction")  # noqa: B009
        frame = first_frame(run.framing, center, value, curvature, friction)
    return first_state(run, rng_key, z, energy, heat, frame)


def _highest_temperature(run: Run) -> jax.Array:
    return jnp.max(jnp.asarray(run.dynamics.temperature))


def given_position(position: Any, binding: Binding) -> Tree:
    """
    Initial values that the user gave, as arrays of a common float type.

    :raises ValueError: for missing or unknown sites.
    """
    position = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.result_type(float, x)), position
    )
    latent = binding.sites.latent
    if latent is None:
        return position
    if not isinstance(position, dict) or set(position) != set(latent):
        got = sorted(position) if isinstance(position, dict) else type(position)
        raise ValueError(
            "init_params must be a dict of unconstrained values for the sites "
            f"{sorted(latent)}, got {got}."
        )
    return position


def check_finite(data: Data, potential_energy: jax.Array, gradient: Tree) -> None:
    """
    Check the potential and its gradient at the initial positions.

    :param Data data: the data.
    :param potential_energy: whether the potential is finite, for one or more chains.
    :param gradient: the same for each leaf of its gradient.
    :raises ValueError: names the arguments that hold NaN or infinite values, or the
        sites whose gradient is not finite.
    """
    if is_traced((potential_energy, gradient)):
        return
    named = zip(leaf_names(gradient), jax.tree.leaves(gradient), strict=True)
    bad = [name for name, leaf in named if not np.all(leaf)]
    if np.all(potential_energy) and not bad:
        return
    where = describe_non_finite(*data)
    if where is not None:
        raise ValueError(
            f"the data holds NaN or infinite values: {where}. Remove or impute "
            "these rows, or mask them in the model with numpyro.handlers.mask and "
            "put finite values in their place."
        )
    what = "gradient" if np.all(potential_energy) else "potential energy"
    sites = f" (gradient not finite at {', '.join(bad)})" if bad else ""
    raise ValueError(
        f"the {what} is not finite at the initial position{sites}. Start elsewhere "
        "(init_strategy=init_to_median() or init_params), and check that the "
        "observed values lie in the support of their distributions."
    )
