# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Time of `compare` and `function_rhat`, and of ArviZ for the same measures on some of the
scalars, in one run. Prints seconds, and how much longer ArviZ takes per scalar.

    python tests/benchmarks/bench_diagnostics.py
"""

import time

import arviz as az
import numpy as np
import xarray as xr

from numpyro_pl.diagnostics import compare, function_rhat

NUM_SCALARS, NUM_ARVIZ = 1500, 60


def seconds(fn):
    """Best of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(num_scalars: int = NUM_SCALARS) -> dict:
    """
    Figures of the two functions.

    :return: by function, `seconds` for all scalars, `arviz_ms` of ArviZ for one, and
        `ratio`, how much longer ArviZ takes per scalar.
    """
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(4, 1000, num_scalars)).astype("f4") for _ in range(2))
    few = [
        xr.Dataset({"x": (("chain", "draw", "i"), v[..., :NUM_ARVIZ])}) for v in (x, y)
    ]

    def arviz_compare():
        for v in few:
            az.rhat(v), az.ess(v), az.mcse(v), az.mcse(v, method="sd")

    figures = {}
    for name, mine, theirs in [
        ("compare", lambda: compare({"x": x}, {"x": y}), arviz_compare),
        ("function_rhat", lambda: function_rhat(x), lambda: az.rhat(few[0])),
    ]:
        t_mine, t_arviz = seconds(mine), seconds(theirs)
        figures[name] = {
            "scalars": num_scalars,
            "seconds": t_mine,
            "arviz_ms": 1e3 * t_arviz / NUM_ARVIZ,
            "ratio": (t_arviz / NUM_ARVIZ) / (t_mine / num_scalars),
        }
    return figures


def main():
    print(f"4 chains, 1000 draws, {NUM_SCALARS} scalars ({NUM_ARVIZ} for ArviZ)")
    for name, one in measure().items():
        print(
            f"{name:14s} {one['seconds']:6.2f} s; per scalar ArviZ takes "
            f"{one['ratio']:.1f} times as long ({one['arviz_ms']:.2f} ms)"
        )


if __name__ == "__main__":
    main()
