# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What the package needs of NumPyro beyond its public interface, kept in one place.

NumPyro's `MCMC` tells a kernel when a run begins (`init`) but not when it ends, and a
warning that counts the divergences of a run can only be given then. So `MCMC.run` is
wrapped once: after a run whose sampler has a method `_after_run`, that method is called
with the final state and the one resumed from. Runs of other kernels pass through untouched.
"""

import functools
from typing import Any

import jax
from numpyro.infer import MCMC
from numpyro.util import is_prng_key

__all__ = ["install_run_hook", "is_prng_key", "is_traced"]


def is_traced(tree: Any) -> bool:
    """Whether any leaf of a tree is a tracer (its value is not known now)."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def install_run_hook() -> None:
    """Wrap `MCMC.run`, once, so that it calls `sampler._after_run(state, before)`."""
    run = MCMC.run
    if getattr(run, "_numpyro_pl_hook", False):
        return

    @functools.wraps(run)
    def run_with_hook(self, *args, **kwargs):
        before = self.post_warmup_state
        result = run(self, *args, **kwargs)
        after_run = getattr(self.sampler, "_after_run", None)
        if after_run is not None and self.last_state is not None:
            after_run(self.last_state, before)
        return result

    run_with_hook._numpyro_pl_hook = True  # type: ignore[attr-defined]
    MCMC.run = run_with_hook
