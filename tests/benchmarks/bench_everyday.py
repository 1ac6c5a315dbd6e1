# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Default settings beside NUTS on the models of `tests/everyday_models.py`,
`tests/unusual_models.py`, `tests/textbook_models.py`, `tests/discrete_models.py`,
`tests/example_models.py` and `tests/few_rows_models.py`: where the potential is, and
the scalar of each site that is farthest from NUTS. ::

    PYTHONPATH=tests python tests/benchmarks/bench_everyday.py [--models NAME ...]

Four chains of 1,000 draws each, after 500 draws of warmup here and 1,000 of NUTS. A
model takes one or two minutes on two cores.
"""

import argparse
import time
import warnings

import jax
import numpy as np
from discrete_models import DISCRETE
from everyday_models import EVERYDAY
from example_models import EXAMPLES
from few_rows_models import FEW_ROWS
from jax import random
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS
from textbook_models import TEXTBOOK
from unusual_models import UNUSUAL

from numpyro_pl import PseudoLangevin

LISTS = (EVERYDAY, UNUSUAL, TEXTBOOK, DISCRETE, EXAMPLES, FEW_ROWS)
MODELS = {name: make for models in LISTS for name, make in models.items()}
assert len(MODELS) == sum(map(len, LISTS)), "one name twice"
FIELDS = ("potential_energy", "diverging")


def sampled(kernel, num_warmup: int, key: int, args: tuple) -> dict:
    """Draws, recorded fields, seconds and warnings of a run."""
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = FIELDS
    if isinstance(kernel, PseudoLangevin):
        fields = (*FIELDS, "kinetic_temperature")
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mcmc.run(random.key(key), *args, extra_fields=fields)
        found = mcmc.get_extra_fields(group_by_chain=True)
        found["draws"] = mcmc.get_samples(group_by_chain=True)
        found = jax.tree.map(lambda x: np.asarray(x, np.float64), found)
        jax.effects_barrier()
    said = [str(w.message) for w in caught if w.category is UserWarning]
    return {**found, "said": said, "seconds": time.perf_counter() - start}


def farthest(ours: np.ndarray, nuts: np.ndarray) -> str | None:
    """
    The scalar of a site whose mean is farthest from that of NUTS in standard errors;
    None where all are constants.

    :param ours: draws of shape (chain, draw, ...).
    :param nuts: those of NUTS.
    """
    ours, nuts = (x.reshape(*x.shape[:2], -1) for x in (ours, nuts))
    moving = nuts.std((0, 1)) > 0
    if not moving.any():
        return None
    ours, nuts = ours[..., moving], nuts[..., moving]
    sd = nuts.std((0, 1))
    ess, of_nuts = (np.asarray(effective_sample_size(x)) for x in (ours, nuts))
    off = (ours.mean((0, 1)) - nuts.mean((0, 1))) / sd
    error = np.sqrt(1 / ess + 1 / of_nuts)
    i = np.argmax(np.abs(off / error))
    return (
        f"{off[i]:+.2f} sd, {off[i] / error[i]:+.1f} standard errors (of {off.size}); "
        f"ratio of sd {np.min(ours.std((0, 1)) / sd):.2f} to "
        f"{np.max(ours.std((0, 1)) / sd):.2f}; least ESS {ess.min():.0f}, NUTS "
        f"{of_nuts.min():.0f}; R-hat up to {np.max(split_gelman_rubin(ours)):.3f}"
    )


def compare(name: str) -> None:
    """Print what a model gives."""
    problem = MODELS[name]()
    kernel = PseudoLangevin(problem.minibatch)
    # On all the data, with discrete sites summed out.
    nuts = sampled(NUTS(kernel.model), 1000, 100, problem.args)
    ours = sampled(kernel, 500, 0, problem.args)
    energy, of_nuts = ours["potential_energy"], nuts["potential_energy"]
    temperature = ours["kinetic_temperature"][ours["diverging"] == 0].mean()
    print(
        f"{name}: off {(energy.mean() - of_nuts.mean()) / of_nuts.std():+.2f}, ratio "
        f"of sd {energy.std() / of_nuts.std():.2f}, R-hat "
        f"{split_gelman_rubin(energy):.3f} (NUTS {split_gelman_rubin(of_nuts):.3f}), "
        f"temperature {temperature:.3f}, divergences "
        f"{ours['diverging'].sum():.0f} (NUTS {nuts['diverging'].sum():.0f}), "
        f"{ours['seconds']:.0f} s (NUTS {nuts['seconds']:.0f} s)"
    )
    for site in nuts["draws"]:
        told = farthest(ours["draws"][site], nuts["draws"][site])
        if told is not None:
            print(f"  {site}: {told}")
    for warning in ours["said"]:
        print(f"  warned: {warning}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    for name in parser.parse_args().models:
        compare(name)
        jax.clear_caches()


if __name__ == "__main__":
    main()
