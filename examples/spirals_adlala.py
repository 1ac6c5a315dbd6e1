# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Two spirals: partitioned Langevin dynamics against optimizers.

The published problem of arXiv:1908.11843: two spirals of four turns, 500 training and
1,000 test points, one hidden layer of 100 ReLU, minibatches of 25, 4,000 epochs, flat
priors, temperature `tau = 1e-4` of the mean loss (T = 0.05). AdLaLa, LOL and
multi-layer Langevin run with the published settings, five chains at a time, next to
Adam and random-scaled SGDM from five starts. AdLaLa runs twice: with the thermostat of
this package, and with the published one. ::

    python examples/spirals_adlala.py
    python examples/spirals_adlala.py --quick --output /tmp/spirals.png

**References:**

1. Leimkuhler, Matthews and Vlaar (2019), arXiv:1908.11843.
2. Zhang and Cutkosky (2024), arXiv:2405.09742.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax import random
from numpyro.infer import MCMC

from numpyro_pl import LOL, AdLaLa, MultilayerLangevin, random_scaled_sgdm
from numpyro_pl.datasets import two_spirals
from numpyro_pl.dynamics import Langevin
from numpyro_pl.plots import plot_decision_regions

TRAIN, TEST, BATCH, HIDDEN = 500, 1000, 25, 100
EPOCHS, THINNING, SEEDS = 4000, 10, 5
STEPS = TRAIN // BATCH
TEMPERATURE = 1e-4 * TRAIN
SHAPES = {"w1": (2, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN,), "b2": ()}
END, LAST = 0.025, 0.2
"""Fractions of the run, at its end: for single draws, and to average over."""

PATH = Path(__file__).parent / "output" / "spirals_adlala.png"


class Run(NamedTuple):
    """
    Results of a method.

    - **weights** - by site, of shape (seed, kept epoch, ...).
    - **probs** - probability of class 1 at the test points: (seed, kept epoch, point).
    - **seconds** - for all seeds, compilation included.
    - **temperature** - kinetic temperature over the target, by group; None for
      optimizers.
    """

    weights: dict[str, Any]
    probs: np.ndarray
    seconds: float
    temperature: Any = None


def logits(weights, x):
    hidden = jax.nn.relu(x @ weights["w1"] + weights["b1"])
    return hidden @ weights["w2"] + weights["b2"]


def model(x, y=None, subsample_size=BATCH):
    """Flat priors, as published: only their temperature keeps the weights in bounds."""
    weights = {
        name: numpyro.sample(
            name, dist.ImproperUniform(dist.constraints.real, (), shape)
        )
        for name, shape in SHAPES.items()
    }
    with numpyro.plate("data", x.shape[0], subsample_size=subsample_size):
        xb = numpyro.subsample(x, event_dim=1)
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Bernoulli(logits=logits(weights, xb)), obs=yb)


def starts(key, num: int) -> dict[str, jax.Array]:
    """Uniform weights within one over the square root of a layer's inputs."""
    bounds = {"w1": 2**-0.5, "b1": 2**-0.5, "w2": HIDDEN**-0.5, "b2": HIDDEN**-0.5}
    return {
        name: bounds[name] * random.uniform(k, (num, *SHAPES[name]), minval=-1)
        for k, name in zip(random.split(key, len(SHAPES)), SHAPES, strict=True)
    }


def probabilities(weights, x) -> np.ndarray:
    """Of class 1, at `x`, for weights with two leading axes."""
    one = jax.vmap(lambda w: jax.nn.sigmoid(logits(w, x)))
    return np.asarray(jax.jit(lambda w: jax.lax.map(one, w))(weights))


