# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
One script on one device, on four and in two processes: the same posterior. ::

    python examples/scale_out.py                  # all three, one after the other
    python examples/scale_out.py --devices 4      # four simulated devices

To run it as one of two processes, here or on two hosts: ::

    python examples/scale_out.py --address HOST:PORT --processes 2 --process 0
    python examples/scale_out.py --address HOST:PORT --processes 2 --process 1
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile

import numpy as np

N, COLUMNS, BATCH, CHAINS, DRAWS = 4_000, 3, 80, 16, 100


def model(x, y):
    import numpyro
    import numpyro.distributions as dist

    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=BATCH):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, COLUMNS)).astype(np.float32)
    y = x @ np.linspace(-1, 1, COLUMNS) + rng.normal(size=N)
    return x, y.astype(np.float32)


def sample(output):
    """Draws with the rows split over all devices of all processes."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec
    from numpyro.infer import MCMC

    from numpyro_pl import PseudoLangevin

    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    # A host reads only its own rows where data is large.
    part = N // jax.process_count()
    own = slice(jax.process_index() * part, (jax.process_index() + 1) * part)
    x, y = (jax.make_array_from_process_local_data(sharding, a[own]) for a in rows())
    mcmc = MCMC(
        PseudoLangevin(model, num_steps=30, control_variate=None, dense_mass=False),
        num_warmup=100,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), x, y)
    if jax.process_index() == 0:
        np.save(output, mcmc.get_samples(group_by_chain=True)["w"])


def compare(folder):
    """The three layouts beside the exact posterior."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    several = [["--address", address, "--processes", "2", "--process", i] for i in "01"]
    layouts = {
        "1 device": [["--devices", "1"]],
        "4 devices": [["--devices", "4"]],
        "2 processes": several,
    }
    x, y = (a.astype(np.float64) for a in rows())
    covariance = np.linalg.inv(x.T @ x + np.eye(COLUMNS))
    mean, sd = covariance @ x.T @ y, np.sqrt(np.diag(covariance))
    agree = True
    for name, calls in layouts.items():
        output = os.path.join(folder, f"{name.replace(' ', '_')}.npy")
        command = [sys.executable, __file__, "--output", output]
        started = [subprocess.Popen([*command, *call]) for call in calls]
        if any([process.wait() for process in started]):
            raise SystemExit(f"{name}: a process failed")
        z = (np.load(output) - mean) / sd
        worst = 0.0
        for of_chain, exact in ((z.mean(1), 0.0), ((z**2).mean(1), 1.0)):
            error = of_chain.std(0, ddof=1) / CHAINS**0.5
            worst = max(worst, float((np.abs(of_chain.mean(0) - exact) / error).max()))
        agree &= worst < 4
        print(
            f"{name:11s}  mean - exact {np.round(z.mean((0, 1)), 3)} sd,  sd / exact "
            f"{np.round(z.std((0, 1)), 3)},  largest error {worst:.1f} standard errors"
        )
    print("the posteriors agree" if agree else "the posteriors do NOT agree")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int)
    parser.add_argument("--address")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--output", default="scale_out.npy")
    options = parser.parse_args()
    if options.devices:
        flag = f"--xla_force_host_platform_device_count={options.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    if options.address:
        import jax

        # For CPUs; GPUs need no setting.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(options.address, options.processes, options.process)
    if options.devices or options.address:
        sample(options.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(folder)


if __name__ == "__main__":
    main()
