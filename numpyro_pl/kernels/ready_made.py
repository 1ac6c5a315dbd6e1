# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Ready-made partitions: AdLaLa, LOL and multi-layer Langevin (arXiv:1908.11843), and the
one-group cases SGLD, SGHMC and SGNHT.

Besides the arguments in their signatures, all take the settings of
:class:`~numpyro_pl.kernels.settings.PartitionSettings`.
"""

import logging
from collections.abc import Callable, Mapping

from numpyro_pl.dynamics.adaptive import AdaptiveLangevin
from numpyro_pl.dynamics.langevin import Langevin, OverdampedLangevin
from numpyro_pl.dynamics.protocol import GroupDynamics
from numpyro_pl.kernels.groups import ByPattern, FirstLayer
from numpyro_pl.kernels.partitioned import PartitionedLangevin, PartitionKernel
from numpyro_pl.trees.arithmetic import leaf_names

__all__ = ["LOL", "SGHMC", "SGLD", "SGNHT", "AdLaLa", "MultilayerLangevin"]

logger = logging.getLogger("numpyro_pl")

PUBLISHED_STEP = 0.25
"""Step length of the two-spirals runs of arXiv:1908.11843."""


class _FirstLayerKernel(PartitionKernel):
    """A partition into the first layer of a network and the others."""

    def __init__(
        self,
        model,
        first_layer: str | None,
        first: GroupDynamics,
        others: GroupDynamics,
        **settings,
    ):
        partition = {"first_layer": first, "other_layers": others}
        settings = {"step_size": PUBLISHED_STEP, **settings}
        super().__init__(model, partition, FirstLayer(first_layer), **settings)

    def init(
        self, rng_key, num_warmup, init_params=None, model_args=(), model_kwargs=None
    ):
        """See :meth:`LangevinKernel.init`; logs which layer was taken as first."""
        state = super().init(rng_key, num_warmup, init_params, model_args, model_kwargs)
        names = leaf_names(state.z)
        first = [n for n, k in zip(names, self._assign(names), strict=True) if k == 0]
        logger.info(
            "%s takes as first layer: %s", type(self).__name__, ", ".join(first)
        )
        return state


class _OneGroupKernel(PartitionKernel):
    """One dynamics for all parameters."""

    def __init__(self, model, dynamics: GroupDynamics, **settings):
        super().__init__(model, {"*": dynamics}, ByPattern(["*"]), **settings)


class AdLaLa(_FirstLayerKernel):
    """
    Adaptive Langevin on the first layer, Langevin on the others (AdLaLa,
    arXiv:1908.11843), with the step size, frictions and couplings of the paper.

    The thermostat differs from the paper's: it is driven by the temperature of the
    positions, see :class:`~numpyro_pl.dynamics.AdaptiveLangevin`. `published=True` uses
    the paper's.

    :param model: a NumPyro model.
    :param str first_layer: pattern over site names for the first layer, see
        :class:`PartitionedLangevin`. Default: found from the names and logged.
    :param float temperature: temperature T of both groups; 1 is the posterior. (The
        paper's `tau = 1e-4` with 500 data is T = 0.05.)
    :param float friction: friction of the other layers, in units of inverse time.
    :param float sigma: noise added to the first layer, in units of momentum per square
        root of time; default `sqrt(T / N)` (the published 0.01 at `tau = 1e-4`).
    :param float coupling: speed of the thermostat.
    :param bool published: whether to use the thermostat of the paper.
    :param settings: settings of :class:`PartitionedLangevin`, among them `step_size`
        (step length h, in units of time where the potential is `U / N`; default 0.25;
        None lets warmup set it) and `num_steps` (default one pass over the data, but
        from 100 to 500).
    :raises ValueError: for a setting out of range; if the first layer is not clear
        from the names of the sites.
    :raises TypeError: for an unknown setting.
    """

    def __init__(
        self,
        model: Callable | None = None,
        first_layer: str | None = None,
        temperature: float = 1.0,
        friction: float = 0.1,
        sigma: float | None = None,
        coupling: float = 0.05,
        published: bool = False,
        **settings,
    ):
        first = AdaptiveLangevin(
            sigma, coupling, temperature=temperature, published=published
        )
        others = Langevin(friction, temperature)
        super().__init__(model, first_layer, first, others, **settings)


class LOL(_FirstLayerKernel):
    """
    Langevin on the first layer, overdamped Langevin on the others (LOL,
    arXiv:1908.11843), with the paper's settings by default.

    :param model: a NumPyro model.
    :param str first_layer: see :class:`AdLaLa`.
    :param float temperature: temperature T of both groups; 1 is the posterior.
    :param float friction: friction of the first layer, in units of inverse time.
    :param settings: settings of :class:`PartitionedLangevin`, see :class:`AdLaLa`. The
        Euler step of the overdamped layers is `h^2 / 2` long.
    :raises ValueError: as :class:`AdLaLa`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        first_layer: str | None = None,
        temperature: float = 1.0,
        friction: float = 0.1,
        **settings,
    ):
        first = Langevin(friction, temperature)
        others = OverdampedLangevin(temperature)
        super().__init__(model, first_layer, first, others, **settings)


