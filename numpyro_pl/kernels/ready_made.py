# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Ready-made partitions: AdLaLa, LOL and multi-layer Langevin (arXiv:1908.11843), and the
one-group cases SGLD, SGHMC and SGNHT.
"""

import logging
from collections.abc import Callable, Mapping

from numpyro_pl.dynamics.langevin import (
    AdaptiveLangevin,
    Langevin,
    OverdampedLangevin,
)
from numpyro_pl.dynamics.unit_mass import UnitMass
from numpyro_pl.kernels._groups import first_layer_sites, matches
from numpyro_pl.kernels.partitioned import PartitionedLangevin

__all__ = ["LOL", "SGHMC", "SGLD", "SGNHT", "AdLaLa", "MultilayerLangevin"]

logger = logging.getLogger("numpyro_pl")


class _FirstLayer(PartitionedLangevin):
    """A partition in the first layer of a network and the others."""

    def __init__(
        self,
        model,
        first_layer: str | None,
        first: UnitMass,
        others: UnitMass,
        **kwargs,
    ):
        if first_layer is not None and not isinstance(first_layer, str):
            raise ValueError(
                "first_layer must be a pattern over site names, such as "
                f"'nn/Dense_0*', got {first_layer!r}."
            )
        super().__init__(
            model, {"first_layer": first, "other_layers": others}, **kwargs
        )
        self._first_layer = first_layer

    def _assign(self, names):
        if self._first_layer is None:
            first = first_layer_sites(names)
        else:
            first = [name for name in names if matches(name, self._first_layer)]
            if len(first) in (0, len(names)):
                found = "no site" if not first else "every site"
                raise ValueError(
                    f"first_layer={self._first_layer!r} matches {found}. The sites are "
                    + ", ".join(repr(name) for name in names)
                    + "."
                )
        return [0 if name in first else 1 for name in names]

    def init(
        self, rng_key, num_warmup, init_params=None, model_args=(), model_kwargs=None
    ):
        """See :meth:`PartitionedLangevin.init`; logs which layer was taken as first."""
        state = super().init(rng_key, num_warmup, init_params, model_args, model_kwargs)
        if self._first_layer is None and isinstance(state.z, Mapping):
            first = ", ".join(first_layer_sites(sorted(state.z)))
            logger.info("%s takes as first layer: %s", type(self).__name__, first)
        return state


class AdLaLa(_FirstLayer):
    """
    Adaptive Langevin on the first layer, Langevin on the others (AdLaLa,
    arXiv:1908.11843), with the paper's settings by default.

    :param model: a NumPyro model.
    :param str first_layer: pattern over site names for the first layer, see
        :class:`PartitionedLangevin`. Default: found from the names and logged.
    :param float step_size: step length h, in units of time where the potential is
        `U / N`; None lets warmup set it.
    :param float temperature: temperature T of both groups; 1 is the posterior. (The
        paper's `tau = 1e-4` with 500 data is T = 0.05.)
    :param float friction: friction of the other layers, in units of inverse time.
    :param float sigma: noise added to the first layer, in the units above; default
        `sqrt(T / N)` (the published 0.01 at `tau = 1e-4`).
    :param float coupling: speed of the thermostat.
    :param int num_steps: integrator steps per draw; default one pass over the data.
    :param kwargs: further settings of :class:`PartitionedLangevin`.
    :raises ValueError: as :class:`PartitionedLangevin`; where the first layer cannot be
        told from the names of the sites.
    """

    def __init__(
        self,
        model: Callable | None = None,
        first_layer: str | None = None,
        step_size: float | None = 0.25,
        temperature: float = 1.0,
        friction: float = 0.1,
        sigma: float | None = None,
        coupling: float = 0.05,
        num_steps: int | None = None,
        **kwargs,
    ):
        super().__init__(
            model,
            first_layer,
            AdaptiveLangevin(temperature=temperature, sigma=sigma, coupling=coupling),
            Langevin(temperature=temperature, friction=friction),
            step_size=step_size,
            num_steps=num_steps,
            **kwargs,
        )


class LOL(_FirstLayer):
    """
    Langevin on the first layer, overdamped Langevin on the others (LOL,
    arXiv:1908.11843), with the paper's settings by default.

    :param model: a NumPyro model.
    :param str first_layer: see :class:`AdLaLa`.
    :param float step_size: step length h; that of an Euler step of the overdamped
        layers is `h^2 / 2`. None lets warmup set it.
    :param float temperature: temperature T of both groups; 1 is the posterior.
    :param float friction: friction of the first layer, in units of inverse time.
    :param int num_steps: integrator steps per draw; default one pass over the data.
    :param kwargs: further settings of :class:`PartitionedLangevin`.
    :raises ValueError: as :class:`AdLaLa`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        first_layer: str | None = None,
        step_size: float | None = 0.25,
        temperature: float = 1.0,
        friction: float = 0.1,
        num_steps: int | None = None,
        **kwargs,
    ):
        super().__init__(
            model,
            first_layer,
            Langevin(temperature=temperature, friction=friction),
            OverdampedLangevin(temperature=temperature),
            step_size=step_size,
            num_steps=num_steps,
            **kwargs,
        )


