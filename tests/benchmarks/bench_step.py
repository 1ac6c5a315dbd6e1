"""
Cost and memory of one integrator step on the network 100-1000-900-10 (1,010,910
parameters), B = 128: ratios to a bare jitted minibatch gradient of the same run.

    python tests/benchmarks/bench_step.py [--noise signs|gaussian] [--widths 1000 900]
"""

import argparse
import itertools
import time

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist

from numpyro_pl import PseudoLangevin

ROWS, BATCH = 20_000, 128


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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--noise", default="auto")
    parser.add_argument("--widths", type=int, nargs=2, default=[1000, 900])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    x, y = make_data()
    steps = 40
    kernel = PseudoLangevin(
        make_model(options.widths),
        num_steps=steps,
        noise=options.noise,
        full_potential=False,
    )
    kernel._num_warmup = 0
    state = kernel.init(jax.random.key(1), 0, None, (x, y), {})
    size = sum(v.size for v in state.z.values())
    sample = jax.jit(lambda s: kernel.sample(s, (x, y), {})).lower(state).compile()
    state = sample(state)  # sets the step sizes
    binding = kernel._bind((x, y), {})
    gradient = binding.gradient(((x, y), {}))
    batch = {k: b[0] for k, b in gradient.draw_batches(jax.random.key(2), 1).items()}
    grad = jax.jit(gradient.grad)
    ratios, bare, step = [], [], []
    for _ in range(options.rounds):
        bare.append(np.median(milliseconds(grad, state.z, batch, repeats=20)))
        step.append(np.median(milliseconds(sample, state, repeats=3)) / steps)
        ratios.append(step[-1] / bare[-1])
    donated = jax.jit(lambda s: kernel.sample(s, (x, y), {}), donate_argnums=0)
    memory = donated.lower(state).compile().memory_analysis()
    # What a loop over draws holds: the state, updated in place, and the temporaries.
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    held += memory.output_size_in_bytes - memory.alias_size_in_bytes
    print(f"devices {jax.devices()}, jax {jax.__version__}, {size:,} parameters")
    print(f"bare gradient {np.median(bare):.2f} ms, step {np.median(step):.2f} ms")
    print(
        f"ratio {np.median(ratios):.2f} (range {min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"steps per second {1e3 / np.median(step):.0f}")
    print(f"memory: {held / (4 * size):.2f} times the parameters")


if __name__ == "__main__":
    main()
