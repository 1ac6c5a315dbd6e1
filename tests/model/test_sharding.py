# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Rows that are split over devices. The targets are linear regressions whose gradients are
known exactly, and whose rows are sorted by them, so that the devices have different
ones.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from numpyro.infer import MCMC

from numpyro_pl import SGLD, PseudoLangevin
from numpyro_pl.dynamics.friction import example_friction
from numpyro_pl.model.plates import PlateSize, PlateSizes
from numpyro_pl.model.potential import MinibatchPotential
from numpyro_pl.model.sharding import shards_of
from numpyro_pl.model.split_model import split_model

N, B, COLUMNS = 12_000, 40, 3
DEVICES = jax.device_count()
KINDS = [AxisType.Auto, AxisType.Explicit]


def model(x, y, batch=B, mean=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, COLUMNS)).astype(np.float32)
    y = (x @ np.array([1.0, 0.0, -1.0]) + rng.normal(size=N)).astype(np.float32)
    order = np.argsort((x @ np.array([0.5, 0.1, -0.2]) - y) * x[:, 0])
    return x[order], y[order]


def placed(*arrays, num=DEVICES, kind=AxisType.Auto, name="data"):
    mesh = jax.make_mesh((num,), (name,), axis_types=(kind,))
    return tuple(jax.device_put(x, NamedSharding(mesh, P(name))) for x in arrays)


def potential_of(*arrays, of=model):
    data = arrays, {}
    plates, _, shards = split_model(of, data, shards_of(data))
    return MinibatchPotential(of, plates, shards)


Z = {"w": jnp.array([0.5, 0.1, -0.2])}


@pytest.fixture(scope="module")
def row_gradients(rows):
    """Gradient of each row's part of the potential at `Z`, and that of the prior."""
    x, y = (a.astype(np.float64) for a in rows)
    w = np.asarray(Z["w"], np.float64)
    return (x @ w - y)[:, None] * x, w


@pytest.mark.devices
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_are_unbiased_and_stratified(rows, row_gradients, kind):
    """
    Mean and variance of 4000 gradients, beside the exact ones, each within 4.5 standard
    errors: a false alarm in 1 of 25,000 runs.
    """
    x, y = placed(*rows, kind=kind)
    potential, num = potential_of(x, y), 4000
    batches = potential.draw_indices(jax.random.key(1), num)
    grad = jax.grad(lambda z, index, x, y: potential(z, index, (x, y), {}))

    @jax.jit
    def gradients(batches, x, y):
        return jax.lax.map(lambda b: grad(Z, b, x, y)["w"], batches, batch_size=100)

    found = np.asarray(gradients(batches, x, y), np.float64)
    of_row, prior = row_gradients
    parts = of_row.reshape(DEVICES, -1, COLUMNS)
    variance = (parts.shape[1] ** 2 * parts.var(1) / (B / DEVICES)).sum(0)
    mean = of_row.sum(0) + prior
    assert (np.abs(found.mean(0) - mean) < 4.5 * np.sqrt(variance / num)).all()
    squares = (found - mean) ** 2
    error = squares.std(0) / num**0.5
    assert (np.abs(squares.mean(0) - variance) < 4.5 * error).all()
    # Rows are sorted, so that a minibatch drawn from all rows would vary more.
    assert variance[0] + 9 * error[0] < N**2 * of_row.var(0)[0] / B


@pytest.mark.devices
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_values_are_those_of_the_same_rows_in_one_place(rows, kind):
    """Potential, its full gradient in chunks, Hessian, losses of rows and their sum."""
    plain = MinibatchPotential(model, PlateSizes.of(model, *rows))
    split = placed(*rows, kind=kind)
    potential = potential_of(*split)
    (index,) = potential.draw_indices(jax.random.key(1), 1).values()
    batch = {"data": index[0]}

    def values(potential, *data):
        def energy(z):
            return potential(z, batch, data, {})

        return (
            energy(Z),
            jax.hessian(energy)(Z),
            potential.with_row_losses(Z, batch, data, {})[1],
            potential.full_value_and_grad(Z, data, {}),
        )

    found = jax.jit(lambda *data: values(potential, *data))(*split)
    expected = jax.jit(lambda *data: values(plain, *data))(*rows)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-3),
        jax.device_get(found),
        jax.device_get(expected),
    )


