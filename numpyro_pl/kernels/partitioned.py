# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The kernel in which each group of parameters follows its own dynamics."""

from collections.abc import Callable, Mapping
from typing import Any

from numpyro.infer.initialization import init_to_uniform

from numpyro_pl._arguments import check_positive
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.pseudo_langevin import PseudoLangevinDynamics
from numpyro_pl.dynamics.unit_mass import UnitMass
from numpyro_pl.kernels._base import LangevinKernel
from numpyro_pl.kernels._groups import assign_groups

__all__ = ["PartitionedLangevin"]


class PartitionedLangevin(LangevinKernel):
    r"""
    Partitioned Langevin dynamics (arXiv:1908.11843): each group of parameters follows
    its own dynamics, and all take the same minibatch gradient.

    Step sizes and frictions are in units of time where the potential is :math:`U / N`
    and masses are 1, N being the number of data; temperatures are those of the
    posterior (:math:`T = N \tau`), and 1 samples it.

    There is no Metropolis test. Step sizes that the warmup sets are bounded by
    curvature and by gradient noise; with step sizes of your own, look at the kinetic
    temperatures.

    :param model: a NumPyro model.
    :param partition: dynamics by pattern: a dict from patterns over site names to
        :class:`Langevin`, :class:`AdaptiveLangevin`, :class:`OverdampedLangevin` or
        :class:`PseudoLangevinDynamics`. In a pattern `*` stands for any characters and
        `?` for one, brackets for themselves; the first pattern that matches a site
        decides.
    :param group_of: instead of patterns, a function from the name of a site to a key of
        `partition`.
    :param potential_fn: instead of a model, the potential energy (full batch) as a
        function of the position; leaves of the position are named by their path.
    :param float step_size: step length h of groups that have none of their own. None:
        the warmup sets it, from the largest curvature frequency and from the noise.
    :param int num_steps: integrator steps, of one gradient each, per draw. Default: one
        pass over the data, `ceil(N / B)`; 10 where no plate is subsampled.
    :param float max_frequency: bound on the frequency of every mode, in radians per
        step, for step sizes that the warmup sets.
    :param float noise_fraction: bound on the mean share by which minibatches heat a
        group, for step sizes that the warmup sets.
    :param str noise: random increments, `"gaussian"`, `"signs"` or `"auto"`.
    :param callable init_strategy: NumPyro's per-site initialization.
    :param bool full_potential: evaluate `potential_energy` on the full data at every
        draw.
    :param float variance_rate: rate per step of the running noise variance of
        pseudo-Langevin groups.
    :raises ValueError: for a setting out of its range and an empty partition; when
        sampling starts, for a site that no pattern matches and a pattern that matches
        no site.

    **Example**

    .. code-block:: python

        kernel = PartitionedLangevin(
            model,
            {"nn/Dense_0*": AdaptiveLangevin(), "*": PseudoLangevinDynamics()},
        )
        mcmc = MCMC(kernel, num_warmup=500, num_samples=1000)
        mcmc.run(key, x, y, extra_fields=("kinetic_temperature", "thermostat"))
        az.from_numpyro(mcmc, coords=kernel.coords)
    """

    def __init__(
        self,
        model: Callable | None = None,
        partition: Mapping[str, Any] | None = None,
        group_of: Callable[[str], str] | None = None,
        potential_fn: Callable | None = None,
        step_size: float | None = None,
        num_steps: int | None = None,
        max_frequency: float = 0.5,
        noise_fraction: float = 0.05,
        noise: str = "auto",
        init_strategy: Callable = init_to_uniform,
        full_potential: bool = True,
        variance_rate: float = 1e-3,
    ):
        super().__init__(
            model,
            potential_fn,
            noise_fraction=noise_fraction,
            num_steps=num_steps,
            noise=noise,
            init_strategy=init_strategy,
            full_potential=full_potential,
            variance_rate=variance_rate,
        )
        if not isinstance(partition, Mapping) or not partition:
            raise ValueError(
                "the partition is empty: give a dict from patterns over site names to "
                "dynamics, such as {'nn/Dense_0*': AdaptiveLangevin(), '*': "
                f"Langevin()}}; got {partition!r}."
            )
        for key, dynamics in partition.items():
            if not isinstance(dynamics, UnitMass | PseudoLangevinDynamics):
                raise ValueError(
                    f"the partition's {key!r} must be Langevin, AdaptiveLangevin, "
                    "OverdampedLangevin or PseudoLangevinDynamics, got "
                    f"{dynamics!r}."
                )
        if group_of is not None and not callable(group_of):
            raise ValueError(f"`group_of` must be callable, got {group_of!r}.")
        if step_size is not None:
            check_positive("step_size", step_size)
        check_positive("max_frequency", max_frequency, below=2.0)
        self.partition = dict(partition)
        self._group_of = group_of
        self._step_size = step_size
        self._max_frequency = max_frequency

    @property
    def coords(self) -> dict[str, list[str]]:
        """
        Names of the groups as coordinates for ArviZ:
        `az.from_numpyro(mcmc, coords=kernel.coords)`. Empty for a single group, whose
        temperature is a scalar.
        """
        names = list(self.partition)
        if len(names) == 1:
            return {}
        fields = ("kinetic_temperature", "mean_kinetic_temperature", "thermostat")
        return {f"{field}_dim_0": names for field in fields}

    def _assign(self, names: list[str]) -> list[int]:
        """Number of the group of each site."""
        return assign_groups(names, self.partition, self._group_of)

    def _groups(self, binding, names):
        groups = self._assign(names)
        members = [
            dynamics.bind(binding.data_size, self._step_size, self._max_frequency)
            for dynamics in self.partition.values()
        ]
        return Partition(members), groups
