# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What is measured, by part. The scripts that a part runs are examples, benchmarks and
statistical tests of this repository; they are imported where they are needed, since
reading the record needs none of them.
"""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from documented import readme
from documented.record import ROOT

sys.path += [str(ROOT / name) for name in ("examples", "tests/statistical")]

Figures = dict[str, Any]


class Effort(NamedTuple):
    """
    How a part is measured.

    - **quick** - whether in a tiny run that only proves that it works.
    - **directory** - where parts leave what others share, for this run of the command.
    """

    quick: bool
    directory: Path

    def nuts(self):
        """The NUTS reference of the digits network, sampled once: 4 x 1,000 draws."""
        import bnn_digits

        path = self.directory / "nuts.pickle"
        if not path.exists():
            nuts = bnn_digits.sample_nuts(0, self.quick, num_chains=4, num_samples=1000)
            path.write_bytes(pickle.dumps(nuts))
        return pickle.loads(path.read_bytes())


def measure_readme(effort: Effort) -> Figures:
    """What the example of README prints."""
    return {"printed": readme.printed()}


OWN = (
    "kinetic_temperature",
    "noise_fraction",
    "group_temperatures",
    "potential_diff_sd",
    "potential_z",
    "total_variation",
    "agreement",
    "accuracy",
    "log_loss",
    "divergences",
    "seconds",
)
OF_NUTS = (
    "potential",
    "potential_sd",
    "potential_ess",
    "total_variation",
    "agreement",
    "accuracy",
    "log_loss",
    "divergences",
    "seconds",
)
CLOSEST = 3
"""Test images whose two likeliest classes are closest."""


def measure_tall(effort: Effort) -> Figures:
    """A logistic regression on real rows, fewer of them, and ten times as many."""
    import tall_flights

    rows = (3_000, 6_000) if effort.quick else (32_735, 327_346, 3_273_460)
    options = tall_flights.Options(effort.quick)
    results = tall_flights.run(rows, options, effort.directory / "flights.png")
    return {
        num: {name: _tall_figures(one, runs.get("NUTS")) for name, one in runs.items()}
        for num, runs in results.items()
    }


def _tall_figures(one, nuts) -> Figures:
    figures = {
        "ess": [one.ess.min(), np.median(one.ess)],
        "seconds": one.seconds,
        "draws": list(one.draws.shape[:2]),
    }
    if nuts is None:
        return figures
    draws, known = (r.draws.reshape(-1, r.draws.shape[-1]) for r in (one, nuts))
    ratio = draws.std(0) / known.std(0)
    return figures | {
        "off": np.abs((draws.mean(0) - known.mean(0)) / known.std(0)).max(),
        "sd_ratio_range": [ratio.min(), ratio.max()],
    }


def measure_digits(effort: Effort) -> Figures:
    """`PseudoLangevin` at its defaults, three seeds, against NUTS."""
    import bnn_digits

    nuts = effort.nuts()
    seeds = {}
    for seed in range(1 if effort.quick else 3):
        one = bnn_digits.run(seed, effort.quick, nuts)
        seeds[seed] = {name: one[name] for name in OWN}
    return {"seeds": seeds, "nuts": _reference(nuts, one)}


def _reference(nuts, one: Figures) -> Figures:
    """The figures of NUTS, two of its chains compared with each other included."""
    likeliest = np.sort(nuts.probs.mean((0, 1)), axis=-1)
    margins = np.sort(likeliest[:, -1] - likeliest[:, -2])[:CLOSEST]
    return {name: one[f"{name}_nuts"] for name in OF_NUTS} | {
        "chains": nuts.probs.shape[0],
        "draws": nuts.probs.shape[1],
        "images": nuts.probs.shape[2],
        "margins": margins.tolist(),
    }


def measure_noise_fractions(effort: Effort) -> Figures:
    """Bias and mixing against the noise fraction, with friction and without."""
    import bench_noise_fraction

    fractions = (0.05, 0.5) if effort.quick else bench_noise_fraction.FRACTIONS
    return bench_noise_fraction.measure(effort.nuts(), effort.quick, fractions)


MIXED = '{"?1": AdaptiveLangevin(), "*": PseudoLangevinDynamics()}'
LARGE_STEP = 0.5


def partitioned_kernels() -> dict[str, Callable]:
    """Constructors of the partitioned kernels, by what a user writes."""
    import numpyro_pl
    from numpyro_pl import PartitionedLangevin
    from numpyro_pl.dynamics import AdaptiveLangevin, PseudoLangevinDynamics

    def published(model):
        return numpyro_pl.AdLaLa(model, published=True)

    def mixed(model):
        dynamics = {"?1": AdaptiveLangevin(), "*": PseudoLangevinDynamics()}
        return PartitionedLangevin(model, dynamics)

    def adaptive(form):
        def kernel(model):
            dynamics = {"*": AdaptiveLangevin(published=form)}
            return PartitionedLangevin(model, dynamics, step_size=LARGE_STEP)

        return kernel

    return {
        "SGNHT(model)": numpyro_pl.SGNHT,
        "AdLaLa(model)": numpyro_pl.AdLaLa,
        "AdLaLa(model, published=True)": published,
        "SGHMC(model)": numpyro_pl.SGHMC,
        MIXED: mixed,
        "AdaptiveLangevin()": adaptive(False),
        "AdaptiveLangevin(published=True)": adaptive(True),
    }


def measure_partitioned(effort: Effort) -> Figures:
    """Partitioned kernels on the digits network, seed 0, against NUTS."""
    import bnn_digits

    nuts = effort.nuts()
    kernels = {}
    for name, kernel in partitioned_kernels().items():
        langevin = bnn_digits.sample_langevin(0, effort.quick, kernel)
        one = bnn_digits.measure(langevin, nuts)
        kernels[name] = {key: one[key] for key in OWN}
    return {
        "kernels": kernels,
        "nuts": _reference(nuts, one),
        "large_step": LARGE_STEP,
    }


def measure_spirals(effort: Effort) -> Figures:
    """AdLaLa in both forms and LOL on several data sets, all else on the first."""
    import spirals_adlala as spirals

    several = ["AdLaLa", "AdLaLa, published", "LOL"]
    everything = [*spirals.make_kernels(), *spirals.make_optimizers(0)]
    others = [name for name in everything if name not in several]
    methods = {name: [] for name in everything}
    for seed in range(2 if effort.quick else 5):
        names = several if seed else everything
        runs, data = spirals.run(seed, effort.quick, names)
        for name, run in runs.items():
            methods[name].append(_accuracies(spirals.figures(run, data["y_test"])))
    return {
        "several": {name: methods[name] for name in several},
        "others": {name: methods[name][0] for name in others},
        "seconds": sum(one[0]["seconds"] for one in methods.values()),
    }


def _accuracies(one: Figures) -> Figures:
    """Percentages of a method on a data set, and temperatures over their target."""
    single = 100 * one["single"]
    t = one["temperature"]
    return {
        "single": single.mean(),
        "single_range": [single.min(), single.max()],
        "chain": 100 * one["chain"].mean(),
        "pooled": 100 * one["pooled"],
        "temperature": None if t is None else np.atleast_1d(t).tolist(),
        "seconds": one["seconds"],
    }


def measure_linear(effort: Effort) -> Figures:
    """Two regressions with a known posterior, without an anchor."""
    from conjugate_regression import PLAIN, moments

    samples, chains = (20, 4) if effort.quick else (600, 64)
    figures = {}
    for correlation in (0.0, 0.5):
        one = moments(correlation, samples, chains, **PLAIN)
        errors, ratios = np.abs(one.pop("mean_errors")), np.array(one.pop("sd_ratios"))
        figures[correlation] = one | {
            "largest_mean_error": errors.max(),
            "sd_ratio": ratios.mean(),
            "sd_ratio_range": [ratios.min(), ratios.max()],
        }
    return figures


def measure_warm_start(effort: Effort) -> Figures:
    """First draws after warmups of several lengths, from several starts."""
    import warm_start

    if effort.quick:
        return warm_start.measure((25, 50), (100,), keys=1, draws=20, long=50)
    return warm_start.measure()


def measure_step(effort: Effort) -> Figures:
    """A step against a bare gradient, and a step of every kernel."""
    import bench_kernels
    import bench_step

    widths, rounds = ((50, 40), 1) if effort.quick else (bench_step.WIDTHS, 3)
    return {
        "step": bench_step.measure(widths, rounds=rounds),
        "kernels": bench_kernels.measure(widths, rounds=rounds),
    }


def measure_diagnostics(effort: Effort) -> Figures:
    """`compare` and `function_rhat` against ArviZ."""
    import bench_diagnostics

    if effort.quick:
        return bench_diagnostics.measure(num_scalars=100)
    return bench_diagnostics.measure()


def measure_optimizer(effort: Effort) -> Figures:
    """A step of random-scaled SGDM against one of `optax.sgd`."""
    import bench_optimizer

    size = 1000 if effort.quick else 1_000_000
    figures = {"parameters": size, "large": bench_optimizer.measure(size)}
    return figures | {"small": bench_optimizer.measure(10)}


PARTS: dict[str, Callable[[Effort], Figures]] = {
    "readme": measure_readme,
    "linear": measure_linear,
    "tall": measure_tall,
    "digits": measure_digits,
    "noise_fractions": measure_noise_fractions,
    "partitioned": measure_partitioned,
    "spirals": measure_spirals,
    "warm_start": measure_warm_start,
    "step": measure_step,
    "diagnostics": measure_diagnostics,
    "optimizer": measure_optimizer,
}
"""In the order in which they are measured."""
