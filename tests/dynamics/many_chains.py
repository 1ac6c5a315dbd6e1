# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Many short chains of a partition, started at targets with exact moments."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.dynamics import (
    MinibatchGradient,
    OverdampedLangevin,
    Partition,
    Phase,
    Trajectory,
    integrate,
)
from numpyro_pl.trees.increments import Increments

CHAINS = 8_000
FREQUENCIES = np.array([0.3, 0.8, 1.2])
CURVATURE = np.array([0.5, 20.0, 3.0])


def gradient_of(grad, sd=None):
    """Gradient by group, with white noise of standard deviation `sd` by group."""

    def halves(x, key):
        def one(k):
            noise = [
                2**0.5 * s * random.normal(random.fold_in(k, i), v.shape)
                for i, (s, v) in enumerate(zip(sd, x, strict=True))
            ]
            return jax.tree.map(jnp.add, grad(x), tuple(noise))

        return tuple(one(k) for k in random.split(key))

    def noisy(x, key):
        return jax.tree.map(lambda a, b: 0.5 * (a + b), *halves(x, key))

    if sd is None:
        return MinibatchGradient(
            lambda key, num: jnp.zeros(num), lambda x, b: grad(x), None
        )
    return MinibatchGradient(lambda key, num: random.split(key, num), noisy, halves)


def run(members, grad, start, steps, sd=None, burn=40, scales=None, chains=CHAINS):
    """
    Draws, temperatures and thermostats of many chains of one partition.

    :param start: function key -> position by group, at the target.
    :param scales: step sizes by group; the members' own by default.
    """
    partition = Partition(members)
    gradient = gradient_of(grad, sd)
    if not partition.tracks_noise:
        gradient = gradient._replace(halves=None)
    if scales is None:
        scales = tuple(m.choose_scales(jnp.zeros(1), jnp.ones(1)) for m in members)
    zero = tuple(
        jnp.full_like(s, v) if m.tracks_noise else jnp.zeros(())
        for m, s, v in zip(members, scales, sd or [0.0] * len(members), strict=True)
    )
    variance = jax.tree.map(jnp.square, zero)

    def chain(key):
        key_z, key_u, key = random.split(key, 3)
        z = start(key_z)
        u = partition.draw_momentum(Increments("gaussian", key_u), scales, z)
        phase = Phase(z, u, variance)
        for num, sub in zip((burn, steps), random.split(key), strict=True):
            phase, temperature = integrate(
                sub, partition, gradient, phase, scales, Trajectory(num)
            )
        return phase.position, temperature, partition.thermostat(phase.momentum)

    result = jax.jit(jax.vmap(chain))(random.split(random.key(0), chains))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), result)


def harmonic_scores(make, temperature=2.0, per_step=0.1):
    """
    Standard errors between variances and T / H, one group for each frequency, and
    between the kinetic temperatures and T.
    """
    steps = [float(w / h**0.5) for w, h in zip(FREQUENCIES, CURVATURE, strict=True)]
    members = [
        make(temperature=temperature, step_size=h)
        if issubclass(make, OverdampedLangevin)
        else make(temperature=temperature, step_size=h, friction=per_step / h)
        for h in steps
    ]
    curvature = [float(h) for h in CURVATURE]

    def grad(x):
        return tuple(h * v for h, v in zip(curvature, x, strict=True))

    def start(key):
        z = random.normal(key, (3, 1))
        return tuple(
            (temperature / h) ** 0.5 * v for h, v in zip(curvature, z, strict=True)
        )

    z, t, _ = run(members, grad, start, 48)
    var = np.array([(v**2).mean() for v in z])
    scores = (var * CURVATURE / temperature - 1) / (2 / CHAINS) ** 0.5
    hot = (t.mean(0) - temperature) / (t.std(0) / CHAINS**0.5)
    return scores, hot
