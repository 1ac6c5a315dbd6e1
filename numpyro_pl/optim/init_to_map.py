# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A NumPyro initialization strategy that starts each chain at a maximum a posteriori (MAP)
value of its own.
"""

from collections.abc import Callable
from functools import partial

import jax
from numpyro.infer.initialization import init_to_uniform

from numpyro_pl.model.handlers import outside_model
from numpyro_pl.optim.map_problem import MAPProblem, default_optimizer
from numpyro_pl.trees.checks import check_integer
from numpyro_pl.trees.random_bits import is_single_key

__all__ = ["MAPSearch", "init_to_map", "map_search_of"]


class MAPSearch:
    """
    The search behind :func:`init_to_map`. A kernel that knows its model runs the whole
    search at once, `search(rng_key, model, args, kwargs)`; NumPyro's own kernels ask
    for one site at a time.

    :param model: a NumPyro model, or None if the kernel supplies it.
    :param tuple args: positional arguments of the model.
    :param dict kwargs: keyword arguments of the model.
    """

    def __init__(self, model, args, kwargs, num_steps, optimizer, init_strategy):
        self.model, self.args, self.kwargs = model, args, kwargs
        self.num_steps = num_steps
        self.optimizer = optimizer
        self.init_strategy = init_strategy
        self._reset()

    def _reset(self):
        self._solve: Callable | None = None
        self._pending: dict[str, jax.Array] = {}
        self._first: str | None = None

    def __getstate__(self):
        state = self.__dict__.copy()
        for name in ("_solve", "_pending", "_first"):
            del state[name]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._reset()

    def problem(self, model: Callable, args: tuple, kwargs: dict) -> MAPProblem:
        """The search set up for a model and its data."""
        optimizer = self.optimizer
        if optimizer is None:
            optimizer = default_optimizer(self.num_steps)
        return MAPProblem(model, args, kwargs, optimizer, self.init_strategy)

    def __call__(
        self, rng_key: jax.Array, model: Callable, args: tuple, kwargs: dict
    ) -> dict[str, jax.Array]:
        """
        Unconstrained MAP values for one chain, or one set per key for a batch of keys.

        :param rng_key: a PRNG key or a batch of them, traced or not.
        :return: dict of arrays by site, with the batch axis of the keys if any.
        """
        problem = self.problem(model, args, kwargs)

        def solve(key):
            return problem.unconstrained(problem.solve(key, self.num_steps))

        if not is_single_key(rng_key):
            solve = jax.vmap(solve)
        return jax.jit(solve)(rng_key)

    def site_value(self, site: dict) -> jax.Array:
        """Constrained value for one site of a model that is being run."""
        if self.model is None:
            raise ValueError(
                "init_to_map() without a model works only with the kernels of "
                "numpyro_pl. With other kernels pass the model and its data: "
                "init_to_map(model, *args, **kwargs)."
            )
        name = site["name"]
        # A strategy sees one site at a time, but all sites of a chain must come from
        # one search: the first site of each run of the model starts it.
        if name == self._first or name not in self._pending:
            self._first = name
            # The kernel's model is running: its handlers must not see the search.
            with outside_model():
                self._pending = self._solve_params(site["kwargs"]["rng_key"])
        if name not in self._pending:
            raise ValueError(
                f"init_to_map was given a model without the latent site '{name}'. Pass "
                "the model of the kernel, or one with the same latent sites."
            )
        return self._pending.pop(name)

    def _solve_params(self, rng_key: jax.Array) -> dict[str, jax.Array]:
        if self._solve is None:
            assert self.model is not None
            problem = self.problem(self.model, self.args, self.kwargs)
            self._solve = jax.jit(
                lambda key: problem.params(problem.solve(key, self.num_steps))
            )
        return dict(self._solve(rng_key))


def _init_to_map(site=None, search: MAPSearch | None = None):
    if site is None:
        return partial(_init_to_map, search=search)
    if site["type"] == "sample" and not site["is_observed"]:
        assert search is not None
        return search.site_value(site)


def init_to_map(
    model: Callable | None = None,
    *args,
    num_steps: int = 2000,
    optimizer=None,
    init_strategy: Callable = init_to_uniform,
    **kwargs,
) -> partial:
    """
    An `init_strategy` that starts each chain at a MAP value of its own, found by the
    search of :func:`find_map` from the chain's own key. It works with sequential,
    parallel and vectorized chains.

    The kernels of this package supply their model and data::

        kernel = PseudoLangevin(model, init_strategy=init_to_map())

    NumPyro's own kernels show a strategy one site at a time, never the model, so you
    must pass the model. It may subsample even if the kernel's model does not::

        kernel = NUTS(full_model, init_strategy=init_to_map(model, x, y))

    In this case the search runs twice for each chain, because NumPyro runs the model
    once more to learn its shapes; :func:`find_map` with `init_params` avoids that.

    :param model: a NumPyro model with the latent sites of the kernel's; None if the
        kernel supplies it.
    :param args: positional arguments of the model.
    :param int num_steps: steps of the search.
    :param optimizer: an optax or NumPyro optimizer, as in :func:`find_map`.
    :param init_strategy: where the search starts, one of NumPyro's strategies.
    :param kwargs: keyword arguments of the model.
    :return: a NumPyro initialization strategy.
    :raises ValueError: if `num_steps` is below 1.
    """
    check_integer("num_steps", num_steps)
    search = MAPSearch(model, args, kwargs, num_steps, optimizer, init_strategy)
    return partial(_init_to_map, search=search)


def map_search_of(init_strategy: Callable) -> MAPSearch | None:
    """
    The search of an :func:`init_to_map` strategy, None for any other strategy. Kernels
    can run this search on the model and data of the run.
    """
    if isinstance(init_strategy, partial) and init_strategy.func is _init_to_map:
        return init_strategy.keywords["search"]
    return None
