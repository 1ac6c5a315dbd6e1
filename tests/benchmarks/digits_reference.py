# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Predictions and potential of NUTS on the digits network, into
`tests/digits_reference.npz`: ten minutes. ::

    PYTHONPATH=tests:examples python tests/benchmarks/digits_reference.py

Four chains of 1,000 draws, more than the example has: the reference has to decide on
images between two classes.
"""

import bnn_digits
import numpy as np
from digits_runs import REFERENCE, Reference


def main() -> None:
    nuts = bnn_digits.sample_nuts(seed=0, num_chains=4, num_samples=1000)
    reference = Reference(
        np.asarray(nuts.probs, np.float64).mean((0, 1)).astype(np.float32),
        float(nuts.potential.mean()),
        float(nuts.potential.std()),
    )
    np.savez(REFERENCE, **reference._asdict())
    print(reference.potential, reference.potential_sd)


if __name__ == "__main__":
    main()
