# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A model bound to data of one shape: what a kernel derives from the model's arguments.

Everything here depends on the shapes of the data and never on its values, so that a
second data set of the same shape reuses all of it, compiled functions included.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.util import initialize_model
from numpyro.util import identity

from numpyro_pl._checks import describe_non_finite, inspect_sites
from numpyro_pl._host import is_prng_key, is_traced
from numpyro_pl._memory import after
from numpyro_pl._sizes import is_large
from numpyro_pl.dynamics.integrate import GradientFns, batch_at
from numpyro_pl.minibatch import (
    INDICES_KWARG,
    IndexedModel,
    MinibatchPotential,
    PlateSizes,
)
from numpyro_pl.warm_start import map_search_of

__all__ = ["Binding", "Data", "data_signature"]

Data = tuple[tuple, dict]


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def data_signature(args: tuple, kwargs: dict) -> Any:
    """Hashable description of model arguments: shapes, types, values of non-arrays."""
    leaves, treedef = jax.tree.flatten((args, kwargs))

    def describe(leaf):
        if _is_array(leaf):
            return tuple(leaf.shape), jax.dtypes.canonicalize_dtype(leaf.dtype).name
        try:
            hash(leaf)
        except TypeError:
            return id(leaf)
        return leaf

    return treedef, tuple(describe(leaf) for leaf in leaves)


