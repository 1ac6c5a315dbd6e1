# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Potentials of NUTS on the ordinary models, into `tests/ordinary_references.json`: mean
and standard deviation over the draws, means of the chains, R-hat, gradients per draw.
The networks take 5 to 30 minutes each on one core. ::

    PYTHONPATH=tests python tests/benchmarks/ordinary_references.py negative_binomial

That of `digits_wide`, 21,354 weights, is from a GPU: 4 chains, a minute with
`--num-warmup 100 --num-samples 150 --max-tree-depth 8 --num-chains 4`.
"""

import argparse
import json

import jax
import numpy as np
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS
from ordinary_models import PROBLEMS
from ordinary_runs import REFERENCES, known_references


def reference(name, num_warmup, num_samples, max_tree_depth, num_chains=2):
    """Chains of NUTS on the full data."""
    problem = PROBLEMS[name]()
    mcmc = MCMC(
        NUTS(problem.model, max_tree_depth=max_tree_depth),
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("potential_energy", "num_steps", "diverging")
    mcmc.run(jax.random.key(0), *problem.args, extra_fields=fields)
    fields = mcmc.get_extra_fields(group_by_chain=True)
    energy = np.asarray(fields["potential_energy"], np.float64)
    return {
        "mean": float(energy.mean()),
        "sd": float(energy.std(1).mean()),
        "chains": energy.mean(1).tolist(),
        "r_hat": float(split_gelman_rubin(energy)),
        "ess": float(effective_sample_size(energy)),
        "gradients_per_draw": float(fields["num_steps"].mean()),
        "divergences": int(fields["diverging"].sum()),
        "settings": [num_warmup, num_samples, max_tree_depth],
    }


def main():
    """Sample the named models and add them to the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("names", nargs="+", choices=sorted(PROBLEMS))
    parser.add_argument("--num-warmup", type=int, default=500)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--max-tree-depth", type=int, default=10)
    parser.add_argument("--num-chains", type=int, default=2)
    options = vars(parser.parse_args())
    for name in options.pop("names"):
        known = known_references()
        known[name] = reference(name, **options)
        print(name, known[name])
        REFERENCES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
