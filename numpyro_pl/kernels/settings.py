# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Settings that all kernels have in common."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from numpyro.infer.initialization import init_to_uniform

from numpyro_pl.dynamics.protocol import KernelDefaults
from numpyro_pl.kernels.collect import Collect, check_collect
from numpyro_pl.kernels.framing import check_anchor, check_dense_mass
from numpyro_pl.trees.checks import (
    check_integer,
    check_positive,
    check_unit_interval,
)
from numpyro_pl.trees.increments import INCREMENTS

__all__ = [
    "KernelSettings",
    "PartitionSettings",
    "PseudoLangevinSettings",
    "settings_of",
]


@dataclass(frozen=True)
class KernelSettings:
    """
    Settings of every kernel.

    :param int num_steps: integrator steps, of one gradient each, per draw. None: one
        pass over the data, `ceil(N / B)`, but from 100 to 500; 10 where no plate is
        subsampled. Draws become up to 20 times longer, but not longer than 2,000 steps
        (500 from 20,000 coordinates), where the warmup finds that chains mix slowly.
    :param str increments: random increments, `"gaussian"`, `"signs"` (random signs:
        much cheaper in large models, same mean, variance and third moment), or `"auto"`
        (Gaussian up to 10,000 coordinates).
    :param callable init_strategy: NumPyro's per-site initialization.
    :param full_potential: True: evaluate `potential_energy` on the full data at every
        draw (one forward pass). False: a minibatch estimate. `"auto"`: on the full data
        unless they are many and gradients are relative to an anchor, from which the
        potential is then estimated to a fraction of its standard deviation, or they
        are streams of more than 4 times the rows of a draw's steps: a minibatch
        estimate.
    :param float variance_rate: weight per step of the newest value in the running noise
        variance, in (0, 1].
    :param collect: what a draw keeps. None: the constrained values of all sites. A
        pattern over site names or a sequence of patterns (`*` stands for any characters
        and `?` for one; brackets are literal): those of the sites that match one. A
        function of a dict of constrained values by site, deterministic sites included,
        that returns an array or a tree of arrays, for example the logits of a network
        on a test set: what it returns, by name (the keys on the way to each array,
        joined by dots; `"collected"` for a single array).
    :param bool warn: whether a run warns by itself, at the end of its warmup and later,
        if something is wrong. A program that may warn calls Python, and JAX does not
        keep such programs in its persistent compilation cache. Without warnings, look
        at the divergences, temperatures and R-hat yourself.
    :raises ValueError: if a setting is out of range.
    """

    num_steps: int | None = None
    increments: str = "auto"
    init_strategy: Callable = init_to_uniform
    full_potential: bool | str = "auto"
    variance_rate: float = 1e-3
    collect: Collect = None
    warn: bool = True

    def __post_init__(self):
        if not isinstance(self.warn, bool):
            raise ValueError(f"warn must be True or False, got {self.warn!r}.")
        if self.num_steps is not None:
            check_integer("num_steps", self.num_steps)
        if self.increments not in INCREMENTS:
            raise ValueError(
                f"increments must be one of {INCREMENTS}, got {self.increments!r}."
            )
        if not callable(self.init_strategy):
            raise ValueError(
                "init_strategy must be a strategy of NumPyro, such as init_to_uniform, "
                f"got {self.init_strategy!r}."
            )
        if self.full_potential not in (True, False, "auto"):
            raise ValueError(
                "full_potential must be True, False or 'auto', "
                f"got {self.full_potential!r}."
            )
        check_unit_interval("variance_rate", self.variance_rate)
        check_collect(self.collect)


@dataclass(frozen=True)
class PseudoLangevinSettings(KernelSettings):
    """
    Settings of the pseudo-Langevin kernel: those of :class:`KernelSettings`, and

    :param bool example_friction: whether friction from the examples balances the
        minibatch noise, see :mod:`numpyro_pl.dynamics.friction`. It needs subsampled
        plates, none of them inside another. Where it is off or impossible, the
        thermostat leaves out the diagonal of the noise's covariance.
    :param control_variate: what minibatch gradients are taken relative to
        (:mod:`numpyro_pl.model.control_variate`). None: nothing. `"mean"`: the mean of
        the chain's warmup draws. `"map"`: a MAP value of the model. A dict of
        unconstrained values by site, such as a MAP of your own: these. `"auto"`: the
        mean, in models whose coordinates are whitened by default, if the noise measured
        in warmup is less than half of that without it.
    :param dense_mass: which coordinates are whitened by the curvature of the posterior.
        True: all. A list of tuples of site names: those of each tuple among themselves,
        as in NumPyro's HMC. False: none. `"auto"`: all, in models with at most 200
        coordinates and 20 times as many rows; in others that are no networks, moves
        along slow directions (:mod:`numpyro_pl.warmup.slow`).
    :raises ValueError: if a setting is out of range.
    """

    example_friction: bool = True
    control_variate: Any = "auto"
    dense_mass: Any = "auto"

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.example_friction, bool):
            raise ValueError(
                "example_friction must be True or False, "
                f"got {self.example_friction!r}."
            )
        check_anchor(self.control_variate)
        check_dense_mass(self.dense_mass)


@dataclass(frozen=True)
class PartitionSettings(KernelSettings):
    """
    Settings of every partitioned kernel: those of :class:`KernelSettings`, and defaults
    for groups without settings of their own.

    :param float step_size: step length h, in units of time where the potential is
        `U / N`. None: the warmup sets it, from the largest curvature frequency and from
        the noise.
    :param float noise_fraction: bound on the mean share by which minibatches heat a
        group, for scales that the warmup sets.
    :param float max_frequency: bound on the frequency of every mode, in radians per
        step, for scales that the warmup sets.
    """

    step_size: float | None = None
    noise_fraction: float = 0.05
    max_frequency: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if self.step_size is not None:
            check_positive("step_size", self.step_size)
        check_unit_interval("noise_fraction", self.noise_fraction)
        check_positive("max_frequency", self.max_frequency, below=2.0)

    def group_defaults(self, data_size: float) -> KernelDefaults:
        """Defaults for groups without settings of their own."""
        return KernelDefaults(
            data_size, self.step_size, self.noise_fraction, self.max_frequency
        )


Settings = TypeVar("Settings", bound=KernelSettings)


def settings_of(
    kernel: str, kind: type[Settings], settings: dict[str, Any]
) -> Settings:
    """
    The settings that a user passed to a kernel by name.

    :param str kernel: name of the kernel.
    :raises TypeError: for a name that the kernel does not know.
    """
    known = [f.name for f in fields(kind)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise TypeError(
            f"{kernel} has no setting {', '.join(map(repr, unknown))}. Besides those "
            f"in its signature it takes {', '.join(known)}."
        )
    return kind(**settings)
