"""The counter generator against its published vectors and exact moments."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.trees.increments import (
    scaled_increments,
    sign_probes,
    tree_normal,
    tree_signs,
)
from numpyro_pl.trees.random_bits import (
    fold_in,
    normals,
    random_words,
    split,
    threefry_2x32,
    uniforms,
)
from numpyro_pl.warmup.curvature import hessian_row_norms


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (
            (0x13198A2E, 0x03707344),
            (0x243F6A88, 0x85A308D3),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
)
def test_known_answers(key, counter, expected):
    """Known-answer vectors of the Random123 library."""

    def u32(pair):
        return tuple(jnp.uint32(x) for x in pair)

    assert tuple(int(x) for x in threefry_2x32(u32(key), u32(counter))) == expected


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_streams_and_keys_differ(impl):
    key = random.key(0, impl=impl)
    words = [
        np.asarray(random_words(k, 101, s))
        for k in (key, random.key(1, impl=impl))
        for s in (0, 1)
    ]
    for i in range(4):
        assert len(set(words[i].tolist())) == 101
        for j in range(i):
            assert not np.intersect1d(words[i], words[j]).size


def test_raw_keys_are_accepted():
    typed = random_words(random.key(3), 10)
    raw = random_words(random.PRNGKey(3), 10)
    np.testing.assert_array_equal(typed, raw)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("raw", [False, True])
def test_derived_keys_and_uniform_values_are_those_of_jax(impl, raw):
    """Of one key and of a batch, typed and raw."""
    key = random.key(7, impl=impl)

    def derived(split, fold_in, uniforms, key):
        own = random.key_data(key) if raw else key
        keys = split(own, 3)
        folded = [fold_in(own, n) for n in (0, 5, 2**32 - 1, jnp.asarray(3))]
        values = uniforms(keys[1:], ((), (7, 3)), -0.5, 2.0)
        return keys, folded, values

    def uniform(keys, shapes, low, high):
        pairs = zip(keys, shapes, strict=True)
        return [random.uniform(k, s, minval=low, maxval=high) for k, s in pairs]

    with jax.default_prng_impl(impl):
        for keys in (key, random.split(key, 2)):
            ours, theirs = (
                jax.jit(fn if keys.ndim == 0 else jax.vmap(fn))(keys)
                for fn in (
                    partial(derived, split, fold_in, uniforms),
                    partial(derived, random.split, random.fold_in, uniform),
                )
            )
            for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
                assert a.dtype == b.dtype
                if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                    a, b = random.key_data(a), random.key_data(b)
                np.testing.assert_array_equal(a, b)


def test_normal_moments():
    """Moments 1 to 4 and a lagged product of 400,000 values within 4 se."""
    z = np.asarray(normals(random.key(0), 400_000, jnp.float32), np.float64)
    root = len(z) ** 0.5
    assert abs(z.mean()) < 4 / root
    assert abs((z**2).mean() - 1) < 4 * 2**0.5 / root
    assert abs((z**3).mean()) < 4 * 15**0.5 / root
    assert abs((z**4).mean() - 3) < 4 * 96**0.5 / root
    assert abs((z[1:] * z[:-1]).mean()) < 4 / root
    assert np.isfinite(z).all()
    assert np.abs(z).max() > 4


@pytest.mark.parametrize("shape", [(70_000,), (100, 701), (3, 30_000), (33, 40, 50)])
def test_signs(shape):
    """Mean, and products of neighbours along each axis, within 4 se of 0."""
    r = np.asarray(jax.jit(tree_signs)(random.key(1), jnp.zeros(shape)))
    assert set(np.unique(r)) == {-1.0, 1.0}
    assert abs(r.mean()) < 4 / r.size**0.5
    for axis in range(len(shape)):
        a, b = (
            np.take(r, i, axis) for i in (range(1, shape[axis]), range(shape[axis] - 1))
        )
        assert abs((a * b).mean()) < 4 / a.size**0.5


@pytest.mark.parametrize("kind", ["gaussian", "signs"])
def test_scaled_noise_has_the_scale_of_each_entry(kind):
    """Variance over 20,000 streams within 4.5 se at each of 12 entries."""
    scale = {"a": jnp.arange(4.0), "b": 2.0 * jnp.ones((8, 1))}
    draw = jax.vmap(lambda t: scaled_increments(kind, random.key(0), scale, t))
    r = jax.jit(draw)(jnp.arange(20_000))
    spread = 2**0.5 if kind == "gaussian" else 0.0
    for name, s in scale.items():
        v = np.asarray(jnp.mean(jnp.square(r[name]), 0))
        limit = 4.5 * spread / 20_000**0.5 + 1e-5
        np.testing.assert_allclose(v, np.square(s), rtol=limit)


def test_normals_in_double_precision():
    with jax.enable_x64(True):
        z = jax.jit(normals, static_argnums=(1, 2))(random.key(0), 1000, jnp.float64)
        assert z.dtype == jnp.float64
        assert abs(float(z.mean())) < 4 / 1000**0.5
        assert tree_normal(random.key(0), {"a": z})["a"].dtype == jnp.float64


def test_probes_are_the_signs_of_their_streams():
    like = {"a": jnp.zeros((9, 5)), "b": jnp.zeros(()), "c": jnp.zeros(40)}
    probe = sign_probes(random.key(2), like, 4)
    for t in range(4):
        expected = tree_signs(random.key(2), like, stream=t)
        jax.tree.map(np.testing.assert_array_equal, probe(t), expected)


def test_bits_of_probes_are_not_drawn_again_where_they_are_used():
    """
    The 20 rounds of one random word have an exclusive or each, and there are a few
    around them. Drawn within the loop they are in several of its kernels: 94.
    """

    def energy(z):
        x, scale, level = z["x"], z["scale"], z["level"]
        matrix = jnp.exp(scale) * jnp.cos(jnp.outer(x, x)) + level * jnp.eye(20)
        return jnp.sum(jnp.linalg.cholesky(matrix)) + jnp.sum(x**2 * level / scale)

    def norms(key, z):
        def product(t, v):
            return jax.jvp(jax.grad(energy), (z,), (v,))[1]

        return hessian_row_norms(product, key, z, 8)

    z = {"x": jnp.ones((4, 20)), "scale": jnp.ones(4), "level": jnp.ones(4)}
    keys = random.split(random.key(0), 4)
    program = jax.jit(jax.vmap(norms)).lower(keys, z).compile()
    assert program.as_text().count(" xor(") < 50
