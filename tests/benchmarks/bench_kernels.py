"""
Cost of one integrator step of every kernel on the network 100-1000-900-10 (1,010,910
parameters), B = 128: ratios to PseudoLangevin's step, measured in turns in one run.

    python tests/benchmarks/bench_kernels.py [--widths 1000 900] [--rounds 5]
"""

import argparse

import jax
import numpy as np
from bench_step import STEPS, WIDTHS, make_data, make_model, milliseconds

from numpyro_pl import LOL, SGHMC, SGLD, SGNHT, AdLaLa, PseudoLangevin


def measure(widths=WIDTHS, rounds: int = 5) -> dict:
    """
    Figures of a step of every kernel.

    :param widths: of the two hidden layers.
    :param rounds: the kernels are measured in turns, so often.
    :return: by kernel, `step_ms` and `ratio` to `PseudoLangevin`, with `ratio_range`.
    """
    x, y = make_data()
    model = make_model(widths)
    settings = {"num_steps": STEPS, "full_potential": False}
    partitioned = {"step_size": 1e-3, **settings}
    kernels = {
        "PseudoLangevin": PseudoLangevin(model, **settings),
        "SGLD": SGLD(model, **partitioned),
        "SGHMC": SGHMC(model, **partitioned),
        "SGNHT": SGNHT(model, **partitioned),
        "AdLaLa": AdLaLa(model, first_layer="?0", **partitioned),
        "LOL": LOL(model, first_layer="?0", **partitioned),
    }
    runs = {}
    for name, kernel in kernels.items():
        state = kernel.init(jax.random.key(1), 0, None, (x, y), {})
        sample = jax.jit(lambda s, k=kernel: k.sample(s, (x, y), {}))
        runs[name] = (sample, sample(state))  # the first draw sets the step sizes
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (sample, state) in runs.items():
            times[name].append(
                np.median(milliseconds(sample, state, repeats=3)) / STEPS
            )
    base = np.array(times["PseudoLangevin"])
    ratios = {name: np.array(values) / base for name, values in times.items()}
    return {
        name: {
            "step_ms": float(np.median(times[name])),
            "ratio": float(np.median(ratio)),
            "ratio_range": [float(ratio.min()), float(ratio.max())],
        }
        for name, ratio in ratios.items()
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", type=int, nargs=2, default=WIDTHS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"devices {jax.devices()}, jax {jax.__version__}")
    for name, one in measure(options.widths, options.rounds).items():
        low, high = one["ratio_range"]
        print(
            f"{name:15} {one['step_ms']:6.2f} ms a step, {one['ratio']:.2f} x "
            f"({low:.2f} to {high:.2f})"
        )


if __name__ == "__main__":
    main()
