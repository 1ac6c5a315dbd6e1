# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What `report` says of runs that are good, and of ones that are wrong in a known way. Its
rates over 100 seeds of each are measured by `tests/benchmarks/bench_report.py`.
"""

import re

import arviz as az
import jax
import numpy as np
import pytest
import report_runs as runs
import xarray as xr

from numpyro_pl import report
from numpyro_pl.diagnostics import configurational_temperature


def subjects(found, status="bad"):
    return {v.subject for v in found.verdicts if v.status == status}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("good", set()),
        ("unsettled", {"warmup"}),
        ("mode", {"chains"}),
        ("short", {"length"}),
    ],
)
def test_convergence_is_called_right(kind, expected, seed):
    found = report(runs.synthetic(kind, seed))
    assert subjects(found) == expected
    assert found.ok == (kind == "good")
    assert all(v.remedy for v in found.problems)


@pytest.fixture(scope="module")
def frozen():
    """A kernel whose noise estimate no longer changes after the warmup."""
    kinds = ["noise not compensated", "noise estimate frozen"]
    return runs.simulated(kinds, 1, 100, 300, **runs.FROZEN)


@pytest.fixture(scope="module")
def stale(frozen):
    return frozen["noise estimate frozen"][0]


def test_a_hot_chain_is_called_hot(frozen):
    """The noise, a fifth of the thermostat's, is not compensated: T is about 1.2."""
    found = report(frozen["noise not compensated"][0])
    assert subjects(found) == {"temperature"}
    (verdict,) = found.problems
    assert "too hot" in verdict.sentence
    t = found.chains.kinetic_temperature
    assert 1.12 < t.mean() < 1.3


def test_a_frozen_noise_estimate_is_called_so(stale):
    found = report(stale)
    assert subjects(found) == {"noise"}
    assert "the same at every draw" in found.problems[0].sentence
    assert list(found.chains.noise_fraction.round(1)) == [0.2] * 4
    assert (found.chains.noise_eigenvalue > 0).all()


def test_what_the_model_and_its_data_tell(stale):
    """Positions at the temperature of the target, by the virial of each site."""
    data = (runs.data(), {})
    found = report(stale, data)
    row = found.sites.loc["w"]
    assert abs(row.temperature - 1) < 5 * row.temperature_se < 0.5
    assert row.coordinates == runs.DIM
    assert abs(row.excess_kurtosis) < 1
    assert subjects(found) == {"noise"}
    assert "configurational_temperature" in found.chains
    # A chain that assumes a third of its noise.
    fields = {**stale.fields, "noise_fraction": stale.fields["noise_fraction"] / 3}
    bad = report(stale._replace(fields=fields), data)
    assert "noise now" in subjects(bad)
    ratio = re.search(r"is ([\d.]+) times", str(bad.problems[-1]))
    assert 2.5 < float(ratio[1]) < 3.5


@pytest.mark.parametrize("temperature", [1.0, 1.5])
def test_configurational_temperature_of_exact_draws(temperature):
    """Independent draws of exp(-U / T): within 5 standard errors."""
    x, y = (np.asarray(v, float) for v in runs.data())
    precision = x.T @ x + np.eye(runs.DIM)
    covariance = temperature * np.linalg.inv(precision)
    mean = np.linalg.solve(precision, x.T @ y)
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, (4, 100))
    (row,) = configurational_temperature({"w": draws}, runs.model, x, y).itertuples()
    assert row.temperature_se < 0.03 * temperature
    assert abs(row.temperature - temperature) < 5 * row.temperature_se
    with pytest.raises(ValueError, match=r"lack the latent sites \['w'\]"):
        configurational_temperature({"v": draws}, runs.model, x, y)


def as_arviz(run):
    """The run as a tree or an InferenceData, without the kernel's account."""
    stats = {k: np.asarray(v) for k, v in run.fields.items()}
    stats["lp"] = -stats.pop("potential_energy")
    groups = {
        name: xr.Dataset(
            {
                k: (("chain", "draw", *[f"{k}_{i}" for i in range(v.ndim - 2)]), v)
                for k, v in values.items()
            }
        )
        for name, values in (("posterior", run.samples), ("sample_stats", stats))
    }
    if az.__version__.startswith("0."):
        return az.InferenceData(**groups)
    return xr.DataTree.from_dict(groups)


def test_arviz_data_say_the_same(stale):
    found, of_run = report(as_arviz(stale)), report(stale)
    for name in ("kinetic_temperature", "kinetic_se", "noise_fraction", "divergences"):
        np.testing.assert_allclose(found.chains[name], of_run.chains[name])
    np.testing.assert_allclose(found.sites, of_run.sites)
    # Only the kernel knows that it should have followed its noise.
    assert found.ok
    with pytest.raises(ValueError, match="pass it as model="):
        report(as_arviz(stale), (runs.data(), {}))


def test_hardly_any_noise_is_told_in_words(stale):
    fields = {**stale.fields, "noise_fraction": 1e-6 * stale.fields["noise_fraction"]}
    text = str(report(as_arviz(stale._replace(fields=fields))))
    assert "supply less than 0.01 % of the thermostat's noise" in text


def test_what_is_printed(stale):
    found = report(stale, seconds=10.0)
    text = str(found)
    assert text == repr(found)
    assert max(map(len, text.splitlines())) <= 88
    assert "Not to be trusted yet: noise." in text
    assert "BAD  noise" in text
    steps, ess = 50, found.cost["effective_draws"]
    assert found.cost["gradients"] == pytest.approx(4 * 300 * steps / ess)
    assert found.cost["seconds"] == pytest.approx(10.0 / ess)
    page = found._repr_html_()
    assert "<td" in page
    assert "does not follow the chain" in page


def test_without_fields_convergence_is_judged_alone():
    found = report({"w": runs.ar1(0, 500, 0.5)})
    assert subjects(found, "good") == {"chains", "length"}
    assert subjects(found, "unknown") == {"warmup"}
    single = report({"w": runs.ar1(0, 500, 0.5)[:1]})
    assert "chains" in subjects(single, "unknown")
    assert found.cost["gradients"] is None
    assert "Cost: 2,000 draws are" in str(found)


def test_divergences_of_other_kernels():
    run = runs.synthetic("good", 0)
    diverging = np.zeros((4, 1000), bool)
    diverging[1, 3] = True
    fields = {**run.fields, "diverging": diverging, "num_steps": np.full((4, 1000), 7)}
    found = report(run._replace(fields=fields))
    (verdict,) = found.problems
    assert "1 of 4,000 draws diverged" in verdict.sentence
    assert "target_accept_prob" in verdict.remedy
    assert list(found.chains.divergences) == [0, 1, 0, 0]
    assert found.cost["gradients"] == 28_000 / found.cost["effective_draws"]


def test_bad_input_is_named():
    draws = {"w": runs.ar1(0, 20, 0.5)}
    with pytest.raises(ValueError, match=r"var_names has \['v'\]"):
        report(draws, var_names="v")
    with pytest.raises(ValueError, match="seconds must be"):
        report(draws, seconds=-1.0)
    with pytest.raises(ValueError, match="positional arguments as a tuple"):
        report(draws, jax.numpy.zeros(3))
    with pytest.raises(TypeError, match="the source is a list"):
        report([1.0])
