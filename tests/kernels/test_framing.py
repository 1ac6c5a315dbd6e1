# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""`control_variate` and `dense_mass`: which models they are for, and bad input."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import PseudoLangevin
from numpyro_pl.kernels.framing import is_tall, mixed_coordinates


def two_sites(x, y, batch=50):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, s), obs=yb)


def run(kernel, *args, warmup=20, samples=5, chains=1, **kwargs):
    mcmc = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=samples,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), *args, **kwargs)
    return mcmc


@pytest.mark.parametrize(
    ("size", "rows", "expected"),
    [(10, 200, True), (10, 199, False), (200, 10**6, True), (201, 10**6, False)],
)
def test_tall_models(size, rows, expected):
    assert is_tall(size, rows) is expected


def test_a_tall_model_gets_an_anchor_axes_and_a_pace(regression):
    """600 rows, 3 coefficients; the curvature in whitened coordinates is 1."""
    mcmc = run(PseudoLangevin(linear_model), *regression, warmup=40, chains=2)
    frame = mcmc.last_state.frame
    np.testing.assert_array_equal(frame.share, 1.0)
    assert (frame.friction > 0.05).all()
    assert (frame.num_steps < 100).all()
    x = np.asarray(regression[0], float)
    hessian = x.T @ x + np.eye(3)
    for basis in np.asarray(frame.basis, float):
        np.testing.assert_allclose(basis.T @ hessian @ basis, np.eye(3), atol=0.15)


def test_a_model_with_few_rows_has_no_frame(regression):
    x, y = (a[:50] for a in regression)
    kernel = PseudoLangevin(partial(linear_model, batch=10))
    state = kernel.init(jax.random.key(0), 10, None, (x, y), {})
    assert state.frame == ()


@pytest.mark.parametrize("plain", [{}, {"dense_mass": False}, {"dense_mass": []}])
def test_switched_off(regression, plain):
    kernel = PseudoLangevin(linear_model, control_variate=None, **plain)
    state = kernel.init(jax.random.key(0), 10, None, regression, {})
    if plain:
        assert state.frame == ()
    else:
        assert state.frame.basis.shape == (3, 3)
        assert float(state.frame.share) == 0.0


@pytest.mark.parametrize(
    ("anchor", "dense"),
    [
        ("mean", False),
        ("map", [("w",)]),
        ({"w": jnp.zeros(3), "s": 0.0}, False),
    ],
)
def test_anchors_and_axes_of_the_user(regression, anchor, dense):
    kernel = PseudoLangevin(two_sites, control_variate=anchor, dense_mass=dense)
    mcmc = run(kernel, *regression, warmup=30)
    frame = mcmc.last_state.frame
    assert float(frame.share) == 1.0
    center = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(frame.center)])
    if isinstance(anchor, dict):
        np.testing.assert_array_equal(center, 0.0)
    else:
        # In alphabetical order: log of the scale, then the coefficients.
        np.testing.assert_allclose(center, [0.0, 1.0, 0.0, -1.0], atol=0.25)
    assert np.isfinite(mcmc.get_samples()["w"]).all()


def test_friction_and_steps_of_the_user(regression):
    kernel = PseudoLangevin(linear_model, friction=0.03, num_steps=7)
    mcmc = run(kernel, *regression)
    assert int(mcmc.last_state.frame.num_steps) == 7
    assert float(mcmc.last_state.frame.friction) == pytest.approx(0.03)


def test_dense_mass_without_minibatches(regression):
    kernel = PseudoLangevin(partial(two_sites, batch=None), dense_mass=True)
    mcmc = run(kernel, *regression)
    assert float(mcmc.last_state.frame.share) == 0.0
    assert np.isfinite(mcmc.get_samples()["w"]).all()


@pytest.mark.parametrize("anchor", ["mode", 3, True, ["w"]])
def test_an_anchor_of_no_known_kind(anchor):
    with pytest.raises(
        ValueError, match="control_variate must be 'auto', None, 'mean'"
    ):
        PseudoLangevin(linear_model, control_variate=anchor)


@pytest.mark.parametrize(
    ("anchor", "message"),
    [
        ({"v": jnp.zeros(3)}, r"for the sites \['w'\], got \['v'\]"),
        ({}, r"for the sites \['w'\], got \[\]"),
        ({"w": jnp.zeros(2)}, r"\['w'\] has shape \(2,\), but the site has"),
        ({"w": jnp.array([0.0, jnp.nan, 0.0])}, r"\['w'\] holds values that are not"),
    ],
)
def test_an_anchor_that_does_not_fit(regression, anchor, message):
    with pytest.raises(ValueError, match=message):
        run(PseudoLangevin(linear_model, control_variate=anchor), *regression)


def test_an_anchor_for_a_potential():
    with pytest.raises(ValueError, match="control_variate needs a model"):
        PseudoLangevin(potential_fn=lambda x: x @ x, control_variate="mean")


@pytest.mark.parametrize("dense", ["w", 1.5, [["w"]], [("w", 1)]])
def test_dense_mass_of_no_known_kind(dense):
    with pytest.raises(ValueError, match="dense_mass must be 'auto', True, False"):
        PseudoLangevin(linear_model, dense_mass=dense)


def test_dense_mass_of_an_unknown_site(regression):
    kernel = PseudoLangevin(linear_model, dense_mass=[("w", "u")])
    with pytest.raises(ValueError, match="dense_mass names 'u', but the latent sites"):
        run(kernel, *regression)


def test_dense_mass_that_needs_too_much_memory():
    """30,000 coordinates: three matrices of 3.6 GB."""
    z = {"w": jax.ShapeDtypeStruct((30_000,), jnp.float32)}
    with pytest.raises(ValueError, match=r"30,000 coordinates needs 10\.1 GiB"):
        mixed_coordinates(True, z)


@pytest.mark.parametrize("value", ["yes", 3, None])
def test_full_potential_of_no_known_kind(value):
    with pytest.raises(
        ValueError, match="full_potential must be True, False or 'auto'"
    ):
        PseudoLangevin(linear_model, full_potential=value)


def test_axes_without_an_anchor_on_many_rows(regression, monkeypatch):
    """The potential of a draw is estimated only relative to an anchor."""
    monkeypatch.setattr("numpyro_pl.kernels.run.FEW_ROWS", 500)
    mcmc = run(PseudoLangevin(linear_model, control_variate=None), *regression)
    assert np.isfinite(mcmc.last_state.potential_energy).all()
