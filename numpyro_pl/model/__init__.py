# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The only subpackage that knows NumPyro's handlers: models on rows of their data, their
sites, and potentials as functions of a position and of rows.
"""
