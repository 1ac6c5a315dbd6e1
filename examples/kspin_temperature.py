# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
K-spin classification at several temperatures: minibatches against Hamiltonian Monte
Carlo on all of the data.

The problem of arXiv:2603.15367: noisy copies of ten random vectors of 100 signs,
classified by a ReLU network 100-h-100-10 with ReLU on the output too. The loss is the
mean cross-entropy plus `decay / 2 |w|^2`, with `decay * n` the same for all numbers n
of weights, and a temperature t there is `T = N t` here. Chains are cooled: each
temperature starts where the next hotter one ended. `PseudoLangevin`, the published
scheme and HMC are compared in the mean loss, the squared norm of the weights and the
test error of single draws, and in how far they travel in the same time; Adam, stopped
early on a validation set, is the other reference. ::

    python examples/kspin_temperature.py
    python examples/kspin_temperature.py --size 102k --temperatures 1e-5
    python examples/kspin_temperature.py --quick --output /tmp/kspin.png

**References:**

1. Zambon, Caruso, Zecchina and Tiana (2026), arXiv:2603.15367.
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
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
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import HMC, MCMC
from numpyro.infer.util import initialize_model

from numpyro_pl import PseudoLangevin, PublishedPseudoLangevin
from numpyro_pl.datasets import kspin
from numpyro_pl.diagnostics import squared_distance

BATCH, TEST = 128, 10_000
DECAY = 1e-5 * 1_006_110
"""`decay * n`."""

HIDDEN = {"11k": (50, 100), "102k": (500, 100), "1M": (5000, 100)}
SIZES = {name: (100, *hidden, 10) for name, hidden in HIDDEN.items()}
PATH = Path(__file__).parent / "output" / "kspin_temperature.png"
MEASURES = ("loss", "norm", "error")
LANGEVIN = "pseudo-Langevin"


class Plan(NamedTuple):
    """
    How much is run.

    - **sizes** - units of the layers, inputs and outputs included.
    - **rows** - training examples.
    - **temperatures** - of the mean loss, hottest first.
    - **chains** - chains of pseudo-Langevin.
    - **warmup**, **draws** - draws of pseudo-Langevin at each temperature, of 157 steps
      or one pass over the data.
    - **hmc** - leapfrog steps of a trajectory, trajectories of warmup, trajectories.
    - **epochs** - of Adam.
    """

    sizes: tuple[int, ...]
    rows: int = 20_000
    temperatures: tuple[float, ...] = (1e-4, 1e-5, 1e-6)
    chains: int = 2
    warmup: int = 300
    draws: int = 300
    hmc: tuple[int, int, int] = (150, 15, 40)
    epochs: int = 100

    @property
    def num_weights(self) -> int:
        """Number n of weights and biases."""
        return sum((a + 1) * b for a, b in pairwise(self.sizes))

    @property
    def decay(self) -> float:
        """Factor of half the squared norm in the loss."""
        return DECAY / self.num_weights


PLANS = {
    "11k": Plan(SIZES["11k"]),
    "102k": Plan(SIZES["102k"], warmup=200, draws=100, hmc=(150, 15, 20)),
    "1M": Plan(SIZES["1M"], warmup=200, draws=50, hmc=(50, 10, 10)),
}
QUICK = Plan((100, 5, 10, 10), 1000, (1e-3,), 2, 60, 100, (20, 60, 150), 300)


class Draws(NamedTuple):
    """
    Results of a sampler at one temperature.

    - **measures** - mean loss, squared norm and test error of each draw, by name; of
      shape (chain, draw).
    - **last** - the last weights of every chain, with a leading axis.
    - **state** - the state of the sampler at the end.
    - **note** - kinetic temperature over the target, or rate of acceptance.
    - **seconds** - compilation included.
    """

    measures: dict[str, np.ndarray]
    last: dict[str, jax.Array]
    state: Any
    note: str
    seconds: float


