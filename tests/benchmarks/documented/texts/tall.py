# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The logistic regression on flights."""

from documented.texts.common import Text, span


def tall_table(markup, figures):
    """Both samplers by number of rows."""
    head = [
        "rows",
        "sampler",
        "worst ESS",
        "compile, s",
        "warmup, s",
        "sampling, s",
        "ESS/s, all",
        "ESS/s, sampling",
        "largest difference, sd",
        "ratio of sd",
    ]
    body = []
    for rows in sorted(figures, key=int):
        for name, one in figures[rows].items():
            seconds, worst = one["seconds"], one["ess"][0]
            alone = name == "NUTS" or "off" not in one
            body.append(
                [
                    f"{int(rows):,}",
                    name,
                    f"{worst:.0f}",
                    *(f"{seconds[k]:.1f}" for k in ("compilation", "warmup")),
                    f"{seconds['sampling']:.1f}",
                    f"{worst / sum(seconds.values()):.1f}",
                    f"{worst / seconds['sampling']:.1f}",
                    "" if alone else f"{one['off']:.3f}",
                    "" if alone else span(one["sd_ratio_range"], ".2f"),
                ]
            )
    return markup.table(head, body)


def _ratio(figures, rows, part):
    """How many times as fast as NUTS, all included or in sampling."""

    def rate(one):
        seconds = one["seconds"]
        total = sum(seconds.values()) if part == "all" else seconds[part]
        return one["ess"][0] / total

    runs = figures[rows]
    return rate(runs["PseudoLangevin"]) / rate(runs["NUTS"])


def tall_ratios(markup, figures):
    """How many times as fast as NUTS."""
    parts = [
        f"{_ratio(figures, rows, 'all'):.0f} times with everything included and "
        f"{_ratio(figures, rows, 'sampling'):.0f} times in sampling "
        f"at {int(rows):,} rows"
        for rows in sorted(figures, key=int)
        if "NUTS" in figures[rows]
    ]
    text = ", ".join(parts[:-1]) + f", and {parts[-1]}"
    return markup.paragraph(f"As many effective draws a second as NUTS: {text}.")


TEXTS = {
    "tall_table": Text(("tall",), tall_table),
    "tall_ratios": Text(("tall",), tall_ratios),
}
