# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Effective draws per second against rows of data, as in README."""

NAMES = {"NUTS": "NUTS", "PseudoLangevin": "PseudoLangevin, minibatches"}
STYLES = {
    "sampling": ("-", "while sampling"),
    "all": ("--", "with compilation\nand warmup"),
}

Rates = dict[str, dict[str, list[tuple[int, float]]]]


def rates(figures) -> Rates:
    """
    Effective draws a second of the worst coefficient by number of rows, for each
    sampler: of the time of sampling alone, and with compilation and warmup.
    """
    found: Rates = {}
    for rows in sorted(figures, key=int):
        for name, one in figures[rows].items():
            seconds, worst = one["seconds"], one["ess"][0]
            lines = found.setdefault(name, {part: [] for part in STYLES})
            lines["sampling"].append((int(rows), worst / seconds["sampling"]))
            lines["all"].append((int(rows), worst / sum(seconds.values())))
    return found


def draw(found: Rates):
    """Effective draws a second against rows, for both samplers."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from numpyro_pl.plots.axes import COLORS

    fig, ax = plt.subplots(figsize=(6.2, 4.2), layout="constrained")
    for color, marker, name in zip(COLORS, "so", NAMES, strict=False):
        _lines(ax, found[name], color, marker)
        at, high = found[name]["sampling"][0]
        ax.text(at, 1.4 * high, NAMES[name], color=color, weight="bold")
    _gap(ax, found)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(2.2e4, 6e7)
    ax.set_ylim(3, 8e3)
    plain = mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}")
    ax.xaxis.set_major_formatter(plain)
    ax.yaxis.set_major_formatter(plain)
    ax.set_xlabel("rows of data")
    ax.set_ylabel("effective draws per second")
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    return fig


def _lines(ax, one, color: str, marker: str) -> None:
    """Both lines of a sampler, with what they count at their ends."""
    for part, (style, label) in STYLES.items():
        rows, values = zip(*one[part], strict=True)
        face = color if part == "sampling" else "white"
        ax.plot(
            rows,
            values,
            style,
            color=color,
            marker=marker,
            markerfacecolor=face,
            markersize=6.5,
            linewidth=1.8,
        )
        ax.annotate(
            label,
            (rows[-1], values[-1]),
            (10, 5 if part == "sampling" else -7),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=11,
        )


def _gap(ax, found) -> None:
    """How many times as many, with everything, where there are most rows of both."""
    rows, slow = found["NUTS"]["all"][-1]
    fast = dict(found["PseudoLangevin"]["all"])[rows]
    arrow = {"arrowstyle": "<->", "color": "0.35", "shrinkA": 6, "shrinkB": 6}
    ax.annotate("", (rows, fast), (rows, slow), arrowprops=arrow, zorder=1)
    ax.annotate(
        f"{fast / slow:.0f} times",
        (rows, (fast * slow) ** 0.5),
        (8, 10),
        textcoords="offset points",
        color="0.25",
    )
