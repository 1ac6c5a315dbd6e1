# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Minibatch Langevin MCMC for NumPyro."""

__version__ = "0.1.0"
