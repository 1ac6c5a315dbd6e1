# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Warmup: sets the scales, so that the user need not give a step size. It depends on
dynamics and gradients, not on kernels.
"""
