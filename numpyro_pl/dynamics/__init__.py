# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0
