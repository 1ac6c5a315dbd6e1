# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Bayesian neural network on the digits of scikit-learn: minibatches against NUTS.

A 64-20-10 tanh network with standard normal priors on its 1,510 weights is sampled by
`PseudoLangevin` at its default settings, from minibatches of 128 of the 1,438 training
images, and by NUTS on all of them. Four chains of 60,000 gradients each are compared
with NUTS in what they predict for 359 test images, in their potential energy, and in
the weights of blank pixels, whose exact posterior is the prior. ::

    python examples/bnn_digits.py
    python examples/bnn_digits.py --quick --output /tmp/digits.png

**References:**

1. Zambon, Caruso, Zecchina and Tiana (2026), arXiv:2603.15367.
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
from numpyro.infer import MCMC, NUTS

import numpyro_pl
from numpyro_pl import datasets, diagnostics, plots

SHAPES = {"w1": (64, 20), "b1": (20,), "w2": (20, 10), "b2": (10,)}
BATCH = 128
CHAINS = 4
COMPARED_POINTS = 50
CALIBRATION_BINS = 10
PATH = Path(__file__).parent / "output" / "bnn_digits.png"


class Posterior(NamedTuple):
    """
    Results of a run.

    - **mcmc** - the run itself.
    - **samples** - draws by site, of shape (chain, draw, ...).
    - **probs** - class probabilities of shape (chain, draw, points, classes).
    - **potential** - potential energy on all training data, of shape (chain, draw).
    - **seconds** - sampling, compilation included.
    """

    mcmc: MCMC
    samples: dict[str, Any]
    probs: np.ndarray
    potential: np.ndarray
    seconds: float


def logits(weights, x):
    hidden = jnp.tanh(x @ weights["w1"] + weights["b1"])
    return hidden @ weights["w2"] + weights["b2"]


def probabilities(weights, x):
    return jax.nn.softmax(logits(weights, x), axis=-1)


def model(x, y=None, subsample_size=None):
    weights = {
        name: numpyro.sample(name, dist.Normal(0, 1).expand(shape).to_event())
        for name, shape in SHAPES.items()
    }
    with numpyro.plate("data", x.shape[0], subsample_size=subsample_size):
        xb = numpyro.subsample(x, event_dim=1)
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=logits(weights, xb)), obs=yb)


