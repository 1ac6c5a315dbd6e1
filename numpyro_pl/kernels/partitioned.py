# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The kernel in which each group of parameters follows its own dynamics."""

from collections.abc import Callable, Mapping, Sequence

from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.protocol import GroupDynamics
from numpyro_pl.kernels.base import LangevinKernel
from numpyro_pl.kernels.groups import ByFunction, ByPattern
from numpyro_pl.kernels.settings import PartitionSettings, settings_of

__all__ = ["PartitionKernel", "PartitionedLangevin"]


class PartitionKernel(LangevinKernel):
    """
    Base class of the partitioned kernels.

    :param model: a NumPyro model.
    :param partition: dynamics by name of the group.
    :param assign: function from the names of the sites to the numbers of their groups.
    :param potential_fn: instead of a model, a potential energy of the position.
    :param settings: settings of :class:`PartitionSettings` by name.
    """

    settings: PartitionSettings

    def __init__(
        self,
        model: Callable | None,
        partition: Mapping[str, GroupDynamics],
        assign: Callable[[Sequence[str]], list[int]],
        potential_fn: Callable | None = None,
        **settings,
    ):
        kind = settings_of(type(self).__name__, PartitionSettings, settings)
        super().__init__(model, potential_fn, kind)
        self.partition = dict(partition)
        self._assign = assign

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
        fields = (
            "temperature",
            "kinetic_temperature",
            "mean_kinetic_temperature",
            "noise_fraction",
            "thermostat",
        )
        return {f"{field}_dim_0": names for field in fields}

    def _dynamics(self, binding, num_coordinates):
        defaults = self.settings.group_defaults(binding.sites.data_size)
        return Partition([d.bind(defaults) for d in self.partition.values()])

    def _groups(self, names):
        return self._assign(names)


class PartitionedLangevin(PartitionKernel):
    r"""
    Partitioned Langevin dynamics (arXiv:1908.11843): each group of parameters follows
    its own dynamics, and all share the same minibatch gradient.

    Step sizes and frictions are in units of time where the potential is :math:`U / N`
    and masses are 1, with N data; temperatures are those of the posterior
    (:math:`T = N \tau`): 1 samples the posterior itself.

    There is no Metropolis test. Step sizes that the warmup sets are bounded by
    curvature and by gradient noise; if you set step sizes yourself, check the kinetic
    temperatures.

    :param model: a NumPyro model.
    :param partition: dynamics by pattern: a dict from patterns over site names to
        dynamics of :mod:`numpyro_pl.dynamics`, or your own. In a pattern `*` stands for
        any characters and `?` for one; brackets are literal. The first pattern that
        matches a site decides.
    :param group_of: instead of patterns, a function from the name of a site to a key of
        `partition`.
    :param potential_fn: instead of a model, the potential energy (full batch) as a
        function of the position; leaves of the position are named by their path.
    :param float step_size: step length h of groups that do not set their own. None: the
        warmup sets it, from the largest curvature frequency and from the noise.
    :param float noise_fraction: bound on the mean share by which minibatches heat a
        group, for groups that do not set their own and whose scales the warmup sets.
    :param float max_frequency: bound on the frequency of every mode, in radians per
        step, for the same groups.
    :param settings: settings of every kernel, see
        :class:`~numpyro_pl.kernels.settings.KernelSettings`: `num_steps`, `increments`,
        `init_strategy`, `full_potential`, `variance_rate`, `collect`, `warn`.
    :raises ValueError: for a setting out of range or an empty partition; when sampling
        starts, for a site that no pattern matches or a pattern that matches no site.
    :raises TypeError: for an unknown setting.

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
        partition: Mapping[str, GroupDynamics] | None = None,
        group_of: Callable[[str], str] | None = None,
        potential_fn: Callable | None = None,
        **settings,
    ):
        if not isinstance(partition, Mapping) or not partition:
            raise ValueError(
                "the partition is empty: give a dict from patterns over site names to "
                "dynamics, such as {'nn/Dense_0*': AdaptiveLangevin(), '*': "
                f"Langevin()}}; got {partition!r}."
            )
        for key, dynamics in partition.items():
            if not isinstance(dynamics, GroupDynamics):
                raise ValueError(
                    f"the partition's {key!r} must be a dynamics, such as Langevin() "
                    "of numpyro_pl.dynamics or a subclass of its GroupDynamics, got "
                    f"{dynamics!r}."
                )
        if group_of is not None and not callable(group_of):
            raise ValueError(f"`group_of` must be callable, got {group_of!r}.")
        keys = list(partition)
        assign = ByPattern(keys) if group_of is None else ByFunction(keys, group_of)
        super().__init__(model, partition, assign, potential_fn, **settings)
