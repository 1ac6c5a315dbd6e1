# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The digits network against NUTS."""

from documented.texts.common import MINUS, Text, each, shown, span


def noise_fraction(markup, figures):
    """The noise fraction reached, for the one that warmup aims for."""
    seeds = list(figures["seeds"].values())
    values = span([one["noise_fraction"] for one in seeds], ".3f")
    runs = "one run" if len(seeds) == 1 else f"{len(seeds)} runs"
    return markup.paragraph(
        f"On the digits network the noise fraction was {values} in {runs} of four "
        "chains, where warmup allowed 0.2: curvature limits some weights."
    )


ROWS = [
    # label, figure, format, what NUTS has
    ("kinetic temperature", "kinetic_temperature", ".3f", False),
    ("noise fraction (aimed at: 0.2)", "noise_fraction", ".3f", False),
    ("mean potential, difference in sd of NUTS", "potential_diff_sd", "+.2f", False),
    ("the same, in standard errors", "potential_z", "+.1f", False),
    ("total variation of the predictions to NUTS", "total_variation", ".4f", True),
    ("agreement of predicted classes", "agreement", ".4f", True),
    ("test accuracy", "accuracy", ".4f", True),
    ("test log-loss (nats)", "log_loss", ".4f", True),
    ("divergences", "divergences", "d", True),
    ("seconds, compilation included", "seconds", ".0f", True),
]
BETWEEN_CHAINS = ("total_variation", "agreement")


def digits_table(markup, figures):
    """All seeds beside NUTS."""
    seeds, nuts = figures["seeds"], figures["nuts"]
    head = ["", *(f"seed {seed}" for seed in sorted(seeds)), "NUTS"]
    body = []
    for label, name, spec, both in ROWS:
        row = [shown(seeds[seed][name], spec) for seed in sorted(seeds)]
        other = shown(nuts[name], spec) if both else MINUS
        other += " (chain 1 to 2)" if name in BETWEEN_CHAINS else ""
        body.append([label, *row, other])
    return markup.table(head, body)


def digits_reference(markup, figures):
    """What the reference is, and how well it decides."""
    nuts = figures["nuts"]
    return markup.paragraph(
        f"Reference: NUTS, {nuts['chains']} chains of {nuts['draws']:,} draws (bulk "
        f"effective sample size of the potential: "
        f"{shown(nuts['potential_ess'], '.0f')}). "
        f"Its mean potential is {nuts['potential']:.0f} nats, sd "
        f"{nuts['potential_sd']:.0f}. The two likeliest classes of its "
        f"{len(nuts['margins'])} closest test images differ by "
        f"{span(nuts['margins'], '.3f')} in probability; each of the "
        f"{nuts['images']} images is worth {1 / nuts['images']:.4f} of agreement."
    )


HEAD = ["kernel", "temperature", "potential, sd from NUTS", "total variation"]
LARGE_STEP = ("AdaptiveLangevin()", "AdaptiveLangevin(published=True)")


def _row(markup, name, one):
    return [
        markup.code(name),
        each(one["group_temperatures"], ".3f"),
        shown(one["potential_diff_sd"], "+.2f"),
        shown(one["total_variation"], ".4f"),
        shown(one["agreement"], ".3f"),
    ]


def partitioned_table(markup, figures, digits):
    """The partitioned kernels, below `PseudoLangevin`."""
    first = digits["seeds"][min(digits["seeds"])]
    rows = [_row(markup, "PseudoLangevin(model)", first)]
    for name, one in sorted(figures["kernels"].items()):
        if name not in LARGE_STEP:
            rows.append(_row(markup, name, one))
    return markup.table([*HEAD, "agreement"], rows)


def partitioned_reference(markup, figures):
    """What the table of the kernels is to be compared with."""
    nuts = figures["nuts"]
    return markup.paragraph(
        f"Reference: NUTS, {nuts['chains']} chains of {nuts['draws']:,} draws. Two of "
        f"its chains differ by {nuts['total_variation']:.4f} in total variation and "
        f"agree on {nuts['agreement']:.3f} of the classes."
    )


def large_step(markup, figures):
    """Both thermostats at a large step."""
    own, published = (figures["kernels"][name] for name in LARGE_STEP)

    def told(one):
        (temperature,) = one["group_temperatures"]
        return (
            f"a temperature of {shown(temperature, '.3f')}, a potential "
            f"{shown(one['potential_diff_sd'], '+.2f')} sd from that of NUTS and a "
            f"total variation of {shown(one['total_variation'], '.4f')}"
        )

    return markup.paragraph(
        f"On the digits network, with one group and a step size of "
        f"{figures['large_step']}, the thermostat of this package has {told(own)}; the "
        f"published one has {told(published)}."
    )


TEXTS = {
    "noise_fraction": Text(("digits",), noise_fraction),
    "digits_table": Text(("digits",), digits_table),
    "digits_reference": Text(("digits",), digits_reference),
    "partitioned_table": Text(("partitioned", "digits"), partitioned_table),
    "partitioned_reference": Text(("partitioned",), partitioned_reference),
    "thermostats_large_step": Text(("partitioned",), large_step),
}
