# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Warmup: what it takes so that a user gives no step size. It sees dynamics and gradients,
and no kernel.
"""
