# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Two models of textbooks, of so few rows that nobody takes minibatches; their data are
printed in many books.
"""

from collections.abc import Callable

import numpy as np
import numpyro
import numpyro.distributions as dist
from everyday_models import rows
from ordinary_models import Problem

__all__ = ["FEW_ROWS"]


def schools():
    """Coaching in eight schools: effects with known errors, no minibatches."""
    effect = [28.0, 8, -3, 7, -1, 1, 18, 12]
    error = [15.0, 10, 16, 11, 9, 11, 10, 18]

    def model(y, error, batch=None):
        mean = numpyro.sample("mean", dist.Normal(0, 5))
        spread = numpyro.sample("spread", dist.HalfCauchy(5))
        with numpyro.plate("schools", len(y)):
            z = numpyro.sample("z", dist.Normal(0, 1))
            numpyro.sample("y", dist.Normal(mean + spread * z, error), obs=y)

    return Problem(model, rows(effect, error), 8)


def admissions():
    """Admissions of women and men to six departments, with correlated effects (LKJ)."""
    applied = [825, 108, 560, 25, 325, 593, 417, 375, 191, 393, 373, 341]
    admitted = [512, 89, 353, 17, 120, 202, 138, 131, 53, 94, 22, 24]
    department, male = np.repeat(np.arange(6), 2), np.tile([1.0, 0.0], 6)

    def model(department, male, applied, admitted, batch=None):
        mean = numpyro.sample("mean", dist.Normal(0, 4).expand([2]).to_event(1))
        sd = numpyro.sample("sd", dist.HalfNormal(1).expand([2]).to_event(1))
        corr = numpyro.sample("corr", dist.LKJCholesky(2, 1))
        z = numpyro.sample("z", dist.Normal(0, 1).expand([6, 2]).to_event(2))
        own = mean + z @ (sd[:, None] * corr).T
        logits = own[department, 0] + own[department, 1] * male
        with numpyro.plate("data", len(male)):
            likelihood = dist.Binomial(applied, logits=logits)
            numpyro.sample("admitted", likelihood, obs=admitted)

    return Problem(model, rows(department, male, applied, admitted), 12)


FEW_ROWS: dict[str, Callable[[], Problem]] = {
    make.__name__: make for make in (schools, admissions)
}
"""Functions that make each model and its data."""
