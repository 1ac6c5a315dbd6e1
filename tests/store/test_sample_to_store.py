"""Draws on disk: what is in a store, and runs that end early in every way."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import arviz as az
import jax
import numpy as np
import pytest
import store_runs
import xarray as xr
from store_runs import X, Y, contents, make, sample

from numpyro_pl import predict
from numpyro_pl.store import chains, open_store
from numpyro_pl.store.chains import Chains
from numpyro_pl.store.checkpoint import load_checkpoint
from numpyro_pl.store.files import DrawFiles

STATE = ".numpyro_pl/state.npz"


class Stopped(Exception):
    """In place of a kill, within the process."""


@pytest.fixture(autouse=True, scope="module")
def compile_once():
    """Runs of equal kernels share their compiled programs."""
    kernels, programs = {}, {}
    start, make_fresh = Chains.start, chains.fresh

    def fresh(kernel):
        return kernels.setdefault(repr(kernel.settings), make_fresh(kernel))

    def shared(self, *args):
        kind = id(self.kernel), self.fields, self.mcmc.num_chains
        self._programs = programs.setdefault(kind, self._programs)
        return start(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chains, "fresh", fresh)
        patch.setattr(Chains, "start", shared)
        yield


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Function that makes a store of a run that was stopped at a call of a function."""

    def stop(owner, name, call, error=Stopped):
        path, calls = tmp_path / "store", []
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            calls.append(1)
            if len(calls) == call:
                raise error
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, counted)
            with pytest.raises((Stopped, OSError)) as raised:
                sample(path)
        return path, raised.value

    return stop


def test_draws_are_those_of_a_run(whole):
    mcmc = make()
    mcmc.run(jax.random.key(0), X, Y, extra_fields=("potential_energy",))
    draws = mcmc.get_samples(group_by_chain=True)
    fields = mcmc.get_extra_fields(group_by_chain=True)
    data = open_store(whole)
    np.testing.assert_array_equal(data.posterior["nn.w"], draws["nn/w"])
    np.testing.assert_array_equal(data.posterior["a"], draws["a"])
    assert data.posterior["nn.w"].attrs["site"] == "nn/w"
    np.testing.assert_array_equal(data.sample_stats["lp"], -fields["potential_energy"])
    assert data.sample_stats["diverging"].dtype == bool
    if hasattr(data, "groups") and callable(data.groups):
        # ArviZ 1.x cannot convert a run with slashes in its names.
        reference = az.from_numpyro(mcmc, log_likelihood=False)
        assert set(data.sample_stats) == set(reference.sample_stats)
        assert data.posterior["a"].dims == reference.posterior["a"].dims
        assert data.posterior["nn.w"].dims == ("chain", "draw", "nn.w_dim_0")
    assert data.posterior["draw"].values.tolist() == list(range(20))
    assert len(az.summary(data)) == 5
    tree = xr.open_datatree(str(whole), engine="zarr")
    assert tree["posterior"]["nn.w"].shape == (2, 20, 3)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (Chains, "advance", 3),  # in the warmup
        (Chains, "advance", 12),  # in the second chunk
        (DrawFiles, "_summarize", 1),  # the first chunk is written, but not its state
        (DrawFiles, "_summarize", 3),
        (xr.Dataset, "to_zarr", 4),  # one group of the second chunk is written
    ],
)
def test_a_stopped_run_goes_on(stopped, whole, owner, name, call):
    path, _ = stopped(owner, name, call)
    assert contents(path) != contents(whole)
    if (path / "posterior").exists():
        # What Zarr leaves if it is stopped while it writes a file.
        (path / "posterior" / "a" / "0.9.0a1b2.partial").write_bytes(b"half")
    sample(path)
    assert contents(path) == contents(whole)
    before = (path / STATE).read_bytes()
    sample(path)  # a finished run has nothing to do
    assert (path / STATE).read_bytes() == before


def test_a_finished_run_is_extended(tmp_path, whole):
    path = tmp_path / "store"
    sample(path, make(8))
    assert open_store(path).posterior.sizes["draw"] == 8
    sample(path)
    assert contents(path) == contents(whole)
    sample(path, make(22))
    with pytest.raises(ValueError, match=r"run of 22 draws.*multiple of its 4"):
        sample(path, make(24))


def test_a_full_disk(stopped, whole):
    """All that was finished can be read, and the run goes on when there is room."""
    error = OSError(errno.ENOSPC, "No space left on device")
    path, raised = stopped(os, "fsync", 80, error)
    assert raised.errno == errno.ENOSPC
    assert re.search(r"\d+ finished draws are safe; free space", str(raised))
    done = load_checkpoint(path / STATE)[0]["num_draws"]
    assert 0 < done < 20
    found = open_store(path).posterior["nn.w"]
    expected = open_store(whole).posterior["nn.w"][:, : found.sizes["draw"]]
    assert found.sizes["draw"] >= done
    np.testing.assert_array_equal(found, expected)
    sample(path)
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("damage", ["cut", "changed", "removed"])
def test_damaged_draws_are_reported(stopped, damage):
    path, _ = stopped(Chains, "advance", 20)
    file = path / "posterior" / "nn.w" / "0.0.0"
    whole = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(whole[:-5] if damage == "cut" else b"\x01" + whole[1:])
    before = contents(path)
    with pytest.raises(ValueError, match=r"1 of \d+ files.*nn\.w/0\.0\.0\. Restore"):
        sample(path)
    assert contents(path) == before


