"""
Cost of one integrator step of every kernel on the network 100-1000-900-10 (1,010,910
parameters), B = 128: ratios to PseudoLangevin's step, measured in turns in one run.

    python tests/benchmarks/bench_kernels.py [--widths 1000 900] [--rounds 5]
"""

import argparse

import jax
import numpy as np
from bench_step import make_data, make_model, milliseconds

from numpyro_pl import LOL, SGHMC, SGLD, SGNHT, AdLaLa, PseudoLangevin

STEPS = 40


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", type=int, nargs=2, default=[1000, 900])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    x, y = make_data()
    model = make_model(options.widths)
    settings = {"num_steps": STEPS, "full_potential": False}
    kernels = {
        "PseudoLangevin": PseudoLangevin(model, **settings),
        "SGLD": SGLD(model, step_size=1e-3, **settings),
        "SGHMC": SGHMC(model, step_size=1e-3, **settings),
        "SGNHT": SGNHT(model, step_size=1e-3, **settings),
        "AdLaLa": AdLaLa(model, first_layer="?0", step_size=1e-3, **settings),
        "LOL": LOL(model, first_layer="?0", step_size=1e-3, **settings),
    }
    runs = {}
    for name, kernel in kernels.items():
        state = kernel.init(jax.random.key(1), 0, None, (x, y), {})
        sample = jax.jit(lambda s, k=kernel: k.sample(s, (x, y), {}))
        runs[name] = (sample, sample(state))  # the first draw sets the step sizes
    times = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, (sample, state) in runs.items():
            times[name].append(
                np.median(milliseconds(sample, state, repeats=3)) / STEPS
            )
    print(f"devices {jax.devices()}, jax {jax.__version__}")
    base = np.array(times["PseudoLangevin"])
    for name, values in times.items():
        ratio = np.array(values) / base
        print(
            f"{name:15} {np.median(values):6.2f} ms a step, {np.median(ratio):.2f} x "
            f"({ratio.min():.2f} to {ratio.max():.2f})"
        )


if __name__ == "__main__":
    main()