@pytest.mark.devices
def test_losses_of_rows_beside_a_plate_that_is_not_split(rows):
    """Each plate's own, as in one place."""

    def beside(x, y, z):
        v = numpyro.sample("v", dist.Normal(0, 1))
        model(x, y)
        with numpyro.plate("also", 12, subsample_size=4) as ind:
            numpyro.sample("z", dist.Normal(v, 1.0), obs=z[ind])

    z = jnp.arange(12.0)
    plain = MinibatchPotential(beside, PlateSizes.of(beside, *rows, z))
    split = (*placed(*rows), z)
    potential = potential_of(*split, of=beside)
    batches = potential.draw_indices(jax.random.key(1), 1)
    batch = {name: index[0] for name, index in batches.items()}
    position = {**Z, "v": jnp.asarray(0.3)}
    found = jax.jit(lambda *d: potential.with_row_losses(position, batch, d, {})[1])(
        *split
    )
    expected = plain.with_row_losses(position, batch, (*rows, z), {})[1]
    assert found.shape == (4 + B,)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-3)
    assert float(jnp.max(jnp.abs(expected[:4]))) > 1


def collected_rows(text):
    """Sizes of the leading axes of what a compiled program gathers from devices."""
    shapes = re.findall(r"(\w+\[[\d,]*\])\S* all-(?:gather|to-all)(?:-start)?\(", text)
    return [int(n) for shape in shapes for n in re.findall(r"\d+", shape.split("[")[1])]


@pytest.mark.devices
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nothing_gathers_the_rows_and_memory_is_shared(rows, kind):
    """The whole draw, its warmup included; the program of one device is read."""
    kernel = PseudoLangevin(model, num_steps=5)
    size = {}
    for num in (1, DEVICES):
        x, y = placed(*rows, num=num, kind=kind)
        state = kernel.init(jax.random.key(0), 50, None, (x, y), {})
        step = jax.jit(lambda s, x, y: kernel.sample(s, (x, y), {}))
        program = step.lower(state._replace(carried=()), x, y).compile()
        size[num] = program.memory_analysis().argument_size_in_bytes
        sizes = collected_rows(program.as_text())
        assert max(sizes, default=0) <= B
        other = size[num] - x.nbytes // num - y.nbytes // num
        assert other < 4_000
    assert "all-reduce" in program.as_text()


def fast(of=model, **settings):
    settings = {"num_chains": 2, "chain_method": "vectorized", **settings}
    kernel = SGLD(of, num_steps=2, step_size=1e-3)
    return MCMC(kernel, num_warmup=4, num_samples=3, progress_bar=False, **settings)


def draws(mcmc, *data):
    mcmc.run(jax.random.key(0), *data)
    return np.asarray(mcmc.get_samples()["w"])


@pytest.mark.devices
def test_vectorized_chains_beside_rows_on_explicit_axes(rows):
    """Those of `jax.make_mesh` by default. The warmup looks at all chains."""

    def found(kind):
        mcmc = fast(num_chains=2, chain_method="vectorized")
        return draws(mcmc, *placed(*rows, kind=kind))

    np.testing.assert_allclose(found(KINDS[1]), found(KINDS[0]), rtol=1e-5)


@pytest.mark.devices
def test_programs_of_mcmc_hold_no_rows(rows):
    """
    Arguments of `MCMC` are constants of its programs, but not those that are split:
    the same draws as with `jit_model_args`, and with explicit axes.
    """
    expected = draws(fast(jit_model_args=True), *placed(*rows))
    mcmc = fast()
    np.testing.assert_array_equal(draws(mcmc, *placed(*rows)), expected)
    explicit = placed(*rows, kind=AxisType.Explicit)
    np.testing.assert_allclose(draws(fast(), *explicit), expected, rtol=1e-5)
    x, y = placed(*rows)
    state = mcmc.sampler.init(jax.random.key(0), 4, None, (x, y), {})
    step = jax.jit(lambda s: mcmc.sampler.sample(s, (x, y), {}))
    text = step.lower(state).as_text()
    assert f"constant dense_resource<{N}" not in text
    assert not re.search(rf"stablehlo.constant dense<[^>]*> : tensor<{N}x3xf32>", text)
    # Going on with other rows needs arguments that are not constants.
    mcmc.post_warmup_state = mcmc.last_state
    with pytest.raises(ValueError, match="jit_model_args=True"):
        mcmc.run(jax.random.key(1), *placed(rows[0] + 1, rows[1]))


