# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Which group a site belongs to."""

import pytest

from numpyro_pl.kernels.groups import (
    ByFunction,
    ByPattern,
    first_layer_sites,
    matches,
)

FLAX = ["nn/Dense_0.kernel", "nn/Dense_0.bias", "nn/Dense_1.kernel", "sigma"]
BRACKETS = ["nn/layers[0].weight", "nn/layers[1].weight"]


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (FLAX, FLAX[:2]),
        (BRACKETS, BRACKETS[:1]),
        (["w1", "b1", "w2", "b2", "precision"], ["w1", "b1"]),
        (["w_0", "w_1", "w_10"], ["w_0"]),
        (["nn/linear1.kernel", "nn/linear2.kernel"], ["nn/linear1.kernel"]),
    ],
)
def test_first_layer_by_name(names, first):
    assert first_layer_sites(names) == first


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["w", "b"], "none has a number"),
        (["w1", "b1"], "all numbers are 1"),
        (["nn/Conv_0.kernel", "nn/Dense_0.kernel", "nn/Dense_1.kernel"], "several"),
    ],
)
def test_ambiguous_first_layer_lists_the_sites(names, why):
    with pytest.raises(ValueError, match=why) as error:
        first_layer_sites(names)
    assert all(repr(name) in str(error.value) for name in names)
    assert "first_layer=" in str(error.value)


def test_patterns():
    assert matches("nn/layers[0].weight", "nn/layers[0]*")
    assert not matches("nn/layers0.weight", "nn/layers[0]*")
    assert matches("nn/Dense_0.kernel", "*Dense_?.kernel")
    # The first match wins.
    partition = ["nn/Dense_0*", "*kernel", "*"]
    assert ByPattern(partition)(FLAX) == [0, 0, 1, 2]
    by_function = ByFunction(["net", "rest"], lambda s: "net" if "/" in s else "rest")
    assert by_function(FLAX) == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        (["nn/*"], "site 'sigma' is matched by no pattern"),
        (["*", "conv*"], "'conv\\*' matches no site"),
        (["*", "sigma"], "'sigma' matches only sites that an earlier"),
    ],
)
def test_partitions_that_do_not_fit(partition, message):
    with pytest.raises(ValueError, match=message) as error:
        ByPattern(partition)(FLAX)
    assert all(repr(name) in str(error.value) for name in FLAX)


def test_function_of_an_unknown_group():
    with pytest.raises(ValueError, match="put site 'sigma' in the group 'c'"):
        ByFunction(["a"], lambda name: "c")(["sigma"])


def test_function_that_leaves_a_group_empty():
    with pytest.raises(ValueError, match="put no site in the partition's 'b'"):
        ByFunction(["a", "b"], lambda name: "a")(FLAX)
