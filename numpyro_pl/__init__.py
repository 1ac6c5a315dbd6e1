# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Minibatch Langevin MCMC for NumPyro."""

from numpyro_pl.kernels.pseudo_langevin import PseudoLangevin

__version__ = "0.1.0"

__all__ = ["PseudoLangevin"]
