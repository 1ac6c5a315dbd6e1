# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Maximum a posteriori (MAP) values of a model, from many starts at once."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from numpyro.infer.initialization import init_to_uniform
from tqdm.auto import tqdm

from numpyro_pl.optim.map_problem import MAPProblem, Search, default_optimizer
from numpyro_pl.trees.checks import check_integer

__all__ = ["MAPResult", "find_map"]


@dataclass(frozen=True)
class MAPResult:
    """
    What :func:`find_map` found. Each array has a leading axis of `num_starts`.

    - **params** - constrained values by latent site.
    - **unconstrained** - the same in the unconstrained space of NumPyro's kernels.
    - **losses** - minibatch loss at each step, shape (num_starts, num_steps), in nats;
      NaN after a start has failed.
    - **objective** - negative log joint density on the full data at `params`, shape
      (num_starts,), in nats, without the Jacobian of the unconstrained space.
    - **failed_at** - step at which the loss or a value stopped being finite, shape
      (num_starts,); -1 for a start that did not fail. `params` of a failed start are
      the last finite ones.
    """

    params: dict[str, jax.Array]
    unconstrained: dict[str, jax.Array]
    losses: np.ndarray
    objective: np.ndarray
    failed_at: np.ndarray

    def init_params(self, num_chains: int = 1) -> dict[str, jax.Array]:
        """
        Initial values for `MCMC.run(..., init_params=...)`, one MAP per chain: with a
        leading chain axis for several chains and without one for a single chain, as
        NumPyro expects. If there are more starts than chains, those with the lowest
        objective are taken, in the order of the starts.

        :param int num_chains: number of chains.
        :raises ValueError: if fewer starts than chains ended well.
        """
        good = np.flatnonzero((self.failed_at < 0) & np.isfinite(self.objective))
        if not 1 <= num_chains <= len(good):
            raise ValueError(
                f"num_chains={num_chains}, but the number of starts that ended well is "
                f"{len(good)} of {len(self.failed_at)}. Run find_map with "
                "num_starts=num_chains or more."
            )
        ranked = good[np.argsort(self.objective[good], kind="stable")]
        rows = np.sort(ranked[:num_chains])
        if num_chains == 1:
            rows = rows[0]
        return {name: value[rows] for name, value in self.unconstrained.items()}


def find_map(
    rng_key: jax.Array,
    model: Callable,
    *args,
    optimizer=None,
    num_steps: int = 2000,
    num_starts: int = 1,
    init_strategy: Callable = init_to_uniform,
    progress_bar: bool = True,
    **kwargs,
) -> MAPResult:
    """
    Maximum a posteriori values of a model's latent sites by NumPyro's `SVI` with an
    `AutoDelta` guide, on the model's own minibatches (its plates with
    `subsample_size`), from many starts at once. Rows are drawn with replacement. The
    result can start chains::

        result = find_map(random.key(0), model, x, y, num_starts=4)
        mcmc = MCMC(kernel, num_warmup=..., num_samples=..., num_chains=4)
        mcmc.run(random.key(1), x, y, init_params=result.init_params(4))

    This is the mode of the density of the *constrained* values, without the Jacobian of
    the unconstrained space, as usual for a MAP. `param` sites of the model stay at
    their initial values, as in NumPyro's kernels.

    :param rng_key: a PRNG key.
    :param model: a NumPyro model.
    :param args: positional arguments of the model.
    :param optimizer: an optax or NumPyro optimizer; by default
        :func:`default_optimizer`. Random scales in it (:func:`~numpyro_pl.optim.\
random_scaled_sgdm`) get a stream per start.
    :param int num_steps: steps of each start.
    :param int num_starts: number of starts, advanced together by `vmap`.
    :param init_strategy: where the starts come from, one of NumPyro's strategies.
    :param bool progress_bar: whether to show a progress bar.
    :param kwargs: keyword arguments of the model. One with the name of a parameter
        above needs `functools.partial(model, name=value)`.
    :return: a :class:`MAPResult`.
    :raises ValueError: if `num_starts` or `num_steps` is below 1, or the model has
        no latent site, a discrete one, or one inside a subsampled plate.
    :raises RuntimeError: if every start fails. If only some fail, a `UserWarning` names
        them and the step, and the others go on.
    """
    check_integer("num_starts", num_starts)
    check_integer("num_steps", num_steps)
    if optimizer is None:
        optimizer = default_optimizer(num_steps)
    problem = MAPProblem(model, args, kwargs, optimizer, init_strategy)

    key_start, key_run = random.split(rng_key)
    if num_starts == 1:  # NumPyro finds one start without compilation
        starts = jax.tree.map(lambda x: x[None], problem.starts(key_start))
    else:
        starts = problem.starts(random.split(key_start, num_starts))
    keys = random.split(key_run, num_starts)
    search = jax.vmap(problem.init)(keys, starts, jnp.arange(num_starts))

    search, losses = _advance_all(problem, search, num_steps, progress_bar)
    failed_at = np.asarray(search.failed_at)
    _report_failures(failed_at)
    params, unconstrained, objective = jax.jit(
        jax.vmap(
            lambda s: (
                problem.params(s),
                problem.unconstrained(s),
                problem.objective(s),
            )
        )
    )(search)
    return MAPResult(
        params=params,
        unconstrained=unconstrained,
        losses=losses,
        objective=np.asarray(objective),
        failed_at=failed_at,
    )


def _advance_all(
    problem: MAPProblem, search: Search, num_steps: int, progress_bar: bool
) -> tuple[Search, np.ndarray]:
    """All starts at the end of their search, and their losses at each step."""
    # In twenty calls, between which the progress is shown.
    length = -(-num_steps // 20)
    advance = jax.jit(
        jax.vmap(
            partial(problem.advance, length=length, num_steps=num_steps),
            in_axes=(0, None),
        ),
        donate_argnums=0,
    )
    losses = []
    with tqdm(total=num_steps, disable=not progress_bar, desc="MAP search") as bar:
        for first in range(0, num_steps, length):
            search, loss = advance(search, jnp.int32(first))
            last = np.asarray(loss)[:, : num_steps - first]
            losses.append(last)
            alive = last[np.isfinite(last).all(axis=1)]
            bar.update(last.shape[1])
            if alive.size:
                bar.set_postfix_str(f"loss {alive.mean():.4g}", refresh=False)
    return search, np.concatenate(losses, axis=1)


def _report_failures(failed_at: np.ndarray) -> None:
    failed = np.flatnonzero(failed_at >= 0)
    if not len(failed):
        return
    where = ", ".join(f"start {i} at step {failed_at[i]}" for i in failed)
    message = (
        f"the loss or a value became NaN or infinite in {where}. A lower learning rate "
        "or an optimizer with clipped gradients (optax.clip_by_global_norm) may help."
    )
    if len(failed) == len(failed_at):
        raise RuntimeError(f"No start of the MAP search survived: {message}")
    warnings.warn(
        f"{message} The other starts are not affected; init_params leaves these out.",
        UserWarning,
        stacklevel=3,
    )