class Binding:
    """
    :param model: a NumPyro model, or None.
    :param potential_fn: a potential energy of the position alone, or None.
    :param args: positional arguments of the model.
    :param kwargs: keyword arguments of the model.
    :param init_strategy: per-site initialization of NumPyro.
    """

    def __init__(
        self,
        model: Callable | None,
        potential_fn: Callable | None,
        args: tuple,
        kwargs: dict,
        init_strategy: Callable,
    ):
        self.model = model
        self._map_search = map_search_of(init_strategy)
        # The search has a start of its own; what is left to the strategy is the shapes.
        searching = self._map_search is not None
        self._init_strategy = init_to_uniform if searching else init_strategy
        self._compiled: dict[Any, Callable] = {}
        if model is None:
            assert potential_fn is not None
            self.plates = PlateSizes()
            self._potential = lambda z, indices, args, kwargs: potential_fn(z)
            self._minibatch = None
            self.latent = None
            self.skip: tuple[str, ...] = ()
            self.data_size = 1
            self._arrays = True
            return
        self.plates = PlateSizes.of(model, *args, **kwargs)
        sites = inspect_sites(model, self.plates, args, kwargs)
        self.latent = sites.latent
        self.skip = sites.batch_dependent
        self.data_size = sites.data_size
        self._minibatch = MinibatchPotential(model, self.plates)
        self._potential = self._minibatch
        self._arrays = self._can_trace_arrays(args, kwargs)

    def _can_trace_arrays(self, args, kwargs) -> bool:
        """
        Whether the model accepts traced data. Some look at values (`int(group.max())`);
        their data is then kept as the user gave it, a constant of the program.
        """

        def run(arrays, rebuild):
            a, k = rebuild(arrays)
            return self._first_position(jax.random.key(0), (a, k))

        arrays, rebuild = self._split((args, kwargs))
        try:
            jax.eval_shape(lambda xs: run(xs, rebuild), arrays)
        except jax.errors.JAXTypeError:
            return False
        return True

    @staticmethod
    def _split(data: Data):
        """Arrays of the data, and the function that puts them back in place."""
        leaves, treedef = jax.tree.flatten(data)
        where = [i for i, leaf in enumerate(leaves) if _is_array(leaf)]

        def rebuild(arrays):
            new = list(leaves)
            for i, array in zip(where, arrays, strict=True):
                new[i] = array
            return jax.tree.unflatten(treedef, new)

        return [leaves[i] for i in where], rebuild

    def prepare(self, args: tuple, kwargs: dict) -> Data:
        """Model arguments as the potential takes them: NumPy arrays on the device."""
        if not self._arrays:
            return args, kwargs
        return jax.tree.map(
            lambda x: jnp.asarray(x) if _is_array(x) else x, (args, kwargs)
        )

    def compiled(self, name: str, fn: Callable, data: Data) -> Callable:
        """
        `fn(data, *rest)` compiled once for data of this shape: a function of `rest`.

        :param str name: key under which the compiled function is kept.
        """
        if not self._arrays:
            return jax.jit(lambda *rest: fn(data, *rest))
        arrays, rebuild = self._split(data)
        if name not in self._compiled:
            self._compiled[name] = jax.jit(lambda xs, *rest: fn(rebuild(xs), *rest))
        return lambda *rest: self._compiled[name](arrays, *rest)

    def gradient(
        self, data: Data, unpack: Callable = identity, pack: Callable = identity
    ) -> GradientFns:
        """
        Minibatch gradients on the data.

        :param unpack: from the positions given to the gradient to those of the model.
        :param pack: back, of gradients.
        """
        tree_grad = jax.grad(lambda z, rows: self._potential(z, rows, *data))
        grad = lambda z, rows: pack(tree_grad(unpack(z), rows))  # noqa: E731
        if not self.plates:
            return GradientFns(lambda key, num: {}, lambda z, b: grad(z, None), None)
        minibatch = self._minibatch
        assert minibatch is not None

        def halves(z, batch):
            rows = minibatch.halves(batch)
            if is_large(z):
                # One after the other: the activations of one half at a time.
                first = grad(z, batch_at(rows, 0))
                return first, grad(z, after(batch_at(rows, 1), first))
            # Mapped, so that the gradient is compiled once.
            both = jax.vmap(grad, (None, 0))(z, rows)
            return batch_at(both, 0), batch_at(both, 1)

        def mean_of_halves(z, batch):
            return jax.tree.map(lambda a, b: 0.5 * (a + b), *halves(z, batch))

        several = len(self.plates) > 1
        sizes = [p.subsample_size for p in self.plates.values()]
        # With one plate the plain steps use the odd row too, and their noise is smaller
        # by this fraction; with several, every step is the mean of its halves.
        fraction = 1.0 if several else 2 * (sizes[0] // 2) / sizes[0]
        return GradientFns(
            minibatch.draw_indices,
            mean_of_halves if several else grad,
            halves,
            fraction,
            several,
        )

    def potential_energy(self, position, data: Data):
        """Potential on the full data."""
        if self._minibatch is None:
            return self._potential(position, None, *data)
        return self._minibatch.full(position, *data)

    def potential_and_gradient(self, position, data: Data):
        """
        Potential on the full data and its gradient, each chunk differentiated alone:
        the gradient of the sum over chunks would hold the activations of all the data.
        """
        if self._minibatch is None:
            return jax.value_and_grad(self._potential)(position, None, *data)
        return self._minibatch.full_value_and_grad(position, *data)

    def minibatch_potential(self, position, data: Data, rng_key):
        """Unbiased estimate of the potential from one fresh minibatch."""
        if self._minibatch is None or not self.plates:
            return self.potential_energy(position, data)
        indices = self._minibatch.draw_indices(rng_key, 1)
        rows = {name: b[0] for name, b in indices.items()}
        return self._potential(position, rows, *data)

    def constrain_fn(self, data: Data) -> Callable:
        """Function from unconstrained to constrained and deterministic values."""
        if self._minibatch is None:
            return identity
        minibatch = self._minibatch
        return lambda z: minibatch.constrain(z, *data, skip=self.skip)

    def _first_position(self, rng_key, data: Data):
        args, kwargs = data
        assert self.model is not None
        assert self._minibatch is not None
        rows = self._minibatch.first_rows()
        info = initialize_model(
            rng_key,
            IndexedModel(self.model),
            init_strategy=self._init_strategy,
            dynamic_args=True,
            model_args=args,
            model_kwargs={**kwargs, INDICES_KWARG: rows},
        )
        return info.param_info.z

    def initial_position(self, rng_key, data: Data):
        """Unconstrained initial values by the init strategy, a batch for many keys."""
        if self._map_search is not None and self.model is not None:
            return self._map_search(rng_key, self.model, *data)
        fn = lambda data, key: self._first_position(key, data)  # noqa: E731
        name = f"initial_position_{is_prng_key(rng_key)}"
        return self.compiled(name, fn, data)(rng_key)

    def check_position(self, position) -> Any:
        """
        Initial values given by the user, as arrays of a common float type.

        :raises ValueError: for missing, unknown or misshapen sites.
        """
        position = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.result_type(float, x)), position
        )
        if self.latent is None:
            return position
        if not isinstance(position, dict) or set(position) != set(self.latent):
            got = sorted(position) if isinstance(position, dict) else type(position)
            raise ValueError(
                f"init_params must be a dict of unconstrained values for the sites "
                f"{sorted(self.latent)}, got {got}."
            )
        return position

    def check_finite(self, data: Data, potential, grad) -> None:
        """
        Raise unless the potential and its gradient are finite at the initial positions.

        :raises ValueError: names the arguments that hold NaN or infinite values, or the
            sites whose gradient is not finite.
        """
        if is_traced((potential, grad)):
            return
        finite = lambda x: bool(jnp.all(jnp.isfinite(x)))  # noqa: E731
        bad = [k for k, g in _named_leaves(grad) if not finite(g)]
        if finite(potential) and not bad:
            return
        where = describe_non_finite(*data)
        if where is not None:
            raise ValueError(
                f"the data holds NaN or infinite values: {where}. Remove or impute "
                "these rows, or mask them in the model with numpyro.handlers.mask and "
                "put finite values in their place."
            )
        what = "potential energy" if not finite(potential) else "gradient"
        sites = f" (gradient not finite at {', '.join(bad)})" if bad else ""
        raise ValueError(
            f"the {what} is not finite at the initial position{sites}. Start elsewhere "
            "(init_strategy=init_to_median() or init_params), and check that the "
            "observed values lie in the support of their distributions."
        )


def _named_leaves(tree):
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path).strip("[]'\""), leaf) for path, leaf in paths]
