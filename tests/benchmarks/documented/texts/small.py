# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The example of README, and the regressions with a known posterior."""

from documented.texts.common import Text, shown, span


def printed(markup, figures):
    """What the example of README prints."""
    return markup.block(figures["printed"])


def without_tables(markup, figures):
    """The same, up to the tables of the report."""
    return markup.block(figures["printed"].split("\n\nChains\n")[0])


def linear_table(markup, figures):
    """The two regressions."""
    cases = [figures[key] for key in sorted(figures, key=float)]
    head = ["correlation of the columns", *(sorted(figures, key=float))]
    rows = [
        ("largest error of a mean, sd", "largest_mean_error", ".3f"),
        ("ratio of sd to the exact one, mean", "sd_ratio", ".3f"),
        ("noise eigenvalue", "noise_eigenvalue", ".3f"),
        ("noise fraction (aimed at: 0.2)", "noise_fraction", ".3f"),
        ("kinetic temperature", "kinetic_temperature", ".3f"),
    ]
    body = [
        [label, *(shown(c[name], spec) for c in cases)] for label, name, spec in rows
    ]
    ranges = [span(c["sd_ratio_range"], ".3f") for c in cases]
    body.insert(2, ["the same, smallest to largest", *ranges])
    return markup.table(head, body)


TEXTS = {
    "readme_output": Text(("readme",), without_tables),
    "started_output": Text(("readme",), printed),
    "linear_table": Text(("linear",), linear_table),
}
