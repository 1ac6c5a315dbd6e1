# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Bias, mixing and error of the predictions against the noise fraction."""

from documented.texts.common import by_number

PANELS = {
    "off": "mean potential,\nsd from NUTS",
    "ess": "effective draws of\nthe potential",
    "total_variation": "total variation of the\npredictions to NUTS",
}
NAMES = {"with": "with friction from\nthe examples", "without": "without"}

Curves = dict[str, dict[str, list[float]]]


def curves(figures) -> Curves:
    """For each friction the noise fractions, and the figures of every panel at them."""
    found = {}
    for friction in NAMES:
        rows = by_number(figures[friction])
        found[friction] = {"fraction": [float(fraction) for fraction, _ in rows]} | {
            name: [one[name] for _, one in rows] for name in PANELS
        }
    return found


def draw(found: Curves):
    """Three panels, one for each figure."""
    import matplotlib.pyplot as plt

    from numpyro_pl.plots.axes import COLORS

    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.4), layout="constrained")
    for ax, (name, label) in zip(axes, PANELS.items(), strict=True):
        for color, marker, friction in zip(COLORS, "os", NAMES, strict=False):
            one = found[friction]
            ax.plot(
                one["fraction"],
                one[name],
                color=color,
                marker=marker,
                label=NAMES[friction],
            )
        ax.set_xscale("log")
        ax.set_xticks(one["fraction"], [f"{f:g}" for f in one["fraction"]])
        ax.minorticks_off()
        ax.set_xlabel("noise fraction asked for")
        ax.set_title(label, fontsize=12)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].axhline(0, color="0.4", linewidth=0.8)
    axes[1].set_ylim(0)
    axes[2].set_ylim(0)
    axes[0].legend(frameon=False, fontsize=11)
    return fig
