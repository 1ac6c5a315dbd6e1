# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Pictures of the landscape criteria. Matplotlib is imported when one is drawn."""

from typing import Any

import numpy as np

from numpyro_pl.landscape.curves import StabilizationCurve
from numpyro_pl.landscape.eigenspace import Eigenspace
from numpyro_pl.landscape.spread import QuadraticValidity
from numpyro_pl.plots.axes import COLORS, new_axes

__all__ = ["plot_quadratic_validity", "plot_spectrum", "plot_stabilization"]

_FIGSIZE = (6.4, 4.8)

# Markers serve black and white.
_STYLES = {
    "delta1": (COLORS[0], "o", r"$\Delta_1$"),
    "delta2": (COLORS[1], "s", r"$\Delta_2$"),
    "delta2_subspace": (COLORS[2], "^", r"$\Delta_2^{(%d)}$"),
}


def plot_stabilization(curve: StabilizationCurve, ax: Any = None) -> Any:
    """
    The three criteria against k, with their fitted slopes: means over orderings, and
    the range of the orderings shaded.

    :param curve: from :func:`~numpyro_pl.landscape.stabilization_curve`.
    :param ax: Matplotlib axes; new ones if None.
    :return: the axes.
    """
    ax = new_axes(ax, _FIGSIZE)
    for name, (color, marker, label) in _STYLES.items():
        values, slope = getattr(curve, name), curve.slopes[name]
        label = label % curve.c.shape[-1] if "%" in label else label
        half = (slope.high - slope.low) / 2
        # The two mean-squared criteria almost coincide; an open marker shows both.
        filled = "none" if name == "delta2" else color
        ax.fill_between(
            curve.ks, values.min(0), values.max(0), color=color, alpha=0.12, lw=0
        )
        ax.loglog(
            curve.ks,
            np.exp(np.log(values).mean(0)),
            color=color,
            marker=marker,
            ls="--" if name == "delta2" else "-",
            ms=9 if name == "delta2" else 5,
            mfc=filled,
            label=rf"{label}, slope ${slope.value:.2f} \pm {half:.2f}$",
        )
    # Matplotlib's own labels of a log axis overlap within one or two decades.
    shown = curve.ks[:: -(-len(curve.ks) // 8)]
    ax.set_xticks(shown, [str(k) for k in shown])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("examples k")
    ax.set_ylabel("criterion")
    ax.legend()
    return ax


def plot_spectrum(eigenspace: Eigenspace, ax: Any = None) -> Any:
    """
    The eigenvalues, with their residuals as error bars.

    :param eigenspace: from :func:`~numpyro_pl.landscape.top_eigenspace`.
    :param ax: Matplotlib axes; new ones if None.
    :return: the axes.
    """
    ax = new_axes(ax, _FIGSIZE)
    values = np.asarray(eigenspace.eigenvalues)
    index = np.arange(1, len(values) + 1)
    ax.errorbar(
        index,
        values,
        yerr=np.asarray(eigenspace.residuals),
        fmt="o",
        ms=5,
        capsize=3,
        color="#0072B2",
    )
    if values.min() > 0 and values.max() > 30 * values.min():
        ax.set_yscale("log")
    else:
        ax.axhline(0, color="0.7", lw=0.8, zorder=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("index")
    ax.set_ylabel("Hessian eigenvalue")
    return ax


def plot_quadratic_validity(validity: QuadraticValidity, ax: Any = None) -> Any:
    """
    Relative error of the increment's quadratic model against sigma, and the sigma up to
    which the closed form may be trusted.

    :param validity: from :func:`~numpyro_pl.landscape.quadratic_validity`.
    :param ax: Matplotlib axes; new ones if None.
    :return: the axes.
    """
    ax = new_axes(ax, _FIGSIZE)
    ax.loglog(
        validity.sigmas, validity.relative_error, marker="o", ms=5, color="#0072B2"
    )
    ax.axhline(
        validity.tol,
        color="0.4",
        ls="--",
        lw=1,
        label=f"tolerance {validity.tol:g}",
    )
    if validity.trusted_sigma > 0:
        ax.axvspan(
            validity.sigmas[0],
            validity.trusted_sigma,
            color="#009E73",
            alpha=0.12,
            lw=0,
            label=rf"trusted: $\sigma \leq$ {validity.trusted_sigma:.3g}",
        )
    ax.set_xlabel(r"$\sigma$")
    ax.set_ylabel("relative error of the quadratic model")
    ax.legend()
    return ax
