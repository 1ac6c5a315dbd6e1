# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The ground floor: tree arithmetic, random numbers in the shape of trees, the order of
computation, and checks of plain values. Imports nothing of the package.
"""