def logits(weights, x):
    for i in range(len(weights) // 2):
        x = jax.nn.relu(x @ weights[f"w{i}"] + weights[f"b{i}"])
    return x


def model(x, y, sizes, decay, subsample_size=None):
    """`exp(-N loss)`: at a temperature T = N t the target is `exp(-loss / t)`."""
    prior = dist.Normal(0, (x.shape[0] * decay) ** -0.5)
    weights = {}
    for i, (a, b) in enumerate(pairwise(sizes)):
        weights[f"w{i}"] = numpyro.sample(f"w{i}", prior.expand([a, b]).to_event(2))
        weights[f"b{i}"] = numpyro.sample(f"b{i}", prior.expand([b]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=subsample_size):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=logits(weights, xb)), obs=yb)


class Problem:
    """The data, the model and what is measured, for one plan."""

    def __init__(self, plan: Plan, seed: int = 0):
        self.plan = plan
        train = kspin(seed, plan.rows)
        more = partial(kspin, references=train.references)
        self.train = train.x, train.y
        self.validation = more(seed + 1000, TEST)[:2]
        self.test = more(seed + 2000, TEST)[:2]
        self.settings = {"sizes": plan.sizes, "decay": plan.decay}
        self.model = partial(model, **self.settings)
        self.minibatch = partial(model, **self.settings, subsample_size=BATCH)

    def loss(self, weights):
        """The mean loss on all training examples."""
        x, y = self.train
        fit = optax.softmax_cross_entropy_with_integer_labels(logits(weights, x), y)
        return fit.mean() + 0.5 * self.plan.decay * square(weights)

    def measure(self, weights) -> dict[str, np.ndarray]:
        """Loss, squared norm and test error of draws of shape (chain, draw, ...)."""
        one = jax.jit(
            lambda w: (self.loss(w), square(w), error(w, *self.test)),
        )
        shape = next(iter(weights.values())).shape[:2]
        flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in weights.items()}
        rows = [one({k: v[i] for k, v in flat.items()}) for i in range(np.prod(shape))]
        values = np.asarray(rows, np.float64).T.reshape(3, *shape)
        return dict(zip(MEASURES, values, strict=True))


def square(weights):
    return sum(jnp.vdot(v, v) for v in jax.tree.leaves(weights))


def error(weights, x, y):
    return jnp.mean(logits(weights, x).argmax(-1) != y)


