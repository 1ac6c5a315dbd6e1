# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Kernels for NumPyro's `MCMC`."""
