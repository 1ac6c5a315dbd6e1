# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The only place that knows NumPyro's handlers: models on rows of their data."""
