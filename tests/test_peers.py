# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The race against peers: what counts as whose error, and when."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def peers(monkeypatch):
    """The package `tests/benchmarks/peers`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))
    names = ("curves", "race", "reference", "table")
    return SimpleNamespace(**{n: importlib.import_module(f"peers.{n}") for n in names})


def record(peers, probabilities):
    """A run of chunks of one draw, one a second, of one point with two classes."""
    num = len(probabilities)
    probs = np.array([[[p, 1 - p]] for p in probabilities])
    seconds = np.arange(1.0, num + 1)
    columns = seconds, 10 * seconds, np.ones(num), probs, np.zeros((num, 1))
    return peers.race.Record(*columns, 0.0, 1.0, 0.0, True)


def known(peers):
    """A reference of the point: 0.5 for each class."""
    squares, sd = np.zeros(1), np.ones(1)
    return peers.reference.Reference(
        np.full((1, 2), 0.5), squares, sd, 0.001, 0.01, 0.002, 1.0
    )


def test_a_peer_leaves_out_its_best_share_and_we_nothing(peers):
    """Draws at 0.9, then at 0.5, where the reference is: 0.1 off with all of them."""
    run = record(peers, [0.9, 0.5, 0.5, 0.5])
    ours = peers.curves.errors(run, known(peers), peer=False)[-1]
    theirs = peers.curves.errors(run, known(peers), peer=True)[-1]
    assert ours["error"] == pytest.approx(0.1)
    assert theirs["error"] == pytest.approx(0.0)
    assert theirs["left_out"] == 0.25


def test_the_error_at_a_time_is_that_of_the_draws_before_it(peers):
    points = peers.curves.errors(record(peers, [0.9, 0.5, 0.1]), known(peers), False)
    assert peers.curves.at(points, "seconds", 0.5) is None
    assert peers.curves.at(points, "seconds", 2.5)["error"] == pytest.approx(0.2)
    assert peers.curves.at(points, "passes", 30)["error"] == pytest.approx(0.0)


def test_the_best_setting_counts_and_one_that_is_not_finite_does_not(peers):
    def run(error, finite=True):
        point = {"seconds": 1.0, "passes": 1.0, "error": error}
        return {"points": [point], "finite": finite, "setting": {"step_size": error}}

    runs = [run(0.3), run(0.2), run(0.1, finite=False)]
    best, _ = peers.curves.best_at(runs, "seconds", 1.0)
    assert best["setting"] == {"step_size": 0.2}
    ours = {"PseudoLangevin": [run(0.05)], "SGLD": runs, "NUTS": [run(0.4)]}
    told = peers.table.factor_of_best({"runs": ours}, ["SGLD", "NUTS"], 1.0)
    assert "SGLD" in told
    assert "4.00" in told
