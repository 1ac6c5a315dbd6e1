# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Dynamics: pure functions of arrays, independent of any model.

:class:`GroupDynamics` says what a dynamics must provide. To add your own, write one
small class; it can be used wherever the built-in dynamics can.
"""

from numpyro_pl.dynamics.adaptive import AdaptiveLangevin
from numpyro_pl.dynamics.integrate import (
    MinibatchGradient,
    Phase,
    Trajectory,
    integrate,
)
from numpyro_pl.dynamics.langevin import Langevin, OverdampedLangevin
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.protocol import GroupDynamics, KernelDefaults
from numpyro_pl.dynamics.pseudo_langevin import PseudoLangevinDynamics
from numpyro_pl.dynamics.published import PublishedDynamics
from numpyro_pl.dynamics.unit_mass import StepAndFriction, UnitMass

__all__ = [
    "AdaptiveLangevin",
    "GroupDynamics",
    "KernelDefaults",
    "Langevin",
    "MinibatchGradient",
    "OverdampedLangevin",
    "Partition",
    "Phase",
    "PseudoLangevinDynamics",
    "PublishedDynamics",
    "StepAndFriction",
    "Trajectory",
    "UnitMass",
    "integrate",
]
