# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Data sets that need no download: generated ones, and the digits of scikit-learn.

Each is a function of a key or seed alone, so that a figure can be made again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

__all__ = [
    "Classification",
    "KSpin",
    "LinearRegression",
    "digits",
    "kspin",
    "linear_regression",
    "two_spirals",
]


class Classification(NamedTuple):
    """
    Training and test data of a classification task.

    - **x_train**, **x_test** - features of shape (rows, features).
    - **y_train**, **y_test** - classes of shape (rows,), whole numbers from 0.
    """

    x_train: jax.Array
    y_train: jax.Array
    x_test: jax.Array
    y_test: jax.Array


class LinearRegression(NamedTuple):
    """
    A linear regression and its exact posterior.

    - **x** - features of shape (rows, columns).
    - **y** - responses of shape (rows,).
    - **coefficients** - the true ones, of shape (columns,), drawn from the prior.
    - **noise_sd**, **prior_sd** - the known standard deviations.
    - **posterior_mean** - of shape (columns,), NumPy in double precision.
    - **posterior_covariance** - of shape (columns, columns), likewise.
    """

    x: jax.Array
    y: jax.Array
    coefficients: jax.Array
    noise_sd: float
    prior_sd: float
    posterior_mean: np.ndarray
    posterior_covariance: np.ndarray


class KSpin(NamedTuple):
    """
    Noisy copies of reference vectors of signs.

    - **x** - examples of shape (num, dim), each -1 or 1.
    - **y** - classes of shape (num,), whole numbers from 0.
    - **references** - the vectors copied, of shape (num_classes, dim).
    """

    x: jax.Array
    y: jax.Array
    references: jax.Array


