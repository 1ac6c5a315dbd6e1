# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Who races, with which settings. The first setting of each is that of `--quick`."""

import importlib.util
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Competitor:
    """
    One sampler with its grid.

    :param module: of this package, which has the sampler.
    :param function: there.
    :param grid: settings; the best at each time counts.
    :param package: that must be installed.
    :param peer: whether it is a peer, which may leave out the best of several shares of
        its draws; this package's kernels use all after their warmup.
    """

    module: str
    function: str
    grid: list[dict] = field(default_factory=lambda: [{}])
    package: str = "numpyro"
    peer: bool = True


def products(**values: list) -> list[dict]:
    """All combinations of values."""
    found: list[dict] = [{}]
    for name, ones in values.items():
        found = [{**one, name: value} for one in found for value in ones]
    return found


OURS, OURS_SHORT = "PseudoLangevin", "PseudoLangevin, 50 warmup draws"

COMPETITORS = {
    OURS: Competitor(
        "samplers_numpyro", "pseudo_langevin", [{"num_warmup": 200}], peer=False
    ),
    OURS_SHORT: Competitor(
        "samplers_numpyro", "pseudo_langevin", [{"num_warmup": 50}], peer=False
    ),
    "NUTS": Competitor(
        "samplers_numpyro",
        "nuts",
        [
            {"num_warmup": 50, "max_tree_depth": 7},
            {"num_warmup": 50, "max_tree_depth": 10},
            {"num_warmup": 50, "max_tree_depth": 7, "parallel": True},
        ],
    ),
    "HMC": Competitor(
        "samplers_numpyro",
        "hmc",
        [
            {"num_warmup": 50, "trajectory_length": 1.0},
            {"num_warmup": 50, "trajectory_length": 0.3},
            {"num_warmup": 50, "trajectory_length": 1.0, "parallel": True},
        ],
    ),
    "HMCECS": Competitor(
        "samplers_numpyro",
        "hmcecs",
        [{"num_warmup": 50, "max_tree_depth": 7, "num_blocks": 1}],
    ),
    "BlackJAX SGLD": Competitor(
        "samplers_blackjax",
        "sgld",
        products(step_size=[1e-3, 2e-4, 5e-4, 2e-3]),
        "blackjax",
    ),
    "BlackJAX SGHMC": Competitor(
        "samplers_blackjax",
        "sghmc",
        [
            {"step_size": 0.01, "alpha": 100.0},
            {"step_size": 0.005, "alpha": 30.0},
            {"step_size": 0.005, "alpha": 0.01},
        ],
        "blackjax",
    ),
    "BlackJAX SGNHT": Competitor(
        "samplers_blackjax",
        "sgnht",
        [
            {"step_size": 0.007, "alpha": 10.0},
            {"step_size": 0.01, "alpha": 10.0},
            {"step_size": 0.005, "alpha": 0.01},
        ],
        "blackjax",
    ),
    "BlackJAX MCLMC": Competitor(
        "samplers_blackjax",
        "mclmc",
        products(num_steps=[3000], diagonal=[False, True]),
        "blackjax",
    ),
    "nutpie": Competitor(
        "samplers_nutpie", "nuts", [{"tune": 50, "max_depth": 7}], "nutpie"
    ),
}

SKIPPED = {
    "HMCECS with a Taylor proxy": "not tried: it expands the likelihood about one "
    "point, and the posterior of a network is wide",
    "nutpie with a low-rank mass matrix": "not tried: experimental",
    "BlackJAX samplers over several devices": "not tried: vectorized chains only",
}
"""What does not race at all, and why."""


def missing(competitor: Competitor) -> str | None:
    """Why a competitor cannot race here, if so."""
    if importlib.util.find_spec(competitor.package) is None:
        return f"{competitor.package} is not installed"
    return None
