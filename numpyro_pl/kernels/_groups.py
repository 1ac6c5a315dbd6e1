# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Which group of a partition a site belongs to."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["assign_groups", "first_layer_sites", "matches"]


def matches(name: str, pattern: str) -> bool:
    """
    Whether a name matches a pattern, in which `*` stands for any characters and `?` for
    one. Brackets stand for themselves: module sites have them in their names.

    :param str name: name of a site.
    :param str pattern: the pattern.
    """
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def assign_groups(
    names: Sequence[str],
    partition: Mapping[str, Any],
    group_of: Callable[[str], str] | None = None,
) -> list[int]:
    """
    Number of the group of each site: the first that matches.

    :param names: names of the sites.
    :param partition: patterns, in order; with `group_of` the names of the groups.
    :param group_of: function from the name of a site to that of its group.
    :raises ValueError: for a site without a group and for a group without sites.
    """
    keys = list(partition)
    groups = []
    for name in names:
        if group_of is not None:
            key = group_of(name)
            if key not in partition:
                raise ValueError(
                    f"the partition function put site '{name}' in the group {key!r}, "
                    f"which the partition does not have: its groups are "
                    f"{_listed(keys)}. The sites are {_listed(names)}."
                )
            groups.append(keys.index(key))
            continue
        found = [i for i, key in enumerate(keys) if matches(name, key)]
        if not found:
            raise ValueError(
                f"site '{name}' is matched by no pattern of the partition "
                f"({_listed(keys)}): add a pattern for it, or '*' as the last one. The "
                f"sites are {_listed(names)}."
            )
        groups.append(found[0])
    for i, key in enumerate(keys):
        if i not in groups:
            taken = [n for n in names if group_of is None and matches(n, key)]
            why = (
                f"matches only sites that an earlier pattern takes ({_listed(taken)}): "
                "put it before them"
                if taken
                else "matches no site: correct it or leave it out"
            )
            raise ValueError(
                f"the partition's {key!r} {why}. The sites are {_listed(names)}."
            )
    return groups


def _layer(name: str) -> tuple[str, int] | None:
    """Where a site's layer is named: (what is before the number, number)."""
    # A module's parameter is what follows the last dot; its layer is named before.
    path = name.rpartition(".")[0] or name
    numbers = list(re.finditer(r"\d+", path))
    if not numbers:
        return None
    last = numbers[-1]
    return path[: last.start()], int(last.group())


def first_layer_sites(names: Sequence[str]) -> list[str]:
    """
    Sites of a network's first layer: those with the lowest number, in their module
    path (`"nn/Dense_0.kernel"`) or at the end of their name (`"w1"`, `"b1"`).

    :param names: names of the sites.
    :raises ValueError: where this does not single out one layer.
    """
    layers = {name: _layer(name) for name in names}
    numbered = {name: layer for name, layer in layers.items() if layer is not None}

    def ask(why: str):
        raise ValueError(
            f"the first layer cannot be told from the names of the sites: {why}. Name "
            "it by a pattern: first_layer='...' ('*' stands for any characters). The "
            f"sites are {_listed(names)}."
        )

    if not numbered:
        ask("none has a number")
    lowest = min(number for _, number in numbered.values())
    first = [name for name, (_, number) in numbered.items() if number == lowest]
    if len(first) == len(numbered):
        ask(f"all numbers are {lowest}")
    # Plain names have one stem a parameter (w1, b1); modules have one a layer, and two
    # kinds of module count on their own (Conv_0, Dense_0).
    stems = {numbered[name][0] for name in first if "." in name}
    plain = {numbered[name][0] for name in first if "." not in name}
    if len(stems) + (1 if stems and plain else 0) > 1:
        ask(f"several layers have the number {lowest}")
    return first
