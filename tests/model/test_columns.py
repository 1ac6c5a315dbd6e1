# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Features in very different units are reported before sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import PseudoLangevin

SPREADS = np.array([1.0, 0.01, 50.0], np.float32)


def run(*args, **kwargs):
    kernel = PseudoLangevin(linear_model, num_steps=1)
    mcmc = MCMC(kernel, num_warmup=0, num_samples=1, progress_bar=False)
    mcmc.run(jax.random.key(0), *args, **kwargs)


def test_unscaled_columns_are_named_before_sampling(regression):
    x, y = regression
    message = "argument 0 have standard deviations from 0.01 to 49.* Standardize them"
    with pytest.warns(UserWarning, match=message):
        run(x * SPREADS, y)
    with pytest.warns(UserWarning, match="argument 'x'"):
        run(x=x * SPREADS, y=y)


def test_other_data_is_not_reported(regression):
    """A constant column; ratios below 1,000. Warnings are errors in this suite."""
    x, y = regression
    run(jnp.concatenate([x, jnp.ones((600, 1))], 1), y)
    run(x * SPREADS[:2].mean(), y)