def sample_langevin(
    problem: Problem, temperature: float, start=None, seed: int = 0, kind="default"
) -> Draws:
    """
    Pseudo-Langevin at a temperature of the mean loss.

    :param start: weights with a leading axis of chains; None: NumPyro's own start.
    :param kind: `"default"` or `"published"`.
    """
    plan = problem.plan
    kernel = PseudoLangevin if kind == "default" else PublishedPseudoLangevin
    target = plan.rows * temperature
    mcmc = MCMC(
        kernel(problem.minibatch, temperature=target),
        num_warmup=plan.warmup,
        num_samples=plan.draws,
        num_chains=plan.chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        mcmc.run(random.key(seed), *problem.train, init_params=start)
        draws = jax.block_until_ready(mcmc.get_samples(group_by_chain=True))
        jax.effects_barrier()
    seconds = time.perf_counter() - begin
    for one in said:
        print(f"{kind} at t = {temperature:g}: {one.message}")
    state = mcmc.last_state
    hot = float(np.mean(state.mean_kinetic_temperature)) / target
    note = f"T / target {hot:.3f}, noise {np.mean(state.noise_fraction):.3f}"
    last = {k: v[:, -1] for k, v in draws.items()}
    return Draws(problem.measure(draws), last, (mcmc.sampler, state), note, seconds)


def sample_hmc(problem: Problem, temperature: float, start, seed: int = 0) -> Draws:
    """
    One chain of HMC on all of the data, with unit masses and the step size that NumPyro
    adapts.

    :param start: weights of one chain.
    """
    steps, num_warmup, num_samples = problem.plan.hmc
    x, y = problem.train
    info = initialize_model(random.key(seed), problem.model, model_args=(x, y))
    target = problem.plan.rows * temperature
    kernel = HMC(
        potential_fn=lambda z: info.potential_fn(z) / target,
        num_steps=steps,
        trajectory_length=None,
        step_size=0.3 * temperature**0.5,
        adapt_mass_matrix=False,
        target_accept_prob=0.75,
    )
    mcmc = MCMC(
        kernel, num_warmup=num_warmup, num_samples=num_samples, progress_bar=False
    )
    begin = time.perf_counter()
    mcmc.run(random.key(seed), init_params=start, extra_fields=("accept_prob",))
    draws = jax.block_until_ready(mcmc.get_samples(group_by_chain=True))
    seconds = time.perf_counter() - begin
    accepted = float(np.mean(mcmc.get_extra_fields()["accept_prob"]))
    size = float(mcmc.last_state.adapt_state.step_size)
    measures = problem.measure(draws)
    early, late = (half.mean() for half in np.array_split(measures["loss"][0], 2))
    note = f"accepted {accepted:.2f}, step {size:.2g}, late - early {late - early:.5f}"
    last = {k: v[:, -1] for k, v in draws.items()}
    return Draws(measures, last, (mcmc.sampler, mcmc.last_state), note, seconds)


def train_adam(problem: Problem, seed: int = 0) -> dict[str, float]:
    """
    Test errors of Adam on the same loss, at the epoch of the least validation error and
    at the end.
    """
    plan = problem.plan
    x, y = problem.train
    optimizer = optax.adam(1e-3)

    def loss(weights, rows):
        fit = optax.softmax_cross_entropy_with_integer_labels(
            logits(weights, x[rows]), y[rows]
        )
        return fit.mean() + 0.5 * plan.decay * square(weights)

    def step(carry, rows):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights, rows), state)
        return (optax.apply_updates(weights, updates), state), None

    @jax.jit
    def epoch(carry, key):
        rows = random.permutation(key, plan.rows)[: plan.rows // BATCH * BATCH]
        carry, _ = jax.lax.scan(step, carry, rows.reshape(-1, BATCH))
        errors = [error(carry[0], *d) for d in (problem.validation, problem.test)]
        return carry, jnp.stack(errors)

    key_start, key = random.split(random.key(seed))
    weights = first_weights(key_start, plan.sizes)
    carry, errors = (weights, optimizer.init(weights)), []
    for k in random.split(key, plan.epochs):
        carry, both = epoch(carry, k)
        errors.append(np.asarray(both))
    validation, test = np.array(errors).T
    return {"early": float(test[validation.argmin()]), "end": float(test[-1])}


def first_weights(key, sizes) -> dict[str, jax.Array]:
    """Normal weights at which ReLU layers keep the size of their inputs."""
    weights = {}
    for i, (a, b) in enumerate(pairwise(sizes)):
        w = random.normal(random.fold_in(key, i), (a, b))
        weights |= {f"w{i}": w * (2 / a) ** 0.5, f"b{i}": jnp.zeros(b)}
    return weights


def travel(state, args, num: int, until=np.inf) -> tuple[np.ndarray, np.ndarray]:
    """
    Squared distances of draws from the first one, and seconds since then.

    :param state: a kernel and its state; of several chains the first is taken.
    :param args: arguments of the model.
    :param num: draws.
    :param until: seconds after which it ends, if that is earlier; not before 4 draws.
    """
    kernel, state = state
    if np.ndim(state.i) > 0:
        state = jax.tree.map(lambda x: x[0], state)
    step = jax.jit(lambda s: kernel.sample(s, args, {}))
    # Twice: types of the state that change with the first step are compiled again.
    state = jax.block_until_ready(step(step(state)))
    places, seconds = [state.z], [0.0]
    begin = time.perf_counter()
    # Distances need a few draws, however slow they are.
    while len(places) < 5 or (len(places) <= num and seconds[-1] < until):
        state = jax.block_until_ready(step(state))
        places.append(state.z)
        seconds.append(time.perf_counter() - begin)
    draws = jax.tree.map(lambda *x: np.stack(x)[None], *places)
    return squared_distance(draws)[0], np.array(seconds)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean of draws of shape (chain, draw) and its Monte Carlo standard error."""
    size = max(float(effective_sample_size(values)), 1.0)
    return float(values.mean()), float(values.std() / size**0.5)


def run(plan: Plan, seed: int = 0, published: bool = True) -> dict[str, Any]:
    """
    Everything that is compared.

    :return: draws by (temperature, sampler), squared distances and seconds by sampler
        at the last temperature, and test errors of Adam.
    """
    problem, draws, distance = Problem(plan, seed), {}, {}

    def keep(t, name, one):
        draws[t, name] = one
        print(format_table({(t, name): one}, head=len(draws) == 1), flush=True)
        return one

    start = None
    for t in plan.temperatures:
        langevin = keep(t, LANGEVIN, sample_langevin(problem, t, start, seed))
        start = langevin.last
        if published:
            other = sample_langevin(problem, t, start, seed, "published")
            keep(t, "published", other)
        one = {k: v[0] for k, v in start.items()}
        hmc = keep(t, "HMC", sample_hmc(problem, t, one, seed))
    distance["HMC"] = far = travel(hmc.state, (), 10)
    distance[LANGEVIN] = travel(langevin.state, problem.train, plan.draws, far[1][-1])
    return {"draws": draws, "distance": distance, "adam": train_adam(problem, seed)}


def format_table(draws: dict[tuple, Draws], head: bool = True) -> str:
    heads = ("t", "sampler", "mean loss", "squared norm", "test error, %")
    line = f"{heads[0]:>6} {heads[1]:16}{heads[2]:>22}{heads[3]:>18}{heads[4]:>16}"
    lines = [line] if head else []
    for (t, name), one in draws.items():
        loss, norm, wrong = (mean_and_error(one.measures[m]) for m in MEASURES)
        lines.append(
            f"{t:6.0e} {name:16}{loss[0]:12.5f} ({loss[1]:.5f}){norm[0]:10.2f} "
            f"({norm[1]:.2f}){100 * wrong[0]:9.2f} ({100 * wrong[1]:.2f})  "
            f"{one.note}, {one.seconds:.0f} s"
        )
    return "\n".join(lines)


def distance_ratio(distance: dict[str, Any]) -> float:
    """Distance of pseudo-Langevin over that of HMC, at the last draw of HMC."""
    moved, seconds = distance["HMC"]
    far, at = distance[LANGEVIN]
    return float(np.interp(seconds[-1], at, far) / moved[-1])


def save_picture(found: dict[str, Any], path: Path) -> None:
    """Loss and test error against the temperature; distances against seconds."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    names = dict.fromkeys(name for _, name in found["draws"])
    for name, marker in zip(names, "osd", strict=False):
        ts = [t for t, n in found["draws"] if n == name]
        for ax, measure, scale in ((axes[0], "loss", 1), (axes[1], "error", 100)):
            both = [
                mean_and_error(found["draws"][t, name].measures[measure]) for t in ts
            ]
            mean, se = scale * np.array(both).T
            ax.errorbar(ts, mean, 2 * se, marker=marker, label=name, capsize=3)
    early = 100 * found["adam"]["early"]
    axes[1].axhline(early, color="0.3", linestyle="--", label="Adam, stopped early")
    for name, (moved, seconds) in found["distance"].items():
        axes[2].loglog(seconds[1:], moved[1:], marker=".", label=name)
    axes[0].set(ylabel="mean loss (bars: two standard errors)")
    axes[1].set(ylabel="test error of single draws, %")
    for ax in axes[:2]:
        ax.set(xscale="log", xlabel="temperature of the mean loss")
    axes[2].set(xlabel="seconds", ylabel="squared distance", title="coldest")
    for ax in axes:
        ax.legend(frameon=False)
        ax.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of data and chains")
    parser.add_argument("--size", choices=SIZES, default="11k", help="weights")
    parser.add_argument("--temperatures", help="of the mean loss, as 1e-4,1e-5")
    parser.add_argument("--quick", action="store_true", help="a small problem")
    parser.add_argument("--output", type=Path, default=PATH, help="the picture")
    options = parser.parse_args(argv)
    plan = QUICK if options.quick else PLANS[options.size]
    if options.temperatures:
        given = sorted(map(float, options.temperatures.split(",")), reverse=True)
        plan = plan._replace(temperatures=tuple(given))
    print(f"{plan.num_weights} weights, {plan.rows} examples, decay {plan.decay:.3g}")
    found = run(plan, options.seed)
    adam = found["adam"]
    print(f"Adam: test error {100 * adam['early']:.2f} % stopped early, ", end="")
    print(f"{100 * adam['end']:.2f} % at the end")
    print(f"distance, pseudo-Langevin / HMC: {distance_ratio(found['distance']):.3g}")
    save_picture(found, options.output)
    print(f"picture: {options.output}")


if __name__ == "__main__":
    main()
