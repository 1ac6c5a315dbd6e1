# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What a warm start saves."""

from documented.texts.common import Text, each, listed, span

RANDOM = "random"


def _names(figures):
    """Starts, the random one first and searches by length."""
    starts = figures["starts"]
    return sorted(starts, key=lambda name: starts[name]["passes"])


def setup(markup, figures):
    """How the table was made."""
    keys = len(figures["starts"][RANDOM]["offsets"][0])
    return markup.paragraph(
        f"Four vectorized chains with default settings, whose draws are one pass over "
        f"the data each, made {figures['draws']} draws after warmups of several "
        f"lengths, with {keys} {'key' if keys == 1 else 'keys'}. The entries are the "
        f"mean potential of these draws minus that of long runs ({keys} times 4 chains "
        f"of {figures['long']:,} draws), in posterior standard deviations "
        f"({figures['potential_sd']:.0f} nats; the means of the long chains differ by "
        f"an sd of {figures['potential_chain_sd']:.1f} nats), for each key."
    )


def table(markup, figures):
    """Offsets by warmup and start."""
    names = _names(figures)
    starts = figures["starts"]
    rows = [
        [f"{warmup:,}", *(each(starts[name]["offsets"][i], ".2f") for name in names)]
        for i, warmup in enumerate(figures["warmups"])
    ]
    longest = max(figures["warmups"])
    needed = [starts[name]["needed"] or f"more than {longest}" for name in names]
    passes = [f"{starts[name]['passes']:.0f}" for name in names]
    rows.append(["needed", *map(str, needed)])
    rows.append(["passes over the data of the search", *passes])
    return markup.table(["warmup draws", *(_told(name) for name in names)], rows)


def _told(name):
    return "random start" if name == RANDOM else name


def saved(markup, figures):
    """Warmup and search against the warmup of the random start."""
    starts = figures["starts"]
    longest = max(figures["warmups"])

    def total(name):
        needed = starts[name]["needed"]
        return None if needed is None else needed + starts[name]["passes"]

    told = []
    for name in _names(figures):
        cost = total(name)
        cost = f"more than {longest}" if cost is None else f"{cost:.0f}"
        told.append(f"{cost} ({_told(name)})")
    reached = {name: total(name) for name in starts if total(name) is not None}
    text = (
        f"Passes over the data until a warmup suffices, search included: "
        f"{listed(told)}."
    )
    if reached:
        best = min(reached, key=reached.get)
        text += f" The cheapest is {'the random start' if best == RANDOM else best}."
    if RANDOM in reached and best != RANDOM:
        text += f" It saves {reached[RANDOM] - reached[best]:.0f} passes."
    return markup.paragraph(text)


def log_loss(markup, figures):
    """What the predictions of the first draws are worth."""
    starts, warmups = figures["starts"], figures["warmups"]
    first = [
        f"{max(starts[name]['excess'][0]):+.3f} ({_told(name)})"
        for name in _names(figures)
    ]
    later = [e for one in starts.values() for row in one["excess"][1:] for e in row]
    return markup.paragraph(
        f"Test log-loss of the first draws minus that of the long runs "
        f"({figures['log_loss']:.3f} nats), the larger of the keys, after "
        f"{warmups[0]} warmup draws: {listed(first)}. After {warmups[1]} and more it "
        f"was {span(later, '+.3f')} for all starts."
    )


TEXTS = {
    "warm_start_setup": Text(("warm_start",), setup),
    "warm_start_table": Text(("warm_start",), table),
    "warm_start_saved": Text(("warm_start",), saved),
    "warm_start_log_loss": Text(("warm_start",), log_loss),
}