class MultilayerLangevin(PartitionedLangevin):
    """
    Langevin dynamics with a friction and a temperature for each layer
    (arXiv:1908.11843, LaLa).

    :param model: a NumPyro model.
    :param partition: :class:`Langevin` dynamics by pattern over site names.
    :param kwargs: further settings of :class:`PartitionedLangevin`.
    :raises ValueError: as :class:`PartitionedLangevin`, and for other dynamics.
    """

    def __init__(
        self,
        model: Callable | None = None,
        partition: Mapping[str, Langevin] | None = None,
        **kwargs,
    ):
        super().__init__(model, partition, **kwargs)
        for key, dynamics in self.partition.items():
            if not isinstance(dynamics, Langevin):
                raise ValueError(
                    f"MultilayerLangevin takes Langevin dynamics alone, but {key!r} "
                    f"has {dynamics!r}: use PartitionedLangevin for mixed partitions."
                )


class SGLD(PartitionedLangevin):
    """
    Stochastic gradient Langevin dynamics: :class:`OverdampedLangevin` for all
    parameters, in the form of Leimkuhler and Matthews, which is exact for Gaussian
    targets without gradient noise.

    :param model: a NumPyro model.
    :param float step_size: step length h, in units of time where the potential is
        `U / N` (the learning rate of `U` is `h^2 / (2 N)`); None lets warmup set it.
    :param float temperature: temperature T; 1 is the posterior.
    :param int num_steps: integrator steps per draw; default one pass over the data.
    :param kwargs: further settings of :class:`PartitionedLangevin`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        step_size: float | None = None,
        temperature: float = 1.0,
        num_steps: int | None = None,
        **kwargs,
    ):
        super().__init__(
            model,
            {"*": OverdampedLangevin(temperature=temperature)},
            step_size=step_size,
            num_steps=num_steps,
            **kwargs,
        )


class SGHMC(PartitionedLangevin):
    """
    Stochastic gradient Hamiltonian Monte Carlo: :class:`Langevin` for all parameters.

    :param model: a NumPyro model.
    :param float step_size: step length h, see :class:`SGLD`; None lets warmup set it.
    :param float temperature: temperature T; 1 is the posterior.
    :param float friction: friction, in units of inverse time.
    :param int num_steps: integrator steps per draw; default one pass over the data.
    :param kwargs: further settings of :class:`PartitionedLangevin`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        step_size: float | None = None,
        temperature: float = 1.0,
        friction: float = 0.1,
        num_steps: int | None = None,
        **kwargs,
    ):
        super().__init__(
            model,
            {"*": Langevin(temperature=temperature, friction=friction)},
            step_size=step_size,
            num_steps=num_steps,
            **kwargs,
        )


class SGNHT(PartitionedLangevin):
    """
    Stochastic gradient Nose-Hoover thermostat: :class:`AdaptiveLangevin` for all
    parameters.

    :param model: a NumPyro model.
    :param float step_size: step length h, see :class:`SGLD`; None lets warmup set it.
    :param float temperature: temperature T; 1 is the posterior.
    :param float sigma: strength of the added noise, see :class:`AdLaLa`.
    :param float coupling: speed of the thermostat.
    :param int num_steps: integrator steps per draw; default one pass over the data.
    :param kwargs: further settings of :class:`PartitionedLangevin`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        step_size: float | None = None,
        temperature: float = 1.0,
        sigma: float | None = None,
        coupling: float = 0.05,
        num_steps: int | None = None,
        **kwargs,
    ):
        super().__init__(
            model,
            {
                "*": AdaptiveLangevin(
                    temperature=temperature, sigma=sigma, coupling=coupling
                )
            },
            step_size=step_size,
            num_steps=num_steps,
            **kwargs,
        )
