# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The parts of `bench_peers.py`."""
