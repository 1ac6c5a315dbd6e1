"""
A small run as one of several processes: `python process_runs.py PORT PROCESS NUMBER
FOLDER WHAT`. Each process makes its own part of the rows. WHAT is "draws" for draws in
a file of each process, or "store" for a long run to a store.
"""

import sys

import jax
import numpy as np
from numpyro.infer import MCMC
from shared_models import linear_model
from shared_rows import placed

from numpyro_pl import SGLD, PseudoLangevin, sample_to_store

N, WARMUP, CHAINS = 800, 100, 16


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2)).astype(np.float32)
    return x, (x @ [1.0, -1.0] + rng.normal(size=N)).astype(np.float32)


def exact_posterior():
    x, y = (a.astype(np.float64) for a in rows())
    covariance = np.linalg.inv(x.T @ x + np.eye(2))
    return covariance @ x.T @ y, np.sqrt(np.diag(covariance))


def mcmc(kernel, num_samples):
    return MCMC(
        kernel,
        num_warmup=WARMUP,
        num_samples=num_samples,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )


def exact():
    """A run whose draws are exact. Minibatches are noisy without an anchor."""
    plain = {"control_variate": None, "dense_mass": False}
    return mcmc(PseudoLangevin(linear_model, num_steps=20, **plain), 50)


def stored(folder, num_samples):
    """A run to a store, of a kernel that compiles fast."""
    run = mcmc(SGLD(linear_model, num_steps=20, step_size=2e-4), num_samples)
    key = jax.random.key(0)
    return sample_to_store(run, key, *placed(*rows()), path=folder, draws_per_chunk=10)


if __name__ == "__main__":
    port, process, number, folder, what = sys.argv[1:]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_disable_most_optimizations", True)
    jax.distributed.initialize(
        f"127.0.0.1:{port}", int(number), int(process), heartbeat_timeout_seconds=10
    )
    if what == "draws":
        run = exact()
        run.run(jax.random.key(0), *placed(*rows()))
        draws = run.get_samples(group_by_chain=True)["w"]
        np.save(f"{folder}/draws_{process}.npy", draws)
    else:
        stored(f"{folder}/store", 1_000_000)