class MultilayerLangevin(PartitionedLangevin):
    """
    Langevin dynamics with a friction and a temperature for each layer
    (arXiv:1908.11843, LaLa).

    :param model: a NumPyro model.
    :param partition: :class:`~numpyro_pl.dynamics.Langevin` by pattern over site names.
    :param settings: further settings of :class:`PartitionedLangevin`.
    :raises ValueError: as :class:`PartitionedLangevin`, and for other dynamics.
    """

    def __init__(
        self,
        model: Callable | None = None,
        partition: Mapping[str, Langevin] | None = None,
        **settings,
    ):
        super().__init__(model, partition, **settings)
        for key, dynamics in self.partition.items():
            if not isinstance(dynamics, Langevin):
                raise ValueError(
                    f"MultilayerLangevin takes only Langevin dynamics, but {key!r} "
                    f"has {dynamics!r}: use PartitionedLangevin for mixed partitions."
                )


class SGLD(_OneGroupKernel):
    """
    Stochastic gradient Langevin dynamics:
    :class:`~numpyro_pl.dynamics.OverdampedLangevin` for all parameters, in the form of
    Leimkuhler and Matthews, which is exact for Gaussian targets without gradient noise.

    :param model: a NumPyro model.
    :param float step_size: step length h, in units of time where the potential is
        `U / N` (the learning rate of `U` is `h^2 / (2 N)`); None lets warmup set it.
    :param float temperature: temperature T; 1 is the posterior.
    :param settings: further settings of :class:`PartitionedLangevin`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        step_size: float | None = None,
        temperature: float = 1.0,
        **settings,
    ):
        dynamics = OverdampedLangevin(temperature)
        super().__init__(model, dynamics, step_size=step_size, **settings)


class SGHMC(_OneGroupKernel):
    """
    Stochastic gradient Hamiltonian Monte Carlo: :class:`~numpyro_pl.dynamics.Langevin`
    for all parameters.

    :param model: a NumPyro model.
    :param float step_size: step length h, see :class:`SGLD`; None lets warmup set it.
    :param float temperature: temperature T; 1 is the posterior.
    :param float friction: friction, in units of inverse time.
    :param settings: further settings of :class:`PartitionedLangevin`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        step_size: float | None = None,
        temperature: float = 1.0,
        friction: float = 0.1,
        **settings,
    ):
        dynamics = Langevin(friction, temperature)
        super().__init__(model, dynamics, step_size=step_size, **settings)


class SGNHT(_OneGroupKernel):
    """
    Stochastic gradient Nose-Hoover thermostat:
    :class:`~numpyro_pl.dynamics.AdaptiveLangevin` for all parameters.

    :param model: a NumPyro model.
    :param float step_size: step length h, see :class:`SGLD`; None lets warmup set it.
    :param float temperature: temperature T; 1 is the posterior.
    :param float sigma: strength of the added noise, see :class:`AdLaLa`.
    :param float coupling: speed of the thermostat.
    :param settings: further settings of :class:`PartitionedLangevin`.
    """

    def __init__(
        self,
        model: Callable | None = None,
        step_size: float | None = None,
        temperature: float = 1.0,
        sigma: float | None = None,
        coupling: float = 0.05,
        **settings,
    ):
        dynamics = AdaptiveLangevin(sigma, coupling, temperature)
        super().__init__(model, dynamics, step_size=step_size, **settings)
