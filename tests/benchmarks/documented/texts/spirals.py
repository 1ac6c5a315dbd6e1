# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The two spirals."""

from math import sqrt
from statistics import mean, stdev

from documented.texts.common import Text, listed, shown, span

PUBLISHED = "AdLaLa, published"


def _means(runs, name):
    return [one[name] for one in runs]


def thermostats(markup, spirals, partitioned):
    """The measured accuracies of both thermostats."""
    own, published = spirals["several"]["AdLaLa"], spirals["several"][PUBLISHED]
    kernels = partitioned["kernels"]
    names = ("AdLaLa(model)", "AdLaLa(model, published=True)")
    ours, theirs = map(markup.code, names)
    tv = [shown(kernels[name]["total_variation"], ".4f") for name in names]

    def told(runs):
        single, pooled = _means(runs, "single"), _means(runs, "pooled")
        return f"{mean(single):.1f} % ({mean(pooled):.1f} % with five chains pooled)"

    pairs = zip(_means(own, "single"), _means(published, "single"), strict=True)
    gaps = [a - b for a, b in pairs]
    return markup.paragraph(
        f"Test accuracy on the two spirals with the paper's settings, mean of single "
        f"draws over {len(own)} data sets: {ours} {told(own)}, {theirs} "
        f"{told(published)}. The standard error of each mean is about "
        f"{_error(_means(own, 'single')):.1f} points; the difference on the same data "
        f"sets is {mean(gaps):+.1f} points, standard error {_error(gaps):.1f}. On the "
        f"digits network their predictions differ from those of NUTS by a total "
        f"variation of {tv[0]} and {tv[1]}."
    )


def _error(values):
    return stdev(values) / sqrt(len(values))


def spirals_table(markup, figures):
    """Accuracies on every data set."""
    several = figures["several"]
    num = len(next(iter(several.values())))
    rows = []
    for name in sorted(several):
        for label, key in (
            ("single draws", "single"),
            ("five chains pooled", "pooled"),
        ):
            values = _means(several[name], key)
            cells = [f"{v:.1f}" for v in (*values, mean(values))]
            rows.append([f"{name}: {label}", *cells])
    return markup.table(["data set", *map(str, range(num)), "mean"], rows)


def spirals_others(markup, figures):
    """The other methods on data set 0, what averages gain, and temperatures."""
    others = []
    for name, one in sorted(figures["others"].items()):
        values = span(one["single_range"], ".1f")
        others.append(f"{name} {one['single']:.1f} ({values})")
    runs = [run for runs in figures["several"].values() for run in runs]
    chain = mean(run["chain"] - run["single"] for run in runs)
    pooled = mean(run["pooled"] - run["single"] for run in runs)
    heat = [t for run in runs for t in run["temperature"]]
    return markup.paragraph(
        f"Single draws on data set 0 of the others, mean and range of five starts: "
        f"{listed(others)}. In the table's runs the average over the draws of one "
        f"chain is {chain:+.1f} points above a single draw, five chains pooled "
        f"{pooled:+.1f}. The layers are at {span(heat, '.1f')} times the target "
        f"temperature. All methods took {figures['seconds']:.0f} seconds on data set 0."
    )


TEXTS = {
    "thermostats": Text(("spirals", "partitioned"), thermostats),
    "spirals_table": Text(("spirals",), spirals_table),
    "spirals_others": Text(("spirals",), spirals_others),
}
