# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Random-scaled SGDM against plain SGDM at equal budget, 10 seeds each: test accuracy on
digits and two spirals, and stationarity on non-smooth non-convex problems. Prints the
tables of the documentation. Run::

    python tests/benchmarks/compare_sgdm.py [digits] [spirals] [relu] [chebyshev]

The learning rate of each method is tuned on seeds of its own.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_diabetes, load_digits

from numpyro_pl.optim import random_scaled_sgdm

NUM_SEEDS = 10
SEEDS = jnp.arange(NUM_SEEDS + 5)  # the last five choose the learning rate
METHODS = {"SGDM": "constant", "random-scaled SGDM": "exponential"}


def init_mlp(key, sizes):
    keys = random.split(key, len(sizes) - 1)
    return [
        (random.normal(k, (a, b)) * np.sqrt(1.5 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def mlp(params, x, activation):
    for w, b in params[:-1]:
        x = activation(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def spirals(key, num, turns=4, noise=0.02):
    """Two spirals, `r = 2 sqrt(t)` at angle `2 pi turns sqrt(t)` (arXiv:1908.11843)."""
    key_t, key_class, key_noise = random.split(key, 3)
    root = jnp.sqrt(random.uniform(key_t, (num,)))
    angle = 2 * turns * jnp.pi * root
    x = 2 * root[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1)
    y = random.bernoulli(key_class, 0.5, (num,)).astype(int)
    x = jnp.where(y[:, None] == 1, -x, x)
    return x + noise * random.normal(key_noise, x.shape), y


def train(optimizer, params, grad, key, num_rows, batch_size, num_steps):
    def body(carry, key):
        params, state = carry
        rows = random.randint(key, (batch_size,), 0, num_rows)
        updates, state = optimizer.update(grad(params, rows), state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = (params, optimizer.init(params))
    return jax.lax.scan(body, carry, random.split(key, num_steps))[0][0]


def classify(seed, rate, distribution, problem):
    key_data, key_init, key_run, key_scale = random.split(random.key(seed), 4)
    if problem == "digits":
        x, y = load_digits(return_X_y=True)
        order = random.permutation(key_data, len(y))
        x, y = jnp.asarray(x / 16.0, jnp.float32)[order], jnp.asarray(y)[order]
        x, y, x_test, y_test = x[:1297], y[:1297], x[1297:], y[1297:]
        sizes, activation, batch_size, num_steps = (64, 20, 10), jnp.tanh, 128, 1500
    else:
        x, y = spirals(key_data, 500)
        x_test, y_test = spirals(random.fold_in(key_data, 1), 1000)
        sizes, activation, batch_size, num_steps = (2, 100, 2), jax.nn.relu, 25, 30_000

    def loss(params, rows):
        logits = mlp(params, x[rows], activation)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

    schedule = optax.cosine_decay_schedule(1.0, num_steps)
    optimizer = random_scaled_sgdm(
        lambda t: rate * schedule(t), 0.9, 0.0, distribution, key_scale
    )
    params = init_mlp(key_init, sizes)
    params = train(
        optimizer, params, jax.grad(loss), key_run, len(y), batch_size, num_steps
    )
    return (mlp(params, x_test, activation).argmax(1) == y_test).mean()


def accuracy(problem, rates):
    print(f"{problem}: test accuracy in %")
    for name, distribution in METHODS.items():
        fn = jax.jit(
            jax.vmap(lambda s, r: classify(s, r, distribution, problem), (0, None))
        )
        values = {r: 100 * np.asarray(fn(SEEDS, r)) for r in rates}
        tuning = {r: v[NUM_SEEDS:].mean() for r, v in values.items()}
        best = max(tuning, key=tuning.get)
        v = values[best][:NUM_SEEDS]
        print(
            f"  {name:20s} rate {best}: mean {v.mean():.2f}, sd {v.std(ddof=1):.2f}, "
            f"range {v.min():.1f} to {v.max():.1f} "
            f"(tuning { ({r: round(float(v), 1) for r, v in tuning.items()}) })",
            flush=True,
        )


def stationarity(path, full_grad, beta):
    """
    Both terms of the (c, eps)-stationarity of arXiv:2405.09742 (Definition 2.2) for
    the weighted average of a path and the iterates as its distribution: the norm of the
    mean gradient, and the mean squared distance.
    """
    weights = beta ** jnp.arange(len(path) - 1, -1, -1.0)
    weights = weights / weights.sum()
    mean_grad = weights @ jax.lax.map(full_grad, path)
    spread = weights @ jnp.sum((path - weights @ path) ** 2, axis=1)
    return jnp.linalg.norm(mean_grad), spread


def relu_problem():
    """ReLU network with absolute loss on the diabetes data, minibatches of 32."""
    x, y = load_diabetes(return_X_y=True)
    x = jnp.asarray(x / x.std(0), jnp.float32)
    y = jnp.asarray((y - y.mean()) / y.std(), jnp.float32)
    _, unravel = ravel_pytree(init_mlp(random.key(0), (10, 50, 1)))

    def loss(flat, rows):
        return jnp.abs(mlp(unravel(flat), x[rows], jax.nn.relu)[:, 0] - y[rows]).mean()

    def start(key):
        return ravel_pytree(init_mlp(key, (10, 50, 1)))[0]

    return loss, start, len(y), 32


def chebyshev_problem():
    """
    Nesterov's non-smooth Chebyshev-Rosenbrock function, the second variant of M.
    Gürbüzbalaban and M. L. Overton, Nonlinear Analysis 75(3):1282-1289 (2012), in 5
    dimensions: 2^4 Clarke stationary points, one of them the minimum.
    """

    def loss(x, rows):
        del rows
        return 0.25 * jnp.abs(x[0] - 1) + jnp.abs(x[1:] - 2 * jnp.abs(x[:-1]) + 1).sum()

    return loss, lambda key: random.normal(key, (5,)), 1, 1


def non_smooth(problem, rates, num_steps=5000, window=500, beta=0.99, c=1.0):
    make = {"relu": relu_problem, "chebyshev": chebyshev_problem}[problem]
    loss, start, num_rows, batch_size = make()
    everything = jnp.arange(num_rows)

    def one(seed, rate, distribution):
        key_init, key_run, key_scale = random.split(random.key(seed), 3)
        optimizer = random_scaled_sgdm(rate, beta, 0.0, distribution, key_scale)
        x = start(key_init)
        state = optimizer.init(x)

        def body(carry, key):
            x, state = carry
            rows = random.randint(key, (batch_size,), 0, num_rows)
            updates, state = optimizer.update(jax.grad(loss)(x, rows), state, x)
            x = optax.apply_updates(x, updates)
            return (x, state), x

        keys = random.split(key_run, num_steps)
        carry, _ = jax.lax.scan(
            lambda s, k: (body(s, k)[0], None), (x, state), keys[window:]
        )
        _, path = jax.lax.scan(body, carry, keys[:window])
        grad, spread = stationarity(path, lambda x: jax.grad(loss)(x, everything), beta)
        return grad, spread, loss(path[-1], everything)

    print(f"{problem}: stationarity |mean gradient| + c E|y - x|^2 at c = {c}")
    for name, distribution in METHODS.items():
        fn = jax.jit(jax.vmap(lambda s, r: one(s, r, distribution), (0, None)))
        values = {r: np.stack([np.asarray(v) for v in fn(SEEDS, r)]) for r in rates}
        tuning = {
            r: np.nan_to_num((v[0] + c * v[1])[NUM_SEEDS:].mean(), nan=np.inf)
            for r, v in values.items()
        }
        best = min(tuning, key=tuning.get)
        for rate in rates:
            grad, spread, final = values[rate][:, :NUM_SEEDS]
            total = grad + c * spread
            print(
                f"  {name:20s} rate {rate}{' *' if rate == best else '  '}: "
                f"mean {total.mean():.4f}, range {total.min():.4f} to "
                f"{total.max():.4f} (gradient {grad.mean():.4f}, spread "
                f"{spread.mean():.2e}), loss {final.mean():.4f}",
                flush=True,
            )


def main(problems):
    if "digits" in problems:
        accuracy("digits", (0.03, 0.1, 0.3, 1.0, 3.0))
    if "spirals" in problems:
        accuracy("spirals", (0.01, 0.02, 0.03, 0.05, 0.1))
    if "relu" in problems:
        non_smooth("relu", (1e-5, 3e-5, 1e-4, 3e-4, 1e-3))
    if "chebyshev" in problems:
        non_smooth("chebyshev", (1e-6, 1e-5, 1e-4, 1e-3))


if __name__ == "__main__":
    main(sys.argv[1:] or ["digits", "spirals", "relu", "chebyshev"])
