# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Data that stays on disk: the same draws, read ahead, errors that name the rows."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import zarr
from jax import random
from numpyro.infer import MCMC

from numpyro_pl import SGLD, PseudoLangevin, sample_to_store, streamed
from numpyro_pl.dynamics.integrate import READ_STEPS
from numpyro_pl.model.row_reader import RowReader
from numpyro_pl.store.description import described

SIZE, BATCH, STEPS = 400, 20, 25


def model(x, y):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=BATCH) as ind:
        # Both ways to take rows.
        rows = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(x[ind] @ w, 1.0), obs=rows)


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SIZE, 2)).astype(np.float32)
    y = (x @ [1.0, -1.0] + rng.normal(size=SIZE)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    return x, y


@pytest.fixture
def mapped(arrays, tmp_path):
    return [streamed(np.load(tmp_path / f"{n}.npy", mmap_mode="r")) for n in "xy"]


class Source:
    """Rows one at a time, as grain's data sources have them."""

    def __init__(self, array):
        self.array, self.reads, self.threads = array, 0, set()
        self.broken = lambda row: False

    def __len__(self):
        return len(self.array)

    def __getitem__(self, row):
        self.reads += 1
        self.threads.add(threading.current_thread().name.rsplit("_", 1)[0])
        if self.broken(row):
            raise OSError("disk on fire")
        return self.array[row]


def kernel(cls=SGLD, **settings):
    settings = {"step_size": 0.05, **settings} if cls is SGLD else settings
    return cls(model, num_steps=STEPS, **settings)


def draws(kernel, data, chains=2, warmup=2):
    mcmc = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=3,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(random.key(1), *data)
    return np.asarray(mcmc.get_samples()["w"])


@pytest.fixture
def reads(monkeypatch):
    """Shapes of what is read for the steps, with the rows that come next known."""
    found, read = [], RowReader.read

    def recorded(self, index, after=None):
        found.extend([np.shape(index)] * (after is not None))
        return read(self, index, after)

    monkeypatch.setattr(RowReader, "read", recorded)
    return found


@pytest.mark.statistical
def test_draws_are_those_of_the_data_in_memory(arrays, reads):
    """
    Bit for bit, with a warmup and friction from the examples; rows are read for several
    steps at once, in the background. Compiled as users compile it: two programs are
    compared, and the code generator of the fast suite may round them differently.
    """
    expected = draws(kernel(PseudoLangevin), arrays)
    assert np.std(expected) > 0
    source = Source(arrays[0])
    data = streamed(source, threads=1), jnp.asarray(arrays[1])
    np.testing.assert_array_equal(draws(kernel(PseudoLangevin), data), expected)
    assert set(reads) == {(2, READ_STEPS, BATCH)}
    assert len(reads) >= 3 * -(-STEPS // READ_STEPS)
    assert "numpyro_pl-ahead" in source.threads


def test_a_row_is_read_once_for_a_minibatch():
    source = Source(np.arange(50.0))
    rows = RowReader(source, 1).read(np.asarray([[3, 3, 7], [7, 49, 3]]))
    np.testing.assert_array_equal(rows, [[3, 3, 7], [7, 49, 3]])
    assert source.reads == 1 + 3  # the first read tells the shape


def test_what_was_read_ahead_is_not_read_again():
    source = Source(np.arange(50.0))
    reader = RowReader(source, 1)
    first, second = np.asarray([1, 2]), np.asarray([30, 4])
    reader.read(first, second)
    np.testing.assert_array_equal(reader.read(second), [30, 4])
    assert source.reads == 1 + 4


@pytest.mark.parametrize("kind", ["array", "zarr", "source", "many"])
def test_sources(kind):
    values = np.random.default_rng(0).normal(size=(60, 3))  # double precision
    source = {
        "array": lambda: values,
        "zarr": lambda: zarr.array(values, chunks=(7, 3)),
        "source": lambda: Source(values),
        "many": lambda: WithMany(values),
    }[kind]()
    stream = streamed(source, threads=3)
    index = np.random.default_rng(1).integers(0, 60, (2, 40))
    expected = jnp.asarray(values)
    assert stream.shape == (60, 3)
    assert stream.dtype == expected.dtype
    np.testing.assert_array_equal(stream[jnp.asarray(index)], expected[index])
    np.testing.assert_array_equal(stream[10:13], expected[10:13])
    np.testing.assert_array_equal(stream[5], expected[5])
    np.testing.assert_array_equal(jax.jit(lambda i: stream[i])(index), expected[index])


class WithMany(Source):
    def __getitems__(self, rows):
        assert all(isinstance(row, int) for row in rows)
        return [self.array[row] for row in rows]


def test_a_failing_reader_is_named_with_its_rows_and_the_run_goes_on(arrays, tmp_path):
    x, y = arrays
    path = tmp_path / "run.zarr"
    source = Source(x)

    def run():
        data = streamed(source, threads=1), jnp.asarray(y)
        mcmc = MCMC(kernel(), num_warmup=0, num_samples=6, progress_bar=False)
        sample_to_store(mcmc, random.key(2), *data, path=path, draws_per_chunk=2)

    def breaks_late(row):
        return source.reads > 4000

    source.broken = breaks_late
    with pytest.raises(Exception, match=r"reading rows \d+ to \d+ .* of Source failed"):
        run()
    assert path.exists()
    source.broken = lambda row: False
    run()
    whole = draws_in(path)
    mcmc = MCMC(kernel(), num_warmup=0, num_samples=6, progress_bar=False)
    again = tmp_path / "again.zarr"
    data = jnp.asarray(x), jnp.asarray(y)
    sample_to_store(mcmc, random.key(2), *data, path=again, draws_per_chunk=2)
    np.testing.assert_array_equal(whole, draws_in(again))


def draws_in(path):
    return np.asarray(zarr.open(path, mode="r")["posterior/w"])


def test_a_file_that_shrinks_is_an_error(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((1000, 4), np.float32))
    stream = streamed(np.load(path, mmap_mode="r"))
    with open(path, "r+b") as file:
        file.truncate(8000)
    with pytest.raises(RuntimeError, match=r"x\.npy.*shrunk from 16128 to 8000 bytes"):
        stream[np.asarray([999])]


def test_a_store_knows_the_file_without_reading_it(mapped):
    before = described(mapped[0])
    assert "x.npy" in before
    assert str((SIZE, 2)) in before
    path = before.split("'")[1]
    np.save(path, np.ones((SIZE, 2), np.float32))
    assert described(mapped[0]) != before


def test_bad_input(mapped):
    x, _ = mapped
    with pytest.raises(TypeError, match="len\\(source\\)"):
        streamed(iter([1.0]))
    with pytest.raises(ValueError, match="without rows"):
        streamed(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="rows of numbers"):
        streamed(np.asarray(["a", "b"]))
    with pytest.raises(ValueError, match="threads"):
        streamed(np.zeros(3), threads=0)
    with pytest.raises(TypeError, match="takes an array of row numbers"):
        x[jnp.arange(3), 0]
    for wrong in (lambda: x - 1.0, lambda: 2 * x, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="not an array"):
            wrong()

    def unclear(x):
        with numpyro.plate("data", len(x), subsample_size=BATCH):
            numpyro.subsample(x, event_dim=0)

    with pytest.raises(ValueError, match="event_dim=1"):
        kernel_on(unclear, x)


def kernel_on(model, *args):
    return SGLD(model, step_size=0.1).init(random.key(0), 0, model_args=args)
