# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Small losses with known derivatives, shared by the tests of the landscape."""

import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.landscape import Solution

KEY = random.key(11)


def quadratic_loss(params, data):
    """`(w - m_i)' A_i (w - m_i) / 2 + b_i` with w spread over a tree."""
    w = jnp.concatenate([params["u"].ravel(), params["v"]])
    d = w - data["m"]
    return 0.5 * jnp.einsum("mi,mij,mj->m", d, data["A"], d) + data["b"]


def quadratic_problem(n, m, seed=0, shared=False):
    """
    Random quadratics in n dimensions: parameters (flat, and as a tree), data of m
    examples, and an eigenbasis with spectra that all examples have if `shared`.
    """
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    spectrum = 4 * 0.7 ** np.arange(n) * (1 + 0.3 * rng.normal(size=(m, n)))
    A = np.einsum("ij,mj,kj->mik", basis, spectrum, basis)
    if not shared:
        noise = 0.1 * rng.normal(size=(m, n, n)) / np.sqrt(n)
        A = A + noise + noise.transpose(0, 2, 1)
    data = {"A": A, "m": rng.normal(size=(m, n)), "b": rng.normal(size=m)}
    w = rng.normal(size=n)
    return w, as_tree(w), data, basis, spectrum


def as_tree(w):
    """A flat vector as parameters of `quadratic_loss`."""
    return {"u": w[:4].reshape(2, 2), "v": w[4:]}


def quadratic_solution(n, m, seed=0, chunk_size=128):
    """The :class:`Solution` of `quadratic_problem`."""
    _, params, data, *_ = quadratic_problem(n, m, seed)
    return Solution(quadratic_loss, params, data, chunk_size)


def exact_increment(w, data, k):
    """
    Value, gradient and Hessian of `L_{k+1} - L_k`, subtracting two means; and the
    Hessian of `L_k`.
    """
    A, d = data["A"], w - data["m"]
    values = 0.5 * np.einsum("mi,mij,mj->m", d, A, d) + data["b"]
    gradients = np.einsum("mij,mj->mi", A, d)
    increment = tuple(
        x[: k + 1].mean(0) - x[:k].mean(0) for x in (values, gradients, A)
    )
    return increment, A[:k].mean(0)


def regression_loss(params, data):
    """Half the squared output of a linear model: a Hessian of known rank."""
    return 0.5 * jnp.square(data @ params["w"])


def cubic_loss(params, data):
    """A cubic, so that the quadratic model has an error of third order."""
    return 1 + 0.5 * (data @ params) ** 2 + (data @ params) ** 3