def digits(test_fraction: float = 0.2, seed: int = 0) -> Classification:
    """
    Images of handwritten digits: the 1,797 of scikit-learn's `load_digits`, 8 x 8
    pixels, shuffled and split.

    :param float test_fraction: share of the rows kept for testing.
    :param int seed: seed of the shuffle.
    :return: a :class:`Classification` with 64 features between 0 and 1 and 10 classes.
    :raises ImportError: without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as e:
        raise ImportError(
            "datasets.digits needs scikit-learn: pip install 'numpyro-pl[examples]'."
        ) from e
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction must be between 0 and 1, exclusive, not {test_fraction}."
        )
    x, y = load_digits(return_X_y=True)
    num_test = round(test_fraction * len(y))
    if not 0 < num_test < len(y):
        raise ValueError(
            f"test_fraction={test_fraction} of {len(y)} rows leaves one side empty."
        )
    rows = np.random.default_rng(seed).permutation(len(y))
    features = jnp.asarray(x[rows] / 16.0, dtype=jnp.float32)
    classes = jnp.asarray(y[rows], dtype=jnp.int32)
    return Classification(
        x_train=features[num_test:],
        y_train=classes[num_test:],
        x_test=features[:num_test],
        y_test=classes[:num_test],
    )


def two_spirals(
    key: jax.Array, num: int, turns: float = 4.0, noise: float = 0.02
) -> tuple[jax.Array, jax.Array]:
    """
    Two spirals wound into each other: `r = 2 sqrt(t)` at the angle
    `2 pi turns sqrt(t)`, `t ~ Uniform(0, 1)`; the second is the first's image in the
    origin.

    **References:**

    1. *Partitioned integrators for thermodynamic parameterization of neural networks*,
       B. Leimkuhler, C. Matthews, T. Vlaar (2019), arXiv:1908.11843.

    :param key: a PRNG key.
    :param int num: number of points, of which class 0 has the odd one.
    :param float turns: how often each spiral winds around the origin.
    :param float noise: standard deviation of the normal noise on both coordinates.
    :return: features of shape (num, 2), and classes 0 or 1 of shape (num,), in random
        order.
    """
    _check_positive(num=num, turns=turns)
    _check_not_negative(noise=noise)
    key_t, key_noise, key_order = random.split(key, 3)
    root = jnp.sqrt(random.uniform(key_t, (num,)))
    angle = 2 * jnp.pi * turns * root
    y = random.permutation(key_order, jnp.arange(num) % 2)
    side = 1.0 - 2.0 * y
    x = 2 * (side * root)[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    return x + noise * random.normal(key_noise, x.shape), y


def linear_regression(
    key: jax.Array,
    num_rows: int,
    num_columns: int,
    correlation: float = 0.0,
    noise_sd: float = 1.0,
    prior_sd: float = 1.0,
) -> LinearRegression:
    """
    Linear regression with known noise, without intercept, and a normal prior, whose
    posterior is normal: ::

        w ~ N(0, prior_sd^2 I),    y ~ N(X w, noise_sd^2 I)
        covariance = (X^T X / noise_sd^2 + I / prior_sd^2)^-1
        mean = covariance X^T y / noise_sd^2

    At temperature T the mean is the same and the covariance T times as large.

    :param key: a PRNG key.
    :param int num_rows: number of rows.
    :param int num_columns: number of features, normal with mean 0 and variance 1.
    :param float correlation: correlation of each two features, at least 0, below 1.
    :param float noise_sd: standard deviation of the responses.
    :param float prior_sd: standard deviation of each coefficient in the prior.
    :return: a :class:`LinearRegression`.
    """
    _check_positive(
        num_rows=num_rows,
        num_columns=num_columns,
        noise_sd=noise_sd,
        prior_sd=prior_sd,
    )
    if not 0 <= correlation < 1:
        raise ValueError(
            f"correlation must be at least 0 and below 1, not {correlation}."
        )
    key_x, key_common, key_w, key_y = random.split(key, 4)
    common = random.normal(key_common, (num_rows, 1))
    x = jnp.sqrt(1 - correlation) * random.normal(key_x, (num_rows, num_columns))
    x = x + jnp.sqrt(correlation) * common
    w = prior_sd * random.normal(key_w, (num_columns,))
    y = x @ w + noise_sd * random.normal(key_y, (num_rows,))

    # The posterior of the data as stored, whatever precision that is.
    x64, y64 = np.asarray(x, np.float64), np.asarray(y, np.float64)
    precision = x64.T @ x64 / noise_sd**2 + np.eye(num_columns) / prior_sd**2
    covariance = np.linalg.inv(precision)
    return LinearRegression(
        x=x,
        y=y,
        coefficients=w,
        noise_sd=noise_sd,
        prior_sd=prior_sd,
        posterior_mean=np.linalg.solve(precision, x64.T @ y64 / noise_sd**2),
        posterior_covariance=(covariance + covariance.T) / 2,
    )


def kspin(
    key: jax.Array,
    num: int,
    num_classes: int = 10,
    dim: int = 100,
    flip: float = 0.355,
    references: jax.Array | None = None,
) -> KSpin:
    """
    Random vectors of signs, and copies of them in which every component is flipped with
    a fixed probability. The class is which vector was copied; the best classifier picks
    the nearest.

    **References:**

    1. Zambon, Caruso, Zecchina and Tiana (2026), arXiv:2603.15367, whose networks
       reach a test error of 11.2 % with the defaults here; the best classifier's is
       10 % to 11 %, depending on the vectors drawn.

    :param key: a PRNG key.
    :param int num: number of examples.
    :param int num_classes: number of vectors.
    :param int dim: their length.
    :param float flip: probability that a component is flipped.
    :param references: vectors to copy, of shape (num_classes, dim), as another call
        returned them, for more examples of the same task; drawn anew by default.
    :return: a :class:`KSpin`.
    """
    _check_positive(num=num, num_classes=num_classes, dim=dim)
    if not 0 <= flip <= 1:
        raise ValueError(f"flip must be a probability, not {flip}.")
    key_references, key_classes, key_flip = random.split(key, 3)
    if references is None:
        references = random.rademacher(
            key_references, (num_classes, dim), dtype=jnp.float32
        )
    elif references.shape != (num_classes, dim):
        raise ValueError(
            f"references has shape {references.shape}, not (num_classes, dim) = "
            f"{(num_classes, dim)}."
        )
    y = random.randint(key_classes, (num,), 0, num_classes)
    flipped = random.bernoulli(key_flip, flip, (num, dim))
    x = jnp.where(flipped, -1.0, 1.0) * references[y]
    return KSpin(x=x, y=y, references=references)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value}.")


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, not {value}.")
