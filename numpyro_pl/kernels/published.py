# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The pseudo-Langevin kernel as published, for comparison."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.published import PublishedDynamics
from numpyro_pl.kernels.base import LangevinKernel
from numpyro_pl.kernels.settings import KernelSettings, settings_of
from numpyro_pl.trees.checks import check_integer, check_not_negative, check_positive

__all__ = ["PublishedPseudoLangevin", "PublishedSettings"]


@dataclass(frozen=True)
class PublishedSettings(KernelSettings):
    """
    Settings of the published scheme: those of
    :class:`~numpyro_pl.kernels.settings.KernelSettings`, and

    :param float least_variance: variances of the minibatch gradient of the mean loss
        below this are replaced by it. 1e-8 is the default of the authors' code.
    :param int estimate_batches: minibatches of an estimate of the noise. (The authors
        take 100 to 1,000, until two estimates agree to 10 %.)
    :param float reset_probability: probability that an estimate sets all masses anew;
        else only those of weights that have more noise than `temperature_ratio`.
    """

    least_variance: float = 1e-8
    estimate_batches: int = 500
    reset_probability: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        check_not_negative("least_variance", self.least_variance)


class PublishedPseudoLangevin(LangevinKernel):
    r"""
    Pseudo-Langevin sampling as it was published (arXiv:2603.15367), so that the paper
    can be compared on its own terms. Use :class:`PseudoLangevin` to sample: this scheme
    is biased.

    The step is that of :class:`PseudoLangevin`. Draws are read at the full step, where
    the variance of a mode of frequency w is too large by :math:`1 / (1 - w^2 / 4)`; the
    variance of the minibatch noise is estimated every few thousand steps and frozen in
    between, although it follows the chain; masses are those of the noise alone,

    .. math::

        M_i = \frac{v_i h^2}{4\, T_{ratio}\, T\, m_1^2}, \qquad c = 1 - m_1^2, \quad
        h = 1,

    and nothing bounds the frequencies. This gives the noise fraction
    :math:`(1 + c)\, T_{ratio}`, about twice :math:`T_{ratio}`. At an estimate only
    masses that are too small for it change, except at random times, when all do.

    :param model: a NumPyro model with a subsampled plate.
    :param float temperature: temperature T of the target `exp(-U / T)`; 1 is the
        posterior. (A paper's temperature of the mean loss, times N.)
    :param float temperature_ratio: `T_ratio`, in (0, 1 / (1 + c)].
    :param float momentum_loss: `m1`, in (0, 1).
    :param int interval: steps between estimates of the noise.
    :param settings: further settings, see :class:`PublishedSettings`: `num_steps`,
        `increments`, `init_strategy`, `full_potential`, `collect`, `least_variance`,
        `estimate_batches`, `reset_probability`.
    :raises ValueError: if a setting is out of range; in `init`, if the model has no
        subsampled plate.
    :raises TypeError: for an unknown setting.

    The warmup descends to the typical set, as that of the other kernels; from then on
    the scheme runs, and draws before the end of the warmup are dropped.
    """

    def __init__(
        self,
        model: Callable | None = None,
        temperature: float = 1.0,
        temperature_ratio: float = 0.01,
        momentum_loss: float = 0.1,
        interval: int = 5000,
        **settings,
    ):
        kind = settings_of(type(self).__name__, PublishedSettings, settings)
        super().__init__(model, None, kind)
        loss = check_positive("momentum_loss", momentum_loss, below=1.0)
        ratio = check_positive("temperature_ratio", temperature_ratio)
        fraction = (2 - loss**2) * ratio
        if fraction > 1:
            raise ValueError(
                f"temperature_ratio must be at most {1 / (2 - loss**2):.3g}, got "
                f"{temperature_ratio!r}: the minibatches would supply more than the "
                "thermostat's noise."
            )
        self.interval = check_integer("interval", interval)
        self.dynamics = PublishedDynamics(
            fraction,
            -math.log1p(-(loss**2)),
            temperature,
            estimate_batches=kind.estimate_batches,
            reset_probability=kind.reset_probability,
        )

    def _dynamics(self, binding, num_coordinates):
        if not binding.potential.plates:
            raise ValueError(
                "the published scheme sets masses from the minibatch noise, and this "
                "model has none: give a plate(..., subsample_size=B), or use "
                "PseudoLangevin."
            )
        least = self.settings.least_variance * binding.sites.data_size**2
        return Partition([replace(self.dynamics, least_variance=least)])

    def _groups(self, names):
        return [0] * len(names)

    def _schedule_for(self, binding, num_warmup):
        plan = super()._schedule_for(binding, num_warmup)
        return replace(plan, interval=self.interval)