def sample(kernel, data, seed: int, epochs: int) -> Run:
    """Five chains of a kernel, one draw per epoch, every tenth kept."""
    start = time.perf_counter()
    mcmc = MCMC(
        kernel,
        num_warmup=0,
        num_samples=epochs,
        num_chains=SEEDS,
        thinning=THINNING,
        chain_method="vectorized",
        progress_bar=False,
    )
    key_start, key = random.split(random.key(seed))
    mcmc.run(key, data["x"], data["y"], init_params=starts(key_start, SEEDS))
    weights = jax.block_until_ready(mcmc.get_samples(group_by_chain=True))
    seconds = time.perf_counter() - start
    temperature = np.mean(mcmc.last_state.mean_kinetic_temperature, axis=0)
    probs = probabilities(weights, data["x_test"])
    return Run(weights, probs, seconds, temperature / TEMPERATURE)


def optimize(optimizer, data, seed: int, epochs: int) -> Run:
    """The mean loss from five starts, every tenth epoch kept."""
    begin = time.perf_counter()

    def loss(weights, rows):
        z = logits(weights, data["x"][rows])
        return optax.sigmoid_binary_cross_entropy(z, data["y"][rows]).mean()

    def train(key, weights):
        def step(carry, key):
            weights, state = carry
            rows = random.randint(key, (BATCH,), 0, TRAIN)
            grad = jax.grad(loss)(weights, rows)
            updates, state = optimizer.update(grad, state, weights)
            return (optax.apply_updates(weights, updates), state), None

        def keep(carry, key):
            carry, _ = jax.lax.scan(step, carry, random.split(key, STEPS * THINNING))
            return carry, carry[0]

        keys = random.split(key, epochs // THINNING)
        return jax.lax.scan(keep, (weights, optimizer.init(weights)), keys)[1]

    key_start, key = random.split(random.key(seed))
    weights = starts(key_start, SEEDS)
    weights = jax.jit(jax.vmap(train))(random.split(key, SEEDS), weights)
    weights = jax.block_until_ready(weights)
    seconds = time.perf_counter() - begin
    return Run(weights, probabilities(weights, data["x_test"]), seconds)


def figures(run: Run, y_test) -> dict[str, Any]:
    """
    Test accuracies at the end of a run: of single draws (their mean over the last
    epochs), of the average over the draws of a chain, and of that over all chains.
    """
    y = np.asarray(y_test)
    kept = run.probs.shape[1]
    end = run.probs[:, -max(1, int(END * kept)) :]
    single = ((end > 0.5) == y).mean(axis=(1, 2))
    last = run.probs[:, -max(1, int(LAST * kept)) :]
    chain = ((last.mean(1) > 0.5) == y).mean(-1)
    pooled = float(((last.mean((0, 1)) > 0.5) == y).mean())
    return {
        "single": single,
        "chain": chain,
        "pooled": pooled,
        "seconds": run.seconds,
        "temperature": run.temperature,
    }


def make_data(seed: int) -> dict[str, jax.Array]:
    """Training and test points."""
    x, y = two_spirals(seed, TRAIN)
    x_test, y_test = two_spirals(seed + 1000, TEST)
    return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}


def make_kernels() -> dict[str, Any]:
    """
    The published settings, one draw per epoch; the step size of 0.25 is the kernels'
    default. The thermostat of `AdLaLa` is the published one only where its name says
    so.
    """
    t = TEMPERATURE
    common = {"temperature": t, "num_steps": STEPS}
    layers = {
        "?1": Langevin(friction=0.1, temperature=t),
        "*": Langevin(friction=1.0, temperature=t),
    }
    return {
        "AdLaLa": AdLaLa(model, **common),
        "AdLaLa, published": AdLaLa(model, **common, published=True),
        "LOL": LOL(model, **common),
        "multi-layer Langevin": MultilayerLangevin(
            model, layers, step_size=0.25, num_steps=STEPS
        ),
    }


def make_optimizers(seed: int) -> dict[str, optax.GradientTransformation]:
    """The optimizers, each with its best learning rate."""
    return {
        "random-scaled SGDM": random_scaled_sgdm(0.05, momentum=0.9, rng_key=seed),
        "Adam": optax.adam(0.005),
    }


