"""
A small run as one of several processes: `python process_runs.py PORT PROCESS NUMBER
FOLDER DRAWS`. Each process makes its own part of the rows.
"""

import sys

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import SGLD, sample_to_store

N, WARMUP = 800, 100


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2)).astype(np.float32)
    return x, (x @ [1.0, -1.0] + rng.normal(size=N)).astype(np.float32)


def exact_posterior():
    x, y = (a.astype(np.float64) for a in rows())
    covariance = np.linalg.inv(x.T @ x + np.eye(2))
    return covariance @ x.T @ y, np.sqrt(np.diag(covariance))


def placed():
    """The rows of this process, as part of all rows."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    part = N // jax.process_count()
    start = part * jax.process_index()
    return [
        jax.make_array_from_process_local_data(sharding, x[start : start + part])
        for x in rows()
    ]


def make(num_samples):
    return MCMC(
        SGLD(linear_model, num_steps=20, step_size=2e-4),
        num_warmup=WARMUP,
        num_samples=num_samples,
        num_chains=16,
        chain_method="vectorized",
        progress_bar=False,
    )


if __name__ == "__main__":
    port, process, number, folder, num_samples = sys.argv[1:]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_disable_most_optimizations", True)
    jax.distributed.initialize(
        f"127.0.0.1:{port}",
        int(number),
        int(process),
        heartbeat_timeout_seconds=10,
        shutdown_timeout_seconds=10,
    )
    x, y = placed()
    key = jax.random.key(0)
    mcmc = make(int(num_samples))
    if num_samples == "50":
        mcmc.run(key, x, y)
        np.save(f"{folder}/draws_{process}.npy", mcmc.get_samples()["w"])
    sample_to_store(mcmc, key, x, y, path=f"{folder}/store", draws_per_chunk=10)
    print("finished", flush=True)
