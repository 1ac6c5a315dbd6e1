# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Bytes and time of a minibatch gradient whose rows are split over devices that one
machine simulates: what a device holds, what devices exchange, and how long it takes. ::

    python tests/benchmarks/bench_scaling.py

Simulated devices share the cores of the machine, so that the time tells the cost of
splitting and not the gain.
"""

import os
import re
import subprocess
import sys
import time

import numpy as np

N, COLUMNS, HIDDEN, BATCH, STEPS = 200_000, 64, 512, 128, 20


def model(x, y):
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    w1 = numpyro.sample("w1", dist.Normal().expand([COLUMNS, HIDDEN]).to_event(2))
    w2 = numpyro.sample("w2", dist.Normal().expand([HIDDEN, HIDDEN // 8]).to_event(2))
    w3 = numpyro.sample("w3", dist.Normal().expand([HIDDEN // 8]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=BATCH):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        mean = jnp.tanh(jnp.tanh(xb @ w1) @ w2) @ w3
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=yb)


def measure(num):
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from numpyro_pl.model.potential import MinibatchPotential
    from numpyro_pl.model.sharding import shards_of
    from numpyro_pl.model.split_model import split_model

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(N, COLUMNS)).astype(np.float32)
    sharding = NamedSharding(jax.make_mesh((num,), ("data",)), PartitionSpec("data"))
    x, y = (jax.device_put(a, sharding) for a in (rows, rows[:, 0]))
    plates, _, shards = split_model(model, ((x, y), {}), shards_of(((x, y), {})))
    potential = MinibatchPotential(model, plates, shards)
    shapes = {
        "w1": (COLUMNS, HIDDEN),
        "w2": (HIDDEN, HIDDEN // 8),
        "w3": (HIDDEN // 8,),
    }
    z = {k: 0.05 * rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    batches = potential.draw_indices(jax.random.key(0), STEPS)

    @jax.jit
    def steps(z, x, y, batches):
        def step(z, batch):
            g = jax.grad(potential.__call__)(z, batch, (x, y), {})
            return jax.tree.map(lambda a, b: a - 1e-9 * b, z, g), None

        return jax.lax.scan(step, z, batches)[0]

    program = steps.lower(z, x, y, batches).compile()
    found = re.findall(r"= (.*) all-reduce\(", program.as_text())
    numbers = [s for line in found for s in re.findall(r"f32\[([\d,]*)\]", line)]
    exchanged = sum(
        4 * int(np.prod([int(n) for n in s.split(",") if n])) for s in numbers
    )
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        jax.block_until_ready(program(z, x, y, batches))
        seconds.append((time.perf_counter() - start) / STEPS)
    size = sum(v.size for v in z.values())
    held = program.memory_analysis().argument_size_in_bytes
    print(
        f"{num} devices: {size} parameters, {held / 1e6:.1f} MB of arguments on each, "
        f"{exchanged / 1e6:.3f} MB all-reduced per step (parameters: "
        f"{4 * size / 1e6:.3f} MB), {1e3 * np.median(seconds):.2f} ms per step"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
    else:
        for num in (1, 2, 4):
            flags = f"--xla_force_host_platform_device_count={num}"
            environment = {**os.environ, "XLA_FLAGS": flags}
            arguments = [sys.executable, __file__, str(num)]
            subprocess.run(arguments, env=environment, check=True)