def sample_langevin(
    seed: int = 0, quick: bool = False, kernel=numpyro_pl.PseudoLangevin
) -> Posterior:
    """600 draws of 100 steps, 60,000 gradients a chain; a tenth if quick."""
    scale = 10 if quick else 1
    mcmc = MCMC(
        kernel(partial(model, subsample_size=BATCH)),
        num_warmup=200 // scale,
        num_samples=400 // scale,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("potential_energy", "kinetic_temperature", "noise_fraction")
    return _run(mcmc, random.key(seed), fields)


def sample_nuts(
    seed: int = 0, quick: bool = False, num_chains: int = 2, num_samples: int = 350
) -> Posterior:
    """250 draws of warmup and `num_samples` more; a tenth if quick."""
    scale = 10 if quick else 1
    mcmc = MCMC(
        NUTS(model, max_tree_depth=7),
        num_warmup=250 // scale,
        num_samples=num_samples // scale,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    # A separate stream: the two samplers must not share their starting points.
    return _run(mcmc, random.fold_in(random.key(seed), 1), ("potential_energy",))


def _run(mcmc: MCMC, key: jax.Array, fields: tuple[str, ...]) -> Posterior:
    data = datasets.digits()
    start = time.perf_counter()
    mcmc.run(key, data.x_train, data.y_train, extra_fields=fields)
    samples = jax.block_until_ready(mcmc.get_samples(group_by_chain=True))
    seconds = time.perf_counter() - start
    probs = diagnostics.predictive_probabilities(
        probabilities, samples, data.x_test, batch_ndims=2
    )
    energy = mcmc.get_extra_fields(group_by_chain=True)["potential_energy"]
    return Posterior(mcmc, samples, np.asarray(probs), np.asarray(energy), seconds)


def measure(langevin: Posterior, nuts: Posterior) -> dict[str, Any]:
    """
    All figures of the comparison, by name; those of NUTS end in `_nuts`. All are
    numbers except `group_temperatures`, a list.
    """
    data = datasets.digits()
    blank = np.flatnonzero(np.all(np.asarray(data.x_train) == 0, axis=0))
    figures = {}
    for suffix, one in (("", langevin), ("_nuts", nuts)):
        r_hat = diagnostics.summarize_rhat(
            diagnostics.function_rhat(one.probs), quantiles=(0.5, 0.99)
        )
        blank_weights = np.asarray(one.samples["w1"])[:, :, blank]
        diverging = one.mcmc.get_extra_fields()["diverging"]
        figures |= {
            f"accuracy{suffix}": diagnostics.accuracy(data.y_test, one.probs),
            f"log_loss{suffix}": diagnostics.log_loss(data.y_test, one.probs),
            f"calibration_error{suffix}": diagnostics.expected_calibration_error(
                data.y_test, one.probs, CALIBRATION_BINS
            ),
            f"potential{suffix}": float(one.potential.mean()),
            f"potential_sd{suffix}": float(one.potential.std()),
            f"blank_sd{suffix}": float(blank_weights.std()),
            f"rhat_median{suffix}": r_hat.quantiles[0.5],
            f"rhat_99{suffix}": r_hat.quantiles[0.99],
            f"divergences{suffix}": int(np.sum(diverging)),
            f"seconds{suffix}": one.seconds,
        }

    figures |= measure_chains(langevin, nuts.probs)
    first, second, *_ = nuts.probs
    figures |= {
        "agreement_nuts": diagnostics.agreement(first, second),
        "total_variation_nuts": diagnostics.total_variation(first, second),
    }

    # Weights of a network are not identified; its predictions and energy are.
    table = numpyro_pl.compare(_identified(langevin), _identified(nuts))
    potential = table.loc["potential"]
    predictions = table.drop(index="potential")
    figures |= {
        "potential_diff_sd": float(potential["mean_diff_sd"]),
        "potential_z": float(potential["z_mean"]),
        "potential_sd_ratio": float(potential["sd_ratio"]),
        "potential_ess": float(potential["ess_bulk"]),
        "potential_ess_nuts": float(potential["ess_bulk_ref"]),
        "potential_rhat": float(potential["r_hat"]),
        "potential_rhat_nuts": float(potential["r_hat_ref"]),
    }
    for level in (0.5, 0.9):
        name = f"{100 * level:.0f}"
        figures |= {
            f"probability_diff_sd_{name}": float(
                predictions["mean_diff_sd"].abs().quantile(level)
            ),
            f"probability_z_{name}": float(predictions["z_mean"].abs().quantile(level)),
            f"probability_sd_ratio_{name}": float(
                predictions["sd_ratio"].quantile(level)
            ),
        }
    return figures


def measure_chains(langevin: Posterior, probs: np.ndarray) -> dict[str, Any]:
    """
    Temperatures, noise and divergences of a run, and how far its predictions are from
    those of a reference.

    :param probs: probabilities of the reference, of shape (..., points, classes).
    """
    # Counted and averaged over every draw since the end of warmup.
    state = langevin.mcmc.last_state
    temperature = np.asarray(state.mean_kinetic_temperature)
    fields = langevin.mcmc.get_extra_fields()
    by_chain = [diagnostics.total_variation(p, probs) for p in langevin.probs]
    return {
        "divergences": int(np.sum(state.num_divergences)),
        "kinetic_temperature": float(temperature.mean()),
        "group_temperatures": np.atleast_1d(temperature.mean(0)).tolist(),
        "noise_fraction": float(np.mean(fields["noise_fraction"])),
        "agreement": diagnostics.agreement(langevin.probs, probs),
        "total_variation": diagnostics.total_variation(langevin.probs, probs),
        "total_variation_chain": float(np.mean(by_chain)),
    }


def _identified(one: Posterior) -> dict[str, np.ndarray]:
    return {
        "potential": one.potential,
        "probability": one.probs[:, :, :COMPARED_POINTS],
    }


def run(
    seed: int = 0, quick: bool = False, nuts: Posterior | None = None
) -> dict[str, Any]:
    """
    Sample both posteriors and compare them.

    :param seed: seed of the chains.
    :param quick: whether to make only a tenth of the draws.
    :param nuts: an earlier reference from :func:`sample_nuts`.
    :return: the figures of :func:`measure`.
    """
    langevin = sample_langevin(seed, quick)
    return measure(langevin, sample_nuts(seed, quick) if nuts is None else nuts)


ROWS = [
    # label, figure, format, has a column for NUTS
    ("test accuracy", "accuracy", ".4f", True),
    ("test log-loss (nats)", "log_loss", ".4f", True),
    ("expected calibration error", "calibration_error", ".4f", True),
    ("mean potential (nats)", "potential", ".1f", True),
    ("sd of the potential (nats)", "potential_sd", ".1f", True),
    ("  bulk effective sample size", "potential_ess", ".0f", True),
    ("  R-hat", "potential_rhat", ".3f", True),
    ("sd of blank pixels' weights (exact: 1)", "blank_sd", ".4f", True),
    ("function R-hat, median", "rhat_median", ".3f", True),
    ("function R-hat, 99 % quantile", "rhat_99", ".3f", True),
    ("divergences", "divergences", "d", True),
    ("seconds, compilation included", "seconds", ".1f", True),
    ("kinetic temperature (target: 1)", "kinetic_temperature", ".4f", False),
    ("noise fraction", "noise_fraction", ".4f", False),
]

DISTANCES = [
    ("agreement of predicted classes", "agreement", ".4f", True),
    ("total variation, all chains", "total_variation", ".4f", True),
    ("total variation, one chain", "total_variation_chain", ".4f", False),
    ("potential: difference (NUTS sd)", "potential_diff_sd", "+.2f", False),
    ("potential: difference (standard errors)", "potential_z", "+.2f", False),
    ("potential: ratio of sd", "potential_sd_ratio", ".3f", False),
    ("probabilities: median |difference| (sd)", "probability_diff_sd_50", ".3f", False),
    ("  90 % quantile", "probability_diff_sd_90", ".3f", False),
    ("probabilities: median |z|", "probability_z_50", ".2f", False),
    ("  90 % quantile", "probability_z_90", ".2f", False),
    ("probabilities: median ratio of sd", "probability_sd_ratio_50", ".3f", False),
]


def format_table(figures: dict[str, Any]) -> str:
    def lines(rows, heads):
        yield f"{'':<42}{heads[0]:>16}{heads[1]:>16}"
        for label, name, spec, both in rows:
            other = format(figures[f"{name}_nuts"], spec) if both else ""
            yield f"{label:<42}{format(figures[name], spec):>16}{other:>16}".rstrip()

    return "\n".join(
        [
            *lines(ROWS, ("PseudoLangevin", "NUTS")),
            "",
            *lines(DISTANCES, ("to NUTS", "NUTS 1 to 2")),
        ]
    )


def save_picture(langevin: Posterior, nuts: Posterior, path: Path) -> None:
    data = datasets.digits()
    figure, axes = plt.subplot_mosaic(
        [["trace", "trace"], ["heat", "heat"], ["scatter", "calibration"]],
        figsize=(9.5, 10.5),
        height_ratios=[1.0, 1.0, 2.1],
        layout="constrained",
    )
    trace = axes["trace"]
    plots.plot_traces({"potential (nats)": langevin.potential}, ax=trace)
    trace.axhline(
        nuts.potential.mean(), label="NUTS mean", color="0.15", linestyle="--"
    )
    trace.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
    plots.plot_temperature(langevin.mcmc, ax=axes["heat"])
    for name in ("trace", "heat"):
        axes[name].set_xlabel("draw")
    plots.plot_predictive_comparison(
        langevin.probs,
        nuts.probs,
        labels=("PseudoLangevin", "NUTS"),
        ax=axes["scatter"],
    )
    plots.plot_calibration(
        data.y_test,
        {"PseudoLangevin": langevin.probs, "NUTS": nuts.probs},
        num_bins=CALIBRATION_BINS,
        ax=axes["calibration"],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the chains")
    parser.add_argument(
        "--output", type=Path, default=PATH, help="where the picture goes"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    args = parser.parse_args()

    langevin = sample_langevin(args.seed, args.quick)
    nuts = sample_nuts(args.seed, args.quick)
    print(format_table(measure(langevin, nuts)))

    # ArviZ reads the run like that of any other kernel. The log-likelihood of each of
    # 1,438 images at each draw, which `az.loo` needs, is left out here for memory.
    data = az.from_numpyro(langevin.mcmc, log_likelihood=False)
    names = ["lp", "kinetic_temperature"]
    print("\n", az.summary(data, group="sample_stats", var_names=names), sep="")

    save_picture(langevin, nuts, args.output)
    print(f"\npicture: {args.output}")


if __name__ == "__main__":
    main()
