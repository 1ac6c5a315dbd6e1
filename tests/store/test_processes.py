"""Runs of several processes, which these tests start and end themselves."""

import signal
import time

import jax
import numpy as np
import process_runs
import pytest
from started_processes import SECONDS, finish, logs, processes

from numpyro_pl.store import open_store
from numpyro_pl.store.checkpoint import load_checkpoint
from numpyro_pl.store.fingerprint import _sum_over_rows, fingerprint

RUNS = process_runs.__file__


@pytest.mark.statistical
def test_two_processes_sample_exactly_and_have_the_same_draws(tmp_path):
    """
    Means and variances of two coefficients within 3 standard errors of 16 independent
    chains: a false alarm in 1 of 50 keys, and the key is fixed.
    """
    with processes(RUNS, tmp_path, "draws") as started:
        finish(tmp_path, started)
    first, second = (np.load(tmp_path / f"draws_{i}.npy") for i in (0, 1))
    np.testing.assert_array_equal(first, second)
    mean, sd = process_runs.exact_posterior()
    z = (first - mean) / sd
    assert z.shape == (process_runs.CHAINS, 50, 2)
    for of_chain, exact in ((z.mean(1), 0.0), ((z**2).mean(1), 1.0)):
        error = of_chain.std(0, ddof=1) / len(of_chain) ** 0.5
        assert (np.abs(of_chain.mean(0) - exact) < 3 * error).all()
        assert (error < 0.2).all()


@pytest.mark.statistical
def test_when_one_process_is_killed_the_other_ends_and_one_goes_on(tmp_path):
    store = tmp_path / "store"
    state = store / ".numpyro_pl" / "state.npz"

    def done():
        return load_checkpoint(state)[0]["num_draws"] if state.exists() else 0

    with processes(RUNS, tmp_path, "store") as (first, second):
        end = time.monotonic() + SECONDS
        while done() < 10:
            assert first.poll() is None, logs(tmp_path)
            assert time.monotonic() < end, logs(tmp_path)
            time.sleep(0.1)
        second.send_signal(signal.SIGKILL)
        start = time.monotonic()
        assert first.wait(60) != 0
        print(f"the other process ended after {time.monotonic() - start:.1f} s")
    kept = done()
    before = np.asarray(open_store(store).posterior["w"])[:, :kept]
    process_runs.stored(store, kept + 10)
    after = np.asarray(open_store(store).posterior["w"])
    assert after.shape == (process_runs.CHAINS, kept + 10, 2)
    np.testing.assert_array_equal(after[:, :kept], before)
    mean, sd = process_runs.exact_posterior()
    assert (np.abs(after[:, kept:].mean((0, 1)) - mean) < sd).all()


def test_fingerprints():
    """Those of parts add up to that of the whole; rows and their order count."""
    x = np.arange(60, dtype=np.float32).reshape(20, 3)
    whole = fingerprint(x)
    parts = _sum_over_rows(x[:7], 0) + _sum_over_rows(x[7:], 7)
    assert f"{parts % 2**64:016x}" == whole == fingerprint(jax.numpy.asarray(x))
    swapped, other = x.copy(), x.copy()
    swapped[[3, 4]], other[19, 2] = x[[4, 3]], np.nextafter(x[19, 2], 0)
    assert len({whole, fingerprint(swapped), fingerprint(other)}) == 3
