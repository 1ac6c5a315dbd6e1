# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Rows that the processes of a run share equally, of which each holds its own."""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


def placed(*arrays):
    """All rows of arrays, of which this process places its share."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    number, own = jax.process_count(), jax.process_index()
    return [
        jax.make_array_from_process_local_data(
            sharding, np.split(np.asarray(x), number)[own]
        )
        for x in arrays
    ]
