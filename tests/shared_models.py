# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Models and settings that several tests share."""

import numpyro
import numpyro.distributions as dist

PLAIN = {"dense_mass": False, "control_variate": None, "example_friction": False}
"""Settings of a `PseudoLangevin` that compiles fast, for tests of something else."""


def linear_model(x, y, batch=100):
    """Linear regression with unit noise and prior; conjugate."""
    prior = dist.Normal(0, 1).expand([x.shape[1]]).to_event(1)
    w = numpyro.sample("w", prior)
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)
