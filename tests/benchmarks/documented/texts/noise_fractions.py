# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Bias and mixing against the noise fraction."""

from documented.texts.common import Text, by_number, shown

COLUMNS = [
    # label, figure, format
    ("reached", "noise_fraction", ".3f"),
    ("T", "temperature", ".3f"),
    ("potential, sd from NUTS", "off", "+.2f"),
    ("its sd ratio", "sd_ratio", ".2f"),
    ("its ESS", "ess", ".0f"),
    ("total variation", "total_variation", ".4f"),
    ("of one chain", "total_variation_chain", ".4f"),
]
FRICTIONS = {"with": "yes", "without": "no"}


def noise_fractions_table(markup, figures):
    """Every noise fraction, with friction from the examples and without."""
    head = ["asked", "friction", *(label for label, _, _ in COLUMNS)]
    body = [
        [
            f"{float(fraction):g}",
            said,
            *(shown(one[name], spec) for _, name, spec in COLUMNS),
        ]
        for friction, said in FRICTIONS.items()
        for fraction, one in by_number(figures[friction])
    ]
    return markup.table(head, body)


TEXTS = {
    "noise_fractions_table": Text(("noise_fractions",), noise_fractions_table),
}
