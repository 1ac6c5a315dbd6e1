# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Assignment of sites to the groups of a partition."""

import fnmatch
import re
from collections.abc import Callable, Sequence

__all__ = ["ByFunction", "ByPattern", "FirstLayer", "first_layer_sites", "matches"]


def matches(name: str, pattern: str) -> bool:
    """
    Whether a name matches a pattern, in which `*` stands for any characters and `?` for
    one. Brackets are literal: they occur in the names of module sites.

    :param str name: name of a site.
    :param str pattern: the pattern.
    """
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


class ByPattern:
    """
    Groups by patterns over the names of the sites; the first match decides.

    :param patterns: the patterns, in the order of the groups.
    """

    def __init__(self, patterns: Sequence[str]):
        self.patterns = list(patterns)

    def __call__(self, names: Sequence[str]) -> list[int]:
        """
        Number of the group of each site.

        :param names: names of the sites.
        :raises ValueError: for a site without a group and for a group without sites.
        """
        groups = []
        for name in names:
            found = [i for i, key in enumerate(self.patterns) if matches(name, key)]
            if not found:
                raise ValueError(
                    f"site '{name}' is matched by no pattern of the partition "
                    f"({_listed(self.patterns)}): add a pattern for it, or '*' as the "
                    f"last one. The sites are {_listed(names)}."
                )
            groups.append(found[0])
        for i, key in enumerate(self.patterns):
            if i not in groups:
                self._raise_for_unused(key, names)
        return groups

    def _raise_for_unused(self, key: str, names: Sequence[str]) -> None:
        taken = [name for name in names if matches(name, key)]
        why = (
            f"matches only sites that an earlier pattern takes ({_listed(taken)}): "
            "put it before them"
            if taken
            else "matches no site: correct it or leave it out"
        )
        raise ValueError(
            f"the partition's {key!r} {why}. The sites are {_listed(names)}."
        )


class ByFunction:
    """
    Groups by a function that the user gives.

    :param keys: names of the groups, in their order.
    :param group_of: function from the name of a site to that of its group.
    """

    def __init__(self, keys: Sequence[str], group_of: Callable[[str], str]):
        self.keys = list(keys)
        self.group_of = group_of

    def __call__(self, names: Sequence[str]) -> list[int]:
        """
        Number of the group of each site.

        :param names: names of the sites.
        :raises ValueError: for a site put in an unknown group, and for a group without
            sites.
        """
        groups = []
        for name in names:
            key = self.group_of(name)
            if key not in self.keys:
                raise ValueError(
                    f"group_of put site '{name}' in the group {key!r}, which the "
                    f"partition does not have: its groups are {_listed(self.keys)}. "
                    f"The sites are {_listed(names)}."
                )
            groups.append(self.keys.index(key))
        for i, key in enumerate(self.keys):
            if i not in groups:
                raise ValueError(
                    f"group_of put no site in the partition's {key!r}: leave it out. "
                    f"The sites are {_listed(names)}."
                )
        return groups


class FirstLayer:
    """
    Two groups: the first layer of a network (0) and the other layers (1).

    :param str pattern: pattern over the names of the first layer's sites; None: found
        from the names, see :func:`first_layer_sites`.
    :raises ValueError: if the pattern is not a string.
    """

    def __init__(self, pattern: str | None):
        if pattern is not None and not isinstance(pattern, str):
            raise ValueError(
                "first_layer must be a pattern over site names, such as "
                f"'nn/Dense_0*', got {pattern!r}."
            )
        self.pattern = pattern

    def __call__(self, names: Sequence[str]) -> list[int]:
        """
        Number of the group of each site.

        :param names: names of the sites.
        :raises ValueError: if the pattern matches no site or every site, and if the
            first layer is not clear from the names.
        """
        if self.pattern is None:
            first = first_layer_sites(names)
        else:
            first = [name for name in names if matches(name, self.pattern)]
            if len(first) in (0, len(names)):
                found = "no site" if not first else "every site"
                raise ValueError(
                    f"first_layer={self.pattern!r} matches {found}. The sites are "
                    f"{_listed(names)}."
                )
        return [0 if name in first else 1 for name in names]


def _layer(name: str) -> tuple[str, int] | None:
    """The layer in a site's name: (text before the number, number)."""
    # In modules the parameter follows the last dot, and the layer comes before it.
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
    :raises ValueError: if this does not single out one layer.
    """
    layers = {name: _layer(name) for name in names}
    numbered = {name: layer for name, layer in layers.items() if layer is not None}

    def ask(why: str):
        raise ValueError(
            f"the first layer is not clear from the names of the sites: {why}. Give a "
            "pattern for it: first_layer='...' ('*' stands for any characters). The "
            f"sites are {_listed(names)}."
        )

    if not numbered:
        ask("none has a number")
    lowest = min(number for _, number in numbered.values())
    first = [name for name, (_, number) in numbered.items() if number == lowest]
    if len(first) == len(numbered):
        ask(f"all numbers are {lowest}")
    # Plain names have one stem per parameter (w1, b1), modules one per layer; each kind
    # of module is numbered separately (Conv_0, Dense_0).
    stems = {numbered[name][0] for name in first if "." in name}
    plain = {numbered[name][0] for name in first if "." not in name}
    if len(stems) + (1 if stems and plain else 0) > 1:
        ask(f"several layers have the number {lowest}")
    return first
