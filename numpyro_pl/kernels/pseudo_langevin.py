# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The pseudo-Langevin kernel."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.pseudo_langevin import PseudoLangevinDynamics
from numpyro_pl.kernels.base import LangevinKernel
from numpyro_pl.kernels.framing import (
    anchor_values,
    check_has_terms,
    is_tall,
    mixed_coordinates,
)
from numpyro_pl.kernels.settings import PseudoLangevinSettings, settings_of
from numpyro_pl.optim.init_to_map import init_to_map, map_search_of
from numpyro_pl.trees.arithmetic import SMALL, size_of
from numpyro_pl.trees.checks import check_positive
from numpyro_pl.trees.random_bits import is_single_key
from numpyro_pl.warmup.frame import FrameSettings
from numpyro_pl.warmup.settling import FIRST_FRICTION

__all__ = ["PseudoLangevin"]

logger = logging.getLogger("numpyro_pl")

DEFAULT_FRICTION = 0.01
"""Friction per step where the warmup does not set it."""

BALANCED_NOISE, UNBALANCED_NOISE = 0.2, 0.05
"""Default noise fraction with and without friction from the examples."""


class PseudoLangevin(LangevinKernel):
    """
    Minibatch Langevin dynamics whose minibatch noise is a measured share of the
    thermostat's noise (pseudo-Langevin, arXiv:2603.15367). There is no step size to
    tune: warmup measures the noise and the curvature and sets a mass for every
    coordinate. There is no Metropolis test; the kinetic temperature shows whether the
    chain samples correctly.

    Minibatches come from the model's own `plate(..., subsample_size=B)`. A model
    without one is sampled by full-batch Langevin dynamics with the same kernel.

    :param model: a NumPyro model.
    :param potential_fn: instead of a model, the potential energy (full batch) as a
        function of the position, any tree of arrays; `init_params` must then be given
        to `MCMC.run`.
    :param int num_steps: integrator steps, of one gradient each, per draw. Default: one
        pass over the data, `ceil(N / B)`, but from 100 to 500; 10 where no plate is
        subsampled. The warmup makes draws up to 20 times longer, but not longer than
        2,000 steps (500 from 20,000 coordinates), where chains mix slowly, and shorter
        where they move faster (see `dense_mass`).
    :param float noise_fraction: share of the thermostat's noise that the minibatches
        may supply, in (0, 1]. Smaller is more accurate and slower: the chain forgets
        its past in about `1 / (2 * noise_fraction)` passes over the data. Default: 0.2
        where friction from the examples balances the noise (see `example_friction`),
        else 0.05.
    :param float friction: friction per step, dimensionless; a step keeps
        `exp(-friction)` of the momentum. Default: 0.01, but set by the warmup where
        coordinates are whitened (see `dense_mass`) or no plate is subsampled.
    :param float temperature: temperature T of the target `exp(-U / T)`; 1 is the
        posterior.
    :param float max_frequency: bound on the frequency of every mode, in radians per
        step, below 2. Larger is faster where curvature limits the masses, and less
        accurate on targets far from Gaussian.
    :param settings: further settings, see
        :class:`~numpyro_pl.kernels.settings.PseudoLangevinSettings`: `control_variate`,
        `dense_mass`, `full_potential`, `example_friction`, `increments`,
        `init_strategy`, `variance_rate`, `collect`, `warn`.
    :raises ValueError: if a setting is out of range, or neither or both of
        `model` and `potential_fn` are given.
    :raises TypeError: for an unknown setting.

    **Example**

    .. doctest::

        >>> import jax
        >>> import jax.numpy as jnp
        >>> import numpyro
        >>> import numpyro.distributions as dist
        >>> from numpyro.infer import MCMC
        >>> from numpyro_pl import PseudoLangevin

        >>> def model(x, y):
        ...     w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
        ...     with numpyro.plate("data", x.shape[0], subsample_size=50):
        ...         xb = numpyro.subsample(x, event_dim=1)
        ...         yb = numpyro.subsample(y, event_dim=0)
        ...         numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)

        >>> x = jax.random.normal(jax.random.key(0), (1000, 3))
        >>> y = x @ jnp.array([1.0, 0.0, -1.0])
        >>> kernel = PseudoLangevin(model)
        >>> mcmc = MCMC(
        ...     kernel, num_warmup=100, num_samples=100, progress_bar=False
        ... )
        >>> mcmc.run(jax.random.key(1), x, y)
        >>> mcmc.get_samples()["w"].shape
        (100, 3)
    """

    def __init__(
        self,
        model: Callable | None = None,
        potential_fn: Callable | None = None,
        num_steps: int | None = None,
        noise_fraction: float | None = None,
        friction: float | None = None,
        temperature: float = 1.0,
        max_frequency: float = 0.5,
        **settings,
    ):
        settings = {"num_steps": num_steps, **settings}
        kind = settings_of(type(self).__name__, PseudoLangevinSettings, settings)
        self.settings: PseudoLangevinSettings = kind
        if potential_fn is not None and kind.control_variate not in (None, "auto"):
            raise ValueError(
                "control_variate needs a model with a subsampled plate: a potential_fn "
                "has no minibatches, and no noise to reduce."
            )
        super().__init__(model, potential_fn, kind)
        self._sets_friction = friction is None
        self.dynamics = PseudoLangevinDynamics(
            noise_fraction,
            DEFAULT_FRICTION if friction is None else friction,
            temperature,
            # To the dynamics None means the kernel's value; this is the kernel's value.
            check_positive("max_frequency", max_frequency, below=2.0),
            uses_friction=kind.example_friction,
        )

    def _dynamics(self, binding, num_coordinates):
        dynamics = self.dynamics
        balanced = dynamics.uses_friction and binding.has_friction
        if dynamics.uses_friction and binding.sites.crossed:
            logger.info(
                "Subsampled plates are inside each other: no friction from the "
                "examples, the thermostat leaves out the diagonal of the noise."
            )
        if self._sets_friction_of(binding):
            dynamics = replace(dynamics, friction=FIRST_FRICTION)
        if dynamics.noise_fraction is None:
            fraction = BALANCED_NOISE if balanced else UNBALANCED_NOISE
            dynamics = replace(dynamics, noise_fraction=fraction)
        return Partition([dynamics])

    def _groups(self, names):
        return [0] * len(names)

    def _sets_friction_of(self, binding):
        # Minibatches bound it from below by their noise.
        return self._sets_friction and not binding.potential.plates

    @property
    def _starts_at_random(self):
        # An anchor that is given is checked, or found, before that program runs.
        anchor = self.settings.control_variate
        given = isinstance(anchor, Mapping) or anchor == "map"
        return not given and super()._starts_at_random

    def _given_anchor(self, rng_key, data, z):
        anchor = self.settings.control_variate
        if isinstance(anchor, Mapping):
            return anchor_values(anchor, z)
        if anchor != "map" or self._model is None:
            return None
        search = map_search_of(init_to_map())
        assert search is not None
        key = rng_key if is_single_key(rng_key) else rng_key[0]
        return search(key, self._model, *data)

    def _seeks_slow(self, binding, z):
        automatic = self.settings.dense_mass == "auto"
        return automatic and binding.searched and size_of(z) <= SMALL

    def _framing(self, binding, z):
        size, plates = size_of(z), binding.potential.plates
        tall = bool(plates) and is_tall(size, binding.sites.data_size)
        anchor, dense = self.settings.control_variate, self.settings.dense_mass
        axes = mixed_coordinates(tall if dense == "auto" else dense, z)
        # The noise is measured in whitened coordinates.
        has_terms = binding.forward is not False
        anchored = "auto" if tall and axes is not None and has_terms else "never"
        if not isinstance(anchor, str) or anchor != "auto":
            check_has_terms(anchor, has_terms)
            # Without minibatches there is no noise to reduce.
            anchored = "never" if anchor is None or not plates else "always"
        if axes is None and anchored == "never":
            return None
        steps = self.settings.num_steps
        return FrameSettings(
            anchored=anchored,
            moving=not isinstance(anchor, Mapping) and anchor != "map",
            axes=axes,
            sets_friction=self._sets_friction and axes is not None,
            sets_steps=steps is None and axes is not None,
            num_steps=steps or binding.default_num_steps,
        )