@pytest.mark.devices
def test_several_chains_need_one_program(rows):
    with pytest.raises(ValueError, match="chain_method='vectorized'"):
        draws(fast(chain_method="parallel"), *placed(*rows))


@pytest.mark.parametrize("strata", [1, 2])
def test_minibatches_of_strata(strata):
    plate = PlateSize(12, 6, strata)
    words = jax.random.bits(jax.random.key(0), (500, 6))
    rows = np.asarray(plate.drawn(words)).reshape(500, strata, -1)
    size = 12 // strata
    assert set(rows[:, -1].ravel()) == set(range(12 - size, 12))
    parts = np.asarray(plate.parts(rows.reshape(500, 6)[0], 2)).reshape(2, strata, -1)
    half = 6 // strata // 2
    np.testing.assert_array_equal(parts[1], rows[0, :, half : 2 * half])
    first = np.asarray(plate.first_rows(size - 1)).reshape(strata, -1)
    np.testing.assert_array_equal(
        first[:, :2], size * np.arange(strata)[:, None] + [[size - 1, 0]]
    )


def test_rows_of_a_plate_with_more_rows_than_numbers():
    """Numbers of 32 bits wrap; those within a device come out right all the same."""
    plate = PlateSize(10**10, 16, 8)
    words = jax.random.bits(jax.random.key(0), (500, 16))
    rows = plate.drawn(words).reshape(500, 8, 2)
    here = np.asarray(rows - (plate.stratum_size * jnp.arange(8))[:, None])
    assert here.min() >= 0
    assert 0.98 * plate.stratum_size < here.max() < plate.stratum_size


def test_friction_balances_the_noise_within_strata():
    """
    Its expectation is V u / 2 T with the covariance V of stratified minibatches: means
    of 20,000 minibatches within 4.5 standard errors (a false alarm in 1 of 100,000).
    """
    rng, strata, share = np.random.default_rng(0), 2, 3
    g = rng.normal(size=(strata, 50, 2)) + np.array([[[3.0, 0]], [[-3.0, 1]]])
    u, temperature = np.array([0.3, -0.7]), 0.5
    batch = strata * share
    centered = g - g.mean(1, keepdims=True)
    covariance = 50 * np.einsum("sni,snj->ij", centered, centered) / share
    chosen = rng.integers(50, size=(20_000, strata, share))
    rows = g[np.arange(strata)[:, None], chosen].reshape(-1, batch, 2)
    scale = g.size / 2 / batch

    def force(g):
        losses = lambda x: scale * g @ x  # noqa: E731
        return example_friction(
            losses, jnp.zeros(2), u, temperature, ((strata, share),)
        )

    found = np.asarray(jax.vmap(force)(jnp.asarray(rows, jnp.float32)))
    error = found.std(0) / len(found) ** 0.5
    exact = covariance @ u / (2 * temperature)
    assert (np.abs(found.mean(0) - exact) < 4.5 * error).all()


def test_padded_rows_count_nothing():
    """
    Rows that fill up a device are masked: the mean over minibatches is the gradient of
    the true rows. All minibatches of one row from each part, so the mean is exact.
    """

    def masked(x, is_row, batch=2):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb = numpyro.subsample(x, event_dim=0)
            true = numpyro.subsample(is_row, event_dim=0)
            with numpyro.handlers.mask(mask=true):
                numpyro.sample("x", dist.Normal(w, 1.0), obs=xb)

    x = np.array([1.0, 2.0, 4.0, 0.0], np.float32)
    is_row = np.array([True, True, True, False])
    data = placed(x, is_row, num=1)
    potential = potential_of(*data, of=masked)
    grad = jax.grad(lambda w, i: potential({"w": w}, {"data": i}, data, {}))
    pairs = jnp.array([[i, j] for i in (0, 1) for j in (2, 3)])
    found = jax.jit(jax.vmap(grad, (None, 0)))(0.5, pairs)
    exact = 0.5 + sum(0.5 - v for v in (1.0, 2.0, 4.0))
    np.testing.assert_allclose(np.mean(found), exact, rtol=1e-6)


