# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The digits example as one of several processes, each of which holds its own share of the
images: `python digits_process.py PORT PROCESS NUMBER FOLDER WARMUP DRAWS`. Draws and
potentials go to a file of each process.
"""

import sys
import time
from functools import partial

import bnn_digits
import jax
import numpy as np
from numpyro.infer import MCMC
from shared_rows import placed

from numpyro_pl import PseudoLangevin, datasets


def main():
    port, process, number, folder, warmup, draws = sys.argv[1:]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(number), int(process))
    data = datasets.digits()
    mcmc = MCMC(
        PseudoLangevin(partial(bnn_digits.model, subsample_size=bnn_digits.BATCH)),
        num_warmup=int(warmup),
        num_samples=int(draws),
        num_chains=bnn_digits.CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    rows = placed(data.x_train, data.y_train)
    fields = ("potential_energy", "kinetic_temperature")
    start = time.perf_counter()
    mcmc.run(jax.random.key(0), *rows, extra_fields=fields)
    found = mcmc.get_samples(group_by_chain=True)
    found |= mcmc.get_extra_fields(group_by_chain=True)
    found = {name: np.asarray(value) for name, value in found.items()}
    seconds = time.perf_counter() - start
    np.savez(f"{folder}/draws_{process}.npz", seconds=seconds, **found)


if __name__ == "__main__":
    main()
