# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Sweeps over temperatures: chains of all of them in one compiled program.

The temperature is a number in the state of a chain. The chains of one temperature are
vectorized, and pool their measurements in warmup, as in `MCMC`; temperatures are a
further axis, so that each has scales of its own. The count of draws has no such axis:
conditions on it stay conditions, where mapped ones would compute both branches at every
draw.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from numpyro_pl.diagnostics.batch_means import averaged, no_sums, with_draw
from numpyro_pl.diagnostics.convergence import MIN_DRAWS
from numpyro_pl.diagnostics.sweep_results import (
    OF_EVERY_SWEEP,
    as_dataset,
    warn_of_temperatures,
)
from numpyro_pl.trees.arithmetic import Tree, leaf_names, row
from numpyro_pl.trees.checks import check_integer, check_positive

__all__ = ["temperature_sweep"]

Metrics = Callable[[Any], Tree] | Mapping[str, Callable[[Any], Tree]] | None


class _Plan(NamedTuple):
    """
    What is run at every temperature.

    - **kernel** - the kernel.
    - **data** - positional and keyword arguments of the model.
    - **values_of** - function from a position to the metrics, a dict by name.
    """

    kernel: Any
    data: tuple[tuple, dict]
    values_of: Callable[[Tree], dict]
    num_warmup: int
    num_samples: int


def temperature_sweep(
    kernel: Any,
    temperatures: Sequence[float],
    rng_key: jax.Array,
    *args: Any,
    num_warmup: int,
    num_samples: int,
    num_chains: int = 4,
    metrics: Metrics = None,
    **kwargs: Any,
) -> Any:
    """
    Sample `exp(-U / T)` at several temperatures, and average metrics at each, such as
    the test error of a network. One compiled program runs all chains; draws are not
    kept.

    At T = 1 the target is the posterior. A paper that uses the mean loss of N examples
    at a temperature t means `T = N * t`.

    :param kernel: a kernel of this package. Its own temperature is not used; every
        group of a partitioned kernel gets the same temperature.
    :param temperatures: positive numbers, each once, in any order.
    :param rng_key: a PRNG key.
    :param args: positional arguments of the model.
    :param int num_warmup: warmup draws of every chain.
    :param int num_samples: draws of every chain after that, at least 4.
    :param int num_chains: chains of each temperature. They pool their measurements in
        warmup among themselves.
    :param metrics: a function of the constrained values of one draw (a dict by site)
        that returns an array or a tree of arrays, or a dict of such functions by name,
        such as :func:`classification_metrics`. It must be traceable by JAX. Evaluated
        at every draw.
    :param kwargs: keyword arguments of the model; `init_params` is for the sampler:
        unconstrained values with a leading axis of chains, the same at each
        temperature.
    :return: an `xarray.Dataset` with the coordinate `temperature`, in the order given.
        For each metric its mean over the draws of all chains, and under its name with
        `_se` the Monte Carlo standard error of that, both of shape (temperature, ...).
        Names are the keys on the way to an array, joined by dots; `metric` for a
        single array. The same for `potential_energy` in nats, and for
        `kinetic_temperature` and `noise_fraction`, with a dimension `group` where a
        kernel has several. Also `divergences`, the number of diverged draws of all
        chains, and `r_hat`, the rank-normalized split R-hat of the potential.
    :raises ValueError: before sampling: for temperatures that are not positive, missing
        or repeated; for metrics that do not return arrays of numbers; for a model, data
        or initial values that cannot be sampled.
    :raises TypeError: for a kernel that is not of this package.

    Zambon, Caruso, Zecchina, Tiana (2026), arXiv:2603.15367, show the test error of
    networks against temperature.
    """
    values = _checked_temperatures(temperatures)
    _check_kernel(kernel)
    check_integer("num_warmup", num_warmup, least=0)
    check_integer("num_samples", num_samples, least=MIN_DRAWS)
    check_integer("num_chains", num_chains)
    of_values = _metrics_function(metrics)
    init_params = kwargs.pop("init_params", None)
    data = args, kwargs
    keys = random.split(rng_key, (len(values), num_chains))
    starts = [
        kernel.init_at(t, key, num_warmup, init_params, data)
        for t, key in zip(values, keys, strict=True)
    ]
    constrain = kernel.get_constrain_fn(*data)

    def values_of(z):
        return of_values(constrain(z))

    jax.eval_shape(values_of, row(starts[0].z, 0))
    plan = _Plan(kernel, data, values_of, num_warmup, num_samples)
    # Not mapped over temperatures: all are at the same draw.
    states = jax.tree.map(lambda *x: jnp.stack(x), *starts)._replace(i=starts[0].i)
    del starts  # As large as the states.
    divergences, energies, sums = jax.jit(lambda s: _run(plan, s))(states)
    averages = {name: averaged(x, num_samples) for name, x in sums.items()}
    found = as_dataset(values, averages, np.asarray(energies), np.asarray(divergences))
    warn_of_temperatures(found, num_samples * num_chains)
    return found