def test_models_that_need_more_than_single_rows():
    """Each would silently be wrong: a device would compute it from its own rows."""
    x, y = np.ones((8, 3), np.float32), np.ones(8, np.float32)

    def centered(x, y):
        return model(x - x.mean(0), y, 4)

    def scaled_prior(x, y):
        numpyro.sample("b", dist.Normal(0, jnp.std(y)))
        return model(x, y, 4)

    def numbered(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("data", 8, subsample_size=4) as rows:
            trend = 0.1 * rows
            numpyro.sample("y", dist.Normal(w + trend, 1.0), obs=y[rows])

    def own_table(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("data", 8, subsample_size=4) as rows:
            offset = jnp.linspace(0.0, 1.0, 8)[rows]
            numpyro.sample("y", dist.Normal(w + offset, 1.0), obs=y[rows])

    def factor_outside(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        numpyro.factor("all", -jnp.sum((y - w) ** 2))
        with numpyro.plate("data", 8, subsample_size=4) as rows:
            numpyro.sample("y", dist.Normal(w, 1.0), obs=y[rows])

    for of, what in [
        (centered, "site 'y' depends on all rows of argument 0"),
        (scaled_prior, "site 'b' depends on all rows of argument 1"),
        (numbered, "row numbers of plate 'data'"),
        (own_table, "plate 'data' indexes, but that is not split"),
        (factor_outside, "site 'all' depends on all rows of argument 1"),
    ]:
        with pytest.raises(ValueError, match=what):
            potential_of(*placed(x, y, num=1), of=of)


def test_crossed_plates_of_which_one_is_split():
    """Rows of a table are split, its columns and their parameters are not."""

    def crossed(table, group):
        rows = numpyro.plate("rows", table.shape[0], subsample_size=4, dim=-2)
        columns = numpyro.plate("columns", 6, subsample_size=2, dim=-1)
        w = numpyro.sample("w", dist.Normal(0, 1).expand([6]).to_event(1))
        with rows, columns as j:
            obs = numpyro.subsample(table, event_dim=0)
            numpyro.sample("y", dist.Normal(w[group[j]], 1.0), obs=obs)

    table = np.arange(48, dtype=np.float32).reshape(8, 6)
    (split,) = placed(table, num=1)
    data = (split, jnp.arange(6)), {}
    plates, _, _ = split_model(crossed, data, shards_of(data))
    assert plates["rows"].is_split
    assert not plates["columns"].is_split


def test_arguments_that_do_not_line_up():
    x, y = np.ones((8, 3), np.float32), np.ones(8, np.float32)
    (split,) = placed(x, num=1)
    with pytest.raises(ValueError, match="is not split over the devices"):
        potential_of(split, y, of=lambda x, y: model(x, y, 4))
    (other,) = placed(y, num=1, name="rows")
    with pytest.raises(ValueError, match="do not lie on the same devices"):
        shards_of(((split, other), {}))
    both = NamedSharding(jax.make_mesh((1, 1), ("a", "b")), P("a", "b"))
    with pytest.raises(ValueError, match="split rows only"):
        shards_of(((jax.device_put(x, both),), {}))
    mesh = jax.make_mesh((1,), ("data",))
    with pytest.raises(ValueError, match="rows"):  # JAX's own
        NamedSharding(mesh, P("rows"))


def test_a_plate_whose_size_is_a_number():
    """A device has fewer rows than that. Rows taken by index are found all the same."""

    def fixed(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
        with numpyro.plate("data", 8, subsample_size=4) as rows:
            numpyro.sample("y", dist.Normal(x[rows] @ w, 1.0), obs=y[rows])

    x, y = np.ones((8, 3), np.float32), np.ones(8, np.float32)
    data = placed(x, y, num=1)
    potential = potential_of(*data, of=fixed)
    found = jax.jit(lambda *data: potential.full(Z, data, {}))(*data)
    error = x @ np.asarray(Z["w"]) - y
    energy = 0.5 * (error @ error + 11 * np.log(2 * np.pi) + Z["w"] @ Z["w"])
    np.testing.assert_allclose(found, energy, rtol=1e-5)


@pytest.mark.devices
def test_batches_that_the_devices_cannot_share(rows):
    split = placed(*rows)
    with pytest.raises(ValueError, match=rf"take subsample_size={2 * DEVICES}\."):
        potential_of(*split, of=lambda x, y: model(x, y, DEVICES))
    least, most = 10 * DEVICES, 11 * DEVICES
    with pytest.raises(ValueError, match=f"subsample_size={least} or {most}"):
        potential_of(*split, of=lambda x, y: model(x, y, least + 1))