def test_a_damaged_or_missing_state_is_reported(stopped):
    path, _ = stopped(Chains, "advance", 20)
    state = (path / STATE).read_bytes()
    (path / STATE).write_bytes(state[: len(state) // 2])
    with pytest.raises(ValueError, match=r"is damaged.*The draws beside it"):
        sample(path)
    position = state.index(b"array_3.npy") + 140
    (path / STATE).write_bytes(state[:position] + b"!!" + state[position + 2 :])
    with pytest.raises(ValueError, match="is damaged"):
        sample(path)
    (path / STATE).unlink()
    with pytest.raises(ValueError, match="has draws, but no state to go on from"):
        sample(path)
    assert open_store(path).posterior.sizes["draw"] == 12


def other_model(x, y):
    store_runs.model(x, y + 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "rng_key .store: uint32"),
        ({"y": Y + 1e-3}, r"data \[0\]\[1\] .store: float32\[40\]"),
        ({"x": X[:, :2]}, r"data \[0\]\[0\] .*now: float32\[40, 2\]"),
        ({"mcmc": {"num_chains": 3}}, "settings num_chains .store: 2, now: 3"),
        ({"mcmc": {"thinning": 2}}, "settings thinning"),
        ({"mcmc": {"kernel": {"num_steps": 3}}}, "kernel settings"),
        ({"draws_per_chunk": 5}, "settings draws_per_chunk .store: 4, now: 5"),
        ({"extra_fields": ()}, "settings extra_fields"),
        ({"init_params": {"a": np.zeros(2)}}, "init_params"),
    ],
)
def test_another_run_is_refused(whole, change, message):
    change = dict(change)
    mcmc = make(**change.pop("mcmc", {}))
    before = contents(whole)
    with pytest.raises(ValueError, match=f"holds another run.*{message}"):
        sample(whole, mcmc, **change)
    assert contents(whole) == before


def test_another_model_or_version_is_refused(whole, monkeypatch):
    mcmc = make()
    mcmc.sampler._model = other_model
    with pytest.raises(ValueError, match=r"holds another run.*kernel model"):
        sample(whole, mcmc)
    versions = "numpyro_pl.store.description.version"
    monkeypatch.setattr(versions, lambda name: "0.0")
    with pytest.raises(ValueError, match=r"version jax .store: .*, now: 0.0"):
        sample(whole)


def test_what_cannot_be_stored_is_reported_before_sampling(tmp_path, monkeypatch):
    monkeypatch.setattr(Chains, "advance", None)
    (tmp_path / "file").write_text("no store")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("no store")
    for name in ("file", "folder"):
        with pytest.raises(ValueError, match="is not a store of sample_to_store"):
            sample(tmp_path / name)
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["file"]
    with pytest.raises(ValueError, match="names 'energy', which the state"):
        sample(tmp_path / "a", extra_fields=("energy",))
    with pytest.raises(ValueError, match="use the kernel's collect"):
        sample(tmp_path / "b", extra_fields=("~z.w",))
    with pytest.raises(ValueError, match="draws_per_chunk must be"):
        sample(tmp_path / "c", draws_per_chunk=0)
    mcmc = make(kernel={"collect": lambda v: {"a/b": 1, "a.b": 1}})
    with pytest.raises(ValueError, match=r"'a/b' and 'a\.b' would have the same name"):
        sample(tmp_path / "d", mcmc)
    mcmc.post_warmup_state = ()
    with pytest.raises(ValueError, match="runs a warmup of its own"):
        sample(tmp_path / "e", mcmc)
    with pytest.raises(ValueError, match="there is no store"):
        open_store(tmp_path / "folder")


def test_killed_at_any_moment(tmp_path, whole):
    """
    A process of its own, killed in the warmup, between chunks or while it writes; the
    lock goes with it. `tests/benchmarks/bench_store.py` does it more often.
    """
    path = tmp_path / "store"
    command = [sys.executable, store_runs.__file__, str(path), "400000"]
    process = subprocess.Popen(command, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    try:
        wait_for(lambda: (path / ".zmetadata").exists())
        with pytest.raises(RuntimeError, match=f"written by process {process.pid}"):
            sample(path)
        time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = load_checkpoint(path / STATE)[0]["num_draws"]
    sample(path, make(done + 8))
    reference = sample(tmp_path / "reference", make(done + 8))
    assert contents(path) == contents(reference)


@pytest.mark.devices
def test_parallel_chains(tmp_path):
    mcmc = make(8, chain_method="parallel")
    sample(tmp_path, make(4, chain_method="parallel"))
    sample(tmp_path, mcmc)
    mcmc.run(jax.random.key(0), X, Y)
    draws = mcmc.get_samples(group_by_chain=True)
    np.testing.assert_array_equal(open_store(tmp_path).posterior["a"], draws["a"])


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_state_holds_no_objects(whole):
    """And is read without pickle."""
    with np.load(Path(whole) / STATE, allow_pickle=False) as file:
        assert all(file[name].dtype == np.uint8 for name in file.files)


def test_predictions_from_every_kind_of_posterior(whole):
    """
    Predictions are the same whatever the draws come from, or how many at a time, and so
    is their noise.
    """
    data = open_store(whole)
    draws = {
        variable.attrs.get("site", name): variable.to_numpy()
        for name, variable in data.posterior.data_vars.items()
    }
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in draws.items()}
    mcmc = SimpleNamespace(get_samples=lambda group_by_chain: draws)
    found = [
        predict(
            store_runs.model,
            posterior,
            store_runs.X,
            rng_key=jax.random.key(0),
            batch_size=16,
            draws_batch=size,
        )["y"]
        for posterior, size in ((whole, 40), (data, 6), (mcmc, 1), (flat, 7))
    ]
    for other in found[1:]:
        for name in ("mean", "sd"):
            expected = getattr(found[0], name)
            np.testing.assert_allclose(
                getattr(other, name), expected, rtol=1e-4, atol=1e-5
            )