def _run(plan: _Plan, states: Any) -> tuple[jax.Array, jax.Array, dict]:
    """
    All draws of all chains.

    :param states: states with leading axes of temperatures and chains.
    :return: divergences of shape (temperature, chain), potential energies of shape
        (draw, temperature, chain), sums of all that is averaged by name.
    """
    # If the count came out mapped after all, JAX would refuse this.
    axes = type(states)(*[0] * len(states))._replace(i=None)
    step = jax.vmap(lambda s: plan.kernel.sample_silently(s, *plan.data), (axes,), axes)
    num = plan.num_samples

    def draw(number, carry):
        """One loop for warmup and sampling: two would be compiled separately."""
        states, energies, sums = carry
        states = step(states)
        number -= plan.num_warmup

        def kept():
            energy = energies.at[number].set(states.potential_energy)
            return energy, with_draw(sums, _read(plan, states), number, num)

        energies, sums = lax.cond(number >= 0, kept, lambda: (energies, sums))
        return states, energies, sums

    energy = states.potential_energy
    energies = jnp.zeros((num, *energy.shape), energy.dtype)
    shapes = jax.eval_shape(lambda s: _read(plan, s), states)
    carry = states, energies, no_sums(shapes, num, num_axes=2)
    states, energies, sums = lax.fori_loop(0, plan.num_warmup + num, draw, carry)
    return states.num_divergences, energies, sums


def _read(plan: _Plan, states: Any) -> dict[str, jax.Array]:
    """
    What is averaged, at one draw. The temperature of one that diverged may be anything:
    the mean of those before it takes its place.
    """
    # One temperature after the other: activations on a test set need memory.
    values = lax.map(jax.vmap(plan.values_of), states.z)
    fields = {name: getattr(states, name) for name in OF_EVERY_SWEEP}
    kinetic, mean = states.kinetic_temperature, states.mean_kinetic_temperature
    # Mapped over temperatures and chains: a group has no flag of its own.
    kept = jax.vmap(jax.vmap(jnp.where))(states.diverging, mean, kinetic)
    return values | fields | {"kinetic_temperature": kept}


def _checked_temperatures(temperatures: Any) -> list[float]:
    """:raises ValueError: unless these are positive numbers, each once."""
    try:
        given = np.atleast_1d(np.asarray(temperatures)).tolist()
    except ValueError:
        given = []
    if not given or np.ndim(temperatures) > 1:
        raise ValueError(
            "temperatures must be a list of at least one positive number, such as "
            f"[0.1, 1.0, 10.0], got {temperatures!r}."
        )
    values = [check_positive("each temperature", t) for t in given]
    repeated = sorted({t for t in values if values.count(t) > 1})
    if repeated:
        raise ValueError(
            f"temperatures has {', '.join(f'{t:g}' for t in repeated)} more than once: "
            "give each temperature once, and raise num_chains for smaller errors."
        )
    return values


def _check_kernel(kernel: Any) -> None:
    """:raises TypeError: unless its states have a temperature that can be set."""
    if not hasattr(kernel, "init_at"):
        raise TypeError(
            "temperature_sweep needs a kernel of this package, such as "
            f"PseudoLangevin(model), got {kernel!r}. For NUTS, scale the potential by "
            "1 / T and run it once for each temperature."
        )


def _metrics_function(metrics: Any) -> Callable[[Any], dict[str, jax.Array]]:
    """The metrics as one function that returns arrays by name, and checks them."""
    if metrics is None:
        return lambda values: {}
    by_name = isinstance(metrics, Mapping)
    if not all(map(callable, metrics.values() if by_name else [metrics])):
        raise ValueError(
            "metrics must be a function of a dict of constrained values by site, or a "
            f"dict of such functions by name, got {metrics!r}."
        )

    def fn(values):
        found = {k: f(values) for k, f in metrics.items()} if by_name else None
        found = metrics(values) if found is None else found
        names = [name or "metric" for name in leaf_names(found)]
        leaves = jax.tree.leaves(found, is_leaf=lambda leaf: leaf is None)
        if len(leaves) != len(names) or not leaves:
            raise ValueError(
                f"metrics returned {found!r}, where an array is missing: return the "
                "values that are to be averaged."
            )
        pairs = zip(names, leaves, strict=True)
        return _checked_names({name: _as_number(name, leaf) for name, leaf in pairs})

    return fn


def _as_number(name: str, value: Any) -> jax.Array:
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the metric '{name}' is {value!r}: return an array of numbers, or a dict "
            "or tuple of arrays."
        ) from error
    if jnp.iscomplexobj(array) or jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"the metric '{name}' has dtype {array.dtype}: return real numbers."
        )
    return array


def _checked_names(values: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """:raises ValueError: for a name that the sweep itself uses."""
    known = {*OF_EVERY_SWEEP, "divergences", "r_hat", "temperature"}
    taken = sorted(name for name in values if name.removesuffix("_se") in known)
    if taken:
        raise ValueError(
            f"the sweep itself reports {', '.join(taken)}: give the metric another "
            "name."
        )
    return values
