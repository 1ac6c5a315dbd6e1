# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The lowest layer: tree arithmetic, random numbers in the shape of trees, the order of
computation, and checks of plain values. It imports nothing else from the package.
"""
