# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Schedule of the warmup, in blocks of integrator steps.

A draw is one block of steps, or several if it is long, so that the warmup never waits
for the end of a long draw. The first blocks are the descent
(:mod:`numpyro_pl.warmup.descent`). Then, before a few blocks (the *events*), the chain
stops, measures the minibatch noise and the curvature at its position, and sets new
scales.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Schedule"]

LONGEST_BLOCK = 100
"""Most steps of a block."""

DESCENT_SHARE, LONGEST_DESCENT = 0.2, 2000
"""Share of the warmup that goes into the descent, and its most steps."""

FIRST_RATE, LAST_RATE = 0.1, 1e-4
"""Lengths of the first and the last step of the descent, in unconstrained units."""

GROWTH = 1.5
"""Ratio of the times of successive events after the descent."""

FURTHER = (0.6, 0.82, 0.96)
"""Further events of the second half, as shares of the warmup."""

LEAST_GROWTH = 1.05
"""Least growth of the factor on the steps with each block."""

SHORT_MEMORY = 100.0
"""Most minibatches averaged in the running noise variance in the first half."""


@dataclass(frozen=True)
class Schedule:
    """
    What happens when.

    :param int num_warmup: warmup draws.
    :param int num_steps: integrator steps per draw.
    :param int interval: steps between estimates of the noise that go on after the
        warmup, rounded to blocks; None: the scales are set at events of the warmup.
    """

    num_warmup: int
    num_steps: int
    interval: int | None = None

    @property
    def blocks_per_draw(self) -> int:
        """Blocks of a draw."""
        return -(-self.num_steps // LONGEST_BLOCK)

    @property
    def block_steps(self) -> int:
        """Steps of a block; a draw may have a few more than the user's number."""
        return -(-self.num_steps // self.blocks_per_draw)

    @property
    def draw_steps(self) -> int:
        """Steps of a draw, whole blocks of them."""
        return self.blocks_per_draw * self.block_steps

    @property
    def num_blocks(self) -> int:
        """Blocks of the warmup."""
        return self.num_warmup * self.blocks_per_draw

    @property
    def descent_blocks(self) -> int:
        """Blocks of the descent."""
        steps = self.num_blocks * self.block_steps
        descent = min(DESCENT_SHARE * steps, LONGEST_DESCENT)
        return int(descent // self.block_steps)

    @property
    def burn_in_end(self) -> int:
        """The first block at which chains are taken to have arrived."""
        return self.num_blocks // 2

    @cached_property
    def events(self) -> np.ndarray:
        """
        Blocks before which the scales are set: right after the descent, then after
        ever longer times, and at half, three quarters and nine tenths of the warmup.
        """
        first = self.descent_blocks
        events = {first} | {int(f * self.num_blocks) for f in (0.5, 0.75, 0.9)}
        after = 1.0
        while first + after <= self.burn_in_end:
            events.add(first + int(after))
            after *= GROWTH
        return np.array(sorted(e for e in events if e >= first))

    def is_event(self, block: Any, events: np.ndarray) -> jax.Array:
        """
        Whether scales are set before a block.

        :param block: number of the block.
        :param events: the events of the warmup; with an interval, not used.
        """
        if self.interval is None:
            return jnp.any(block == jnp.asarray(events))
        every = max(1, round(self.interval / self.block_steps))
        since = block - self.descent_blocks
        return (since >= 0) & (since % every == 0)

    @cached_property
    def further_events(self) -> np.ndarray:
        """
        Blocks of the second half before which scales are set where steps are found too
        long (:mod:`numpyro_pl.warmup.shadow`): shorter ones lead to places where still
        shorter ones are needed.
        """
        return np.array([int(f * self.num_blocks) for f in FURTHER])

    @cached_property
    def frame_events(self) -> np.ndarray:
        """
        Those events at which the frame (:mod:`numpyro_pl.warmup.frame`) is set anew:
        every third one up to half of the warmup, and all after that.
        """
        late = self.events >= min(self.burn_in_end, self.last_event)
        return np.unique(np.append(self.events[~late][::3], self.events[late]))

    @property
    def growth(self) -> float:
        """
        Growth of the factor on the steps with each block (see
        :mod:`numpyro_pl.warmup.control`): ten times within a quarter of the warmup, or
        faster.
        """
        return max(LEAST_GROWTH, 10.0 ** (4 / max(self.num_blocks, 1)))

    @property
    def last_event(self) -> int:
        """The block before which the scales are set for the last time."""
        return int(self.events[-1])

    def rates(self, block: Any) -> tuple[Any, Any]:
        """Lengths of the first and the last step of a block of the descent."""
        decay = LAST_RATE / FIRST_RATE
        num = max(self.descent_blocks, 1)
        first = FIRST_RATE * decay ** (block / num)
        return first, first * decay ** (1 / num)

    def variance_weight(self, block: Any, rate: float) -> jax.Array:
        """
        Number of minibatches that the running noise variance averages at a block.

        The noise of a neural network depends on which points are badly fitted at the
        moment. Step sizes set from the noise at one moment leave some coordinates that
        the minibatches alone overheat at another. So between half and nine tenths of
        warmup the variance is averaged over that whole period. Before that it forgets
        quickly; afterwards it follows the chain at the user's rate.

        :param block: number of the block.
        :param float rate: weight per step of the newest value after warmup.
        """
        since = jnp.maximum(block - self.burn_in_end, 0)
        weight = min(SHORT_MEMORY, 1.0 / rate) + self.block_steps * since
        return jnp.where(block > self.last_event, 1.0 / rate, weight)

    def stage(self, draw: int) -> str:
        """
        What the draw with this number is part of: `"descending"`, `"heating"`,
        `"adapting"` or `"sampling"`.
        """
        block = draw * self.blocks_per_draw
        for name, end in (
            ("descending", self.descent_blocks),
            ("heating", self.burn_in_end),
            ("adapting", self.num_blocks),
        ):
            if block < end:
                return name
        return "sampling"
