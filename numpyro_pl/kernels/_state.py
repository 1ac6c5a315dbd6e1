# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The state of a chain."""

from typing import Any, NamedTuple

import jax

__all__ = ["LangevinState"]


class LangevinState(NamedTuple):
    """
    State of a chain. Trees are like the position `z`.

    - **i** - number of draws made, warmup included.
    - **z** - the draw: unconstrained latent values.
    - **displacement** - what one step adds to the position, `h p / M`. It, step sizes
      and variances mean nothing before the first draw, which sets them.
    - **thermostat** - friction variable of adaptive Langevin dynamics, 0 for others; a
      scalar for one group, else an array.
    - **step_size** - step sizes, fixed after warmup: `(1 + c) h^2 / (2 M)` for each
      coordinate of a pseudo-Langevin group; (step length h, friction) of another.
    - **noise_variance** - running variance of the minibatch gradient in pseudo-Langevin
      groups; in others the group's mean, as measured in warmup.
    - **potential_energy** - potential at `z` in nats, on the full data unless the
      kernel was told otherwise; ArviZ stores its negative as `lp`.
    - **kinetic_temperature** - mean kinetic temperature over the draw's steps; its
      expectation is the target temperature. A scalar for one group, else an array.
    - **mean_kinetic_temperature** - its running mean since the end of warmup.
    - **noise_fraction** - mean share of the thermostat's noise that minibatches
      supplied.
    - **noise_eigenvalue** - largest eigenvalue of the noise covariance in units of the
      thermostat's noise, measured at the end of warmup.
    - **diverging** - whether the draw was thrown away because it was not finite (the
      chain goes on from the draw before with a fresh momentum).
    - **num_divergences** - their number since the end of warmup.
    - **rng_key** - key of the next draw.
    """

    i: jax.Array
    z: Any
    displacement: Any
    thermostat: jax.Array
    step_size: Any
    noise_variance: Any
    potential_energy: jax.Array
    kinetic_temperature: jax.Array
    mean_kinetic_temperature: jax.Array
    noise_fraction: jax.Array
    noise_eigenvalue: jax.Array
    diverging: jax.Array
    num_divergences: jax.Array
    rng_key: jax.Array

    def with_shared_arrays(self) -> "LangevinState":
        """
        The state before the first draw, with the position in place of the momentum,
        step sizes and variances that there are none of yet. `MCMC` keeps this state for
        the whole run: zeros would be three more arrays of the size of the parameters.
        """

        def share(tree):
            return jax.tree.map(
                lambda x, z: z if (x.shape, x.dtype) == (z.shape, z.dtype) else x,
                tree,
                self.z,
            )

        return self._replace(
            displacement=self.z,
            step_size=share(self.step_size),
            noise_variance=share(self.noise_variance),
        )
