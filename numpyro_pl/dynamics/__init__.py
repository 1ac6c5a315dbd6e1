# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Dynamics: pure functions of arrays, which know nothing of models."""
