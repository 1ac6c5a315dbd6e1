"""
Cost and memory of one integrator step on the network 100-1000-900-10 (1,010,910
parameters), B = 128: ratios to a bare jitted minibatch gradient of the same run.

    python tests/benchmarks/bench_step.py [--increments signs] [--widths 1000 900]

With `--friction` instead a step with friction from the examples against one without it
(101,940 parameters: `--widths 310 220`; 1,549: `--widths 14 5`).
"""

import argparse
import itertools
import time

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist

from numpyro_pl import PseudoLangevin
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import MinibatchPotential

ROWS, BATCH = 20_000, 128
WIDTHS = (1000, 900)
STEPS = 40


def make_model(widths):
    sizes = [100, *widths, 10]

    def model(x, y):
        weights = []
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            w = numpyro.sample(
                f"w{i}", dist.Normal(0, a**-0.5).expand([a, b]).to_event()
            )
            bias = numpyro.sample(f"b{i}", dist.Normal(0, 1).expand([b]).to_event())
            weights.append((w, bias))
        with numpyro.plate("data", x.shape[0], subsample_size=BATCH):
            h = numpyro.subsample(x, event_dim=1)
            yb = numpyro.subsample(y, event_dim=0)
            for i, (w, bias) in enumerate(weights):
                h = (jax.nn.relu(h) if i else h) @ w + bias
            numpyro.sample("y", dist.Categorical(logits=h), obs=yb)

    return model


def make_data():
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (ROWS, 100))
    return x, jax.random.randint(key_y, (ROWS,), 0, 10)


def milliseconds(fn, *args, repeats):
    jax.block_until_ready(fn(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn(*args))
        times.append(1e3 * (time.perf_counter() - start))
    return np.array(times)


def measure(widths=WIDTHS, increments: str = "auto", rounds: int = 3) -> dict:
    """
    Figures of one step.

    :param widths: of the two hidden layers.
    :param increments: setting of the kernel.
    :param rounds: gradient and step are measured in turns, so often.
    :return: `ratio` to a bare gradient with `ratio_range`, `step_ms`, `gradient_ms`,
        `steps_per_second`, `memory` in units of the parameters, `parameters`.
    """
    x, y = make_data()
    model = make_model(widths)
    kernel = PseudoLangevin(
        model, num_steps=STEPS, increments=increments, full_potential=False
    )
    state = kernel.init(jax.random.key(1), 0, None, (x, y), {})
    size = sum(v.size for v in state.z.values())
    sample = jax.jit(lambda s: kernel.sample(s, (x, y), {})).lower(state).compile()
    state = sample(state)  # sets the step sizes
    potential = MinibatchPotential(model, PlateSizes.of(model, x, y))
    rows = jax.tree.map(lambda r: r[0], potential.draw_indices(jax.random.key(2), 1))
    grad = jax.jit(lambda z, rows: jax.grad(potential)(z, rows, (x, y), {}))
    ratios, bare, step = [], [], []
    for _ in range(rounds):
        bare.append(np.median(milliseconds(grad, state.z, rows, repeats=20)))
        step.append(np.median(milliseconds(sample, state, repeats=3)) / STEPS)
        ratios.append(step[-1] / bare[-1])
    return {
        "device": jax.devices()[0].platform,
        "parameters": size,
        "batch": BATCH,
        "gradient_ms": float(np.median(bare)),
        "step_ms": float(np.median(step)),
        "ratio": float(np.median(ratios)),
        "ratio_range": [float(min(ratios)), float(max(ratios))],
        "steps_per_second": float(1e3 / np.median(step)),
        "memory": memory_of(kernel, state, (x, y)),
    }


def memory_of(kernel, state, data) -> float:
    """
    What a loop over draws holds, in units of the parameters: the state, updated in
    place, and the temporaries.
    """
    donated = jax.jit(lambda s: kernel.sample(s, data, {}), donate_argnums=0)
    memory = donated.lower(state).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    held += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held / sum(v.nbytes for v in state.z.values())


def measure_friction(widths=WIDTHS, rounds: int = 5, memory: bool = True) -> dict:
    """
    A step with friction from the examples against one without it, in turns.

    :param memory: whether the memory is measured, which compiles both again.
    :return: `ratio` and `ratio_range`, `parameters`, and `memory` with and without.
    """
    data, model = make_data(), make_model(widths)
    runs, held = [], []
    for friction in (True, False):
        kernel = PseudoLangevin(
            model,
            num_steps=STEPS,
            full_potential=False,
            example_friction=friction,
            noise_fraction=0.05,
        )
        state = kernel.init(jax.random.key(1), 0, None, data, {})
        if memory:
            held.append(memory_of(kernel, state, data))
        step = jax.jit(lambda s, kernel=kernel: kernel.sample(s, data, {}))
        # The first draw sets the scales.
        runs.append((step, step(state)))
    ratios = []
    for _ in range(rounds):
        slow, fast = (np.median(milliseconds(*run, repeats=3)) for run in runs)
        ratios.append(slow / fast)
    return {
        "parameters": sum(v.size for v in state.z.values()),
        "ratio": float(np.median(ratios)),
        "ratio_range": [float(min(ratios)), float(max(ratios))],
        "memory": held,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--increments", default="auto")
    parser.add_argument("--widths", type=int, nargs=2, default=WIDTHS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--friction", action="store_true")
    options = parser.parse_args()
    if options.friction:
        print(measure_friction(options.widths, options.rounds))
        return
    one = measure(options.widths, options.increments, options.rounds)
    print(f"{one['device']}, jax {jax.__version__}, {one['parameters']:,} parameters")
    print(f"bare gradient {one['gradient_ms']:.2f} ms, step {one['step_ms']:.2f} ms")
    low, high = one["ratio_range"]
    print(f"ratio {one['ratio']:.2f} (range {low:.2f} to {high:.2f})")
    print(f"steps per second {one['steps_per_second']:.0f}")
    print(f"memory: {one['memory']:.2f} times the parameters")


if __name__ == "__main__":
    main()
