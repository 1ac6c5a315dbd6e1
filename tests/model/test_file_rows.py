# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Rows of large mapped files, which are read and not mapped."""

from pathlib import Path

import numpy as np
import pytest

from numpyro_pl import streamed
from numpyro_pl.model import file_rows
from numpyro_pl.model.file_rows import rows_of_file

ROWS = 1000


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A mapped file whose entries tell where they are, and that counts as large."""
    monkeypatch.setattr(file_rows, "SMALL", 0)
    # Neither the type of this machine nor a header of whole pages.
    values = np.arange(ROWS * 6, dtype=">i4").reshape(ROWS, 3, 2)
    np.memmap(tmp_path / "x", ">i4", "w+", 5000, values.shape)[:] = values
    return np.memmap(tmp_path / "x", ">i4", "r", 5000, values.shape)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("part", [slice(None), slice(317, None), slice(5, 900)])
def test_rows_are_those_of_the_array(table, part, threads):
    stream, expected = streamed(table[part], threads=threads), np.asarray(table[part])
    assert rows_of_file(table[part]) is not None
    num = len(expected)
    for index in (
        np.asarray([[5, 3, 3], [-1, num - 1, 4]]),
        np.arange(num),
        np.random.default_rng(0).integers(0, num, (4, 50)),
        np.zeros(0, int),
    ):
        np.testing.assert_array_equal(stream[index], expected[index])


def test_rows_that_are_not_there(table, tmp_path):
    stream = streamed(table, threads=1)
    for wrong in (ROWS, -ROWS - 1):
        with pytest.raises(RuntimeError, match="there are 1000 rows"):
            stream[np.asarray([3, wrong])]
    np.testing.assert_array_equal(stream[np.asarray([2])], table[[2]])


def test_a_file_that_shrinks_while_it_is_read(table, tmp_path):
    """After the look at its size. Through the mapping that would end the process."""
    stream = streamed(table, threads=1)
    stream._reader._check_file = lambda: (tmp_path / "x").write_bytes(bytes(8000))
    with pytest.raises(RuntimeError, match=r"rows 0 to 999 .* ends at byte 8000"):
        stream[np.arange(ROWS)]


def test_what_is_not_read_from_the_file(table, tmp_path, monkeypatch):
    """Rows that are not one after the other, or that the file does not hold."""
    changed = np.memmap(tmp_path / "x", ">i4", "c", 5000, table.shape)
    for source in (table[::2], table[:, 0], changed, np.asarray(table)):
        assert rows_of_file(source) is None
    changed[7] = -1
    np.testing.assert_array_equal(streamed(changed)[np.asarray([7])], changed[[7]])
    monkeypatch.setattr(file_rows, "SMALL", table.nbytes)
    assert rows_of_file(table) is None


def resident_bytes():
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_large_file_takes_no_memory(tmp_path):
    """4,000 rows of 3 kB. Through the mapping they would be more than 100 MB."""
    num = file_rows.SMALL // 3136 + 1
    path = tmp_path / "x.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (num, 784))
    stream = streamed(np.load(path, mmap_mode="r"))
    rng = np.random.default_rng(0)
    before = resident_bytes()
    for _ in range(20):
        stream._reader.read(rng.integers(0, num, 200))
    assert resident_bytes() - before < 20e6
