# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Features in very different units are reported before sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_models import linear_model

from numpyro_pl import PseudoLangevin

SPREADS = np.array([1.0, 0.01, 50.0], np.float32)


def start(*args, **kwargs):
    kernel = PseudoLangevin(linear_model, num_steps=1)
    kernel.init(jax.random.key(0), 0, None, args, kwargs)


def test_unscaled_columns_are_named_before_sampling(regression):
    x, y = regression
    message = "argument 0 have standard deviations from 0.01 to 49.* Standardize them"
    with pytest.warns(UserWarning, match=message):
        start(x * SPREADS, y)
    with pytest.warns(UserWarning, match="argument 'x'"):
        start(x=x * SPREADS, y=y)


def test_other_data_is_not_reported(regression):
    """A constant column; ratios below 1,000. Warnings are errors in this suite."""
    x, y = regression
    start(jnp.concatenate([x, jnp.ones((600, 1))], 1), y)
    start(x * SPREADS[:2].mean(), y)
