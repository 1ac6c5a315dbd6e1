# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What `tests/benchmarks/figures.py` is made of."""
