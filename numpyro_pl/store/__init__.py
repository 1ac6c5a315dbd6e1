# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Data and draws on disk: runs that go on where they ended, streamed prediction, data
larger than memory.
"""

from numpyro_pl.store.prediction import Prediction, predict
from numpyro_pl.store.reading import open_store
from numpyro_pl.store.sampling import sample_to_store
from numpyro_pl.store.streams import streamed

__all__ = ["Prediction", "open_store", "predict", "sample_to_store", "streamed"]