def run(
    seed: int = 0, quick: bool = False, methods: Sequence[str] | None = None
) -> tuple[dict[str, Run], dict[str, Any]]:
    """
    Methods on one data set: their runs and the data.

    :param seed: of data, starts and chains.
    :param quick: whether to make only a twentieth of the epochs.
    :param methods: their names; default all.
    """
    epochs = EPOCHS // 20 if quick else EPOCHS
    data = make_data(seed)
    kernels, optimizers = make_kernels(), make_optimizers(seed)
    runs = {}
    for name in [*kernels, *optimizers] if methods is None else methods:
        runs[name] = (
            sample(kernels[name], data, seed, epochs)
            if name in kernels
            else optimize(optimizers[name], data, seed, epochs)
        )
    return runs, data


def format_table(table: dict[str, dict[str, Any]]) -> str:
    """Accuracies in percent: mean over seeds and range."""

    def shown(values):
        v = 100 * np.asarray(values)
        return f"{v.mean():5.1f} ({v.min():.1f} to {v.max():.1f})"

    head = ("test accuracy, %", "single draw", "chain average", "pooled")
    lines = [f"{head[0]:22}{head[1]:>22}{head[2]:>22}{head[3]:>8}  s   T / target"]
    for name, one in table.items():
        temperature = one["temperature"]
        t = (
            ""
            if temperature is None
            else " ".join(f"{v:.3f}" for v in np.atleast_1d(temperature))
        )
        lines.append(
            f"{name:22}{shown(one['single']):>22}{shown(one['chain']):>22}"
            f"{100 * one['pooled']:8.1f} {one['seconds']:3.0f}   {t}"
        )
    return "\n".join(lines)


def save_picture(runs: dict[str, Run], data, path: Path) -> None:
    """Decision regions with their certainty, and accuracy against epochs."""
    columns = len(runs)
    fig = plt.figure(figsize=(3.1 * columns, 7.2), layout="constrained")
    grid = fig.add_gridspec(2, columns, height_ratios=(1, 1))
    side = np.linspace(-2.2, 2.2, 121)
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    for k, (name, one) in enumerate(runs.items()):
        ax = fig.add_subplot(grid[0, k])
        every = max(1, int(LAST * one.probs.shape[1]) // 20)
        first = -max(1, int(LAST * one.probs.shape[1]))
        weights = jax.tree.map(lambda w, a=first, b=every: w[:, a::b], one.weights)
        p = probabilities(weights, jnp.asarray(points, jnp.float32)).mean((0, 1))
        both = np.stack([1 - p, p], -1)
        plot_decision_regions(side, side, both, (data["x"], data["y"]), ax=ax)
        ax.get_legend().remove()
        ax.set(title=name, xticks=[], yticks=[], xlabel="", ylabel="", aspect="equal")
    ax = fig.add_subplot(grid[1, :])
    y = np.asarray(data["y_test"])
    for name, one in runs.items():
        accuracy = 100 * ((one.probs > 0.5) == y).mean(-1)
        epochs = THINNING * np.arange(1, accuracy.shape[1] + 1)
        width = max(1, len(epochs) // 50)
        smooth = np.ones(width) / width
        curves = np.array([np.convolve(a, smooth, "valid") for a in accuracy])
        (line,) = ax.plot(epochs[width - 1 :], curves.mean(0), label=name)
        ax.fill_between(
            epochs[width - 1 :],
            curves.min(0),
            curves.max(0),
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    ax.set(
        xlabel="epoch",
        ylabel="test accuracy of single draws, %",
        title="mean and range of five seeds, moving average",
    )
    ax.legend(loc="lower right", ncols=2)
    ax.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of data and starts")
    parser.add_argument(
        "--quick", action="store_true", help="a twentieth of the epochs"
    )
    parser.add_argument("--output", type=Path, default=PATH, help="the picture")
    options = parser.parse_args()
    begin = time.perf_counter()
    runs, data = run(options.seed, options.quick)
    table = {name: figures(one, data["y_test"]) for name, one in runs.items()}
    print(format_table(table))
    print(f"all methods: {time.perf_counter() - begin:.0f} s")
    save_picture(runs, data, options.output)
    print(f"picture: {options.output}")


if __name__ == "__main__":
    main()
