"""
An accelerator, or a CPU, at work: steps a second of one chain and of many, and how
much of the memory's bandwidth a step reaches.

    python tests/benchmarks/bench_device.py [--chains 1 4 16 64] [--steps 400]

Chains run vectorized on networks 100-h-h'-10, B = 128. Bandwidth: of a model with 50
million normal coordinates whose gradient costs next to nothing, against a copy of an
array of that size. Programs are compiled by several threads; nothing is timed
meanwhile.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from bench_step import make_data, make_model, milliseconds

from numpyro_pl import PseudoLangevin
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import MinibatchPotential

WIDTHS = {"1.5k": (14, 5), "21k": (100, 100), "102k": (310, 220), "1.01M": (1000, 900)}
MOVED = 5
"""Arrays that a step cannot do without, where the gradient is fused into it: it reads
position, momentum and scale, and writes position and momentum."""
COPIES, GRADIENTS = 100, 400
"""Of one timed loop."""


def draw_function(model, data, steps, chains):
    """A draw of `steps` steps by several chains, lowered, and a state to start from."""
    kernel = PseudoLangevin(model, num_steps=steps, full_potential=False)
    key = jax.random.key(1)
    keys = key if chains == 1 else jax.random.split(key, chains)
    state = kernel.init(keys, 0, None, data, {})

    def sample(state):
        return kernel.sample(state, data, {})

    return jax.jit(sample).lower(state), state


def gradient_function(model, data, position):
    """A loop of minibatch gradients, each on other rows, lowered."""
    potential = MinibatchPotential(model, PlateSizes.of(model, *data))
    batches = potential.draw_indices(jax.random.key(2), GRADIENTS)

    def one(total, rows):
        gradient = jax.grad(potential)(position, rows, data, {})
        return jax.tree.map(jnp.add, total, gradient), None

    def all_of_them(position):
        return jax.lax.scan(one, jax.tree.map(jnp.zeros_like, position), batches)[0]

    return jax.jit(all_of_them).lower(position)


def wide_model(x, size):
    """Normal coordinates, of which the rows see the first."""
    w = numpyro.sample("w", dist.Normal().expand([size]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=128):
        xb = numpyro.subsample(x, event_dim=0)
        numpyro.sample("x", dist.Normal(w[0], 1.0), obs=xb)


def compiled(lowered) -> list:
    """Programs, compiled by several threads."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda one: one.compile(), lowered))


def chain_times(sizes, chains, steps) -> list[dict]:
    """Milliseconds of a step of all chains together, for each size and number."""
    data, cases = make_data(), list(product(sizes, chains))
    lengths = [steps if num < 16 else 100 for _, num in cases]
    lowered, states = zip(
        *(
            draw_function(make_model(WIDTHS[size]), data, length, num)
            for (size, num), length in zip(cases, lengths, strict=True)
        ),
        strict=True,
    )
    runs = zip(cases, lengths, compiled(lowered), states, strict=True)
    rows = []
    for (size, num), length, program, state in runs:
        state = program(state)  # sets the step sizes
        took = np.median(milliseconds(program, state, repeats=3)) / length
        rows.append({"size": size, "chains": num, "step_ms": float(took)})
        print(
            f"{size:>6} {num:3} chains: {took:.4f} ms a step, "
            f"{1e3 * num / took:,.0f} chain steps a second",
            flush=True,
        )
    return rows


def single_chain(size, steps) -> dict:
    """Steps a second of one chain, and the ratio to a scan of bare gradients."""
    data, model = make_data(), make_model(WIDTHS[size])
    lowered, state = draw_function(model, data, steps, 1)
    program, gradients = compiled([lowered, gradient_function(model, data, state.z)])
    state = program(state)
    took = np.median(milliseconds(program, state, repeats=5)) / steps
    bare = np.median(milliseconds(gradients, state.z, repeats=5)) / GRADIENTS
    print(
        f"{size}: {1e3 / took:,.0f} steps a second ({took:.4f} ms), "
        f"{took / bare:.2f} times a bare gradient ({bare:.4f} ms)",
        flush=True,
    )
    return {"step_ms": float(took), "gradient_ms": float(bare)}


@jax.jit
def copies(x):
    """An array, read and written in a loop."""
    return jax.lax.fori_loop(0, COPIES, lambda i, x: x * 1.0001 + i.astype(x.dtype), x)


def bandwidth(size, steps) -> dict:
    """Bytes a second of a step, at the fewest passes, and of a copy."""
    data = (jax.random.normal(jax.random.key(0), (20_000,)),)
    model = partial(wide_model, size=size)
    lowered, state = draw_function(model, data, steps, 1)
    (program,) = compiled([lowered])
    state = program(state)
    took = np.median(milliseconds(program, state, repeats=3)) / steps
    copied = np.median(milliseconds(copies, jnp.zeros(size), repeats=5)) / COPIES
    step_rate, copy_rate = MOVED * 4 * size / took, 2 * 4 * size / copied
    print(
        f"{size:,} coordinates: step {took:.3f} ms, {step_rate / 1e6:,.0f} GB/s; "
        f"copy {copy_rate / 1e6:,.0f} GB/s; share {step_rate / copy_rate:.2f}",
        flush=True,
    )
    return {"step_ms": float(took), "share": float(step_rate / copy_rate)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--sizes", nargs="+", choices=WIDTHS, default=list(WIDTHS)[:3])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--coordinates", type=int, default=50_000_000)
    parser.add_argument("--parts", nargs="+", default=["single", "wide", "chains"])
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}", flush=True)
    if "single" in options.parts:
        single_chain("1.01M", options.steps)
    if "wide" in options.parts:
        bandwidth(options.coordinates, min(options.steps, 100))
    if "chains" in options.parts:
        chain_times(options.sizes, options.chains, options.steps)


if __name__ == "__main__":
    main()
