# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Time and memory."""

from documented.texts.common import Text, listed, span


def step_table(markup, figures):
    """A step against a bare gradient."""
    one = figures["step"]
    head = [
        "parameters",
        "batch",
        "device",
        "step / gradient",
        "steps per second",
        "memory / parameters",
    ]
    ratio = f"{one['ratio']:.2f} ({span(one['ratio_range'], '.2f')})"
    row = [
        f"{one['parameters']:,}",
        str(one["batch"]),
        one["device"].upper(),
        ratio,
        f"{one['steps_per_second']:.0f}",
        f"{one['memory']:.1f}, adaptation included",
    ]
    return markup.table(head, [row])


def kernels(markup, figures):
    """A step of every kernel."""
    all_of_them = dict(figures["kernels"])
    base = all_of_them.pop("PseudoLangevin")
    told = [
        f"{name} {one['ratio']:.2f} ({span(one['ratio_range'], '.2f')})"
        for name, one in sorted(all_of_them.items(), key=lambda item: item[1]["ratio"])
    ]
    step = figures["step"]
    return markup.paragraph(
        f"A step against one of {markup.code('PseudoLangevin')} "
        f"({base['step_ms']:.1f} ms) with {step['parameters']:,} parameters and "
        f"batches of {step['batch']}, medians of interleaved rounds and their range: "
        f"{listed(told)}."
    )


def memory(markup, figures):
    """What a run holds besides its draws."""
    one = figures["step"]
    return markup.paragraph(
        f"Besides the draws, the compiled loop of a network of {one['parameters']:,} "
        f"weights holds {one['memory']:.1f} times the weights for a chain."
    )


def diagnostics_table(markup, figures):
    """Diagnostics against ArviZ."""
    rows = [
        [
            markup.code(name),
            f"{one['scalars']:,}",
            f"{one['seconds']:.2f}",
            f"{one['arviz_ms']:.2f}",
            f"{one['ratio']:.1f}",
        ]
        for name, one in sorted(figures.items())
    ]
    head = ["function", "scalars", "seconds", "ArviZ, ms a scalar", "ArviZ / function"]
    return markup.table(head, rows)


def optimizer_cost(markup, figures):
    """A step of random-scaled SGDM."""
    large, small = figures["large"], figures["small"]
    scan, dispatch = large["in scan"], large["one dispatch a step"]
    own, averaged = "random-scaled", "random-scaled, averaged"
    few = small["one dispatch a step"]
    extra = few[own]["step_us"] - few["sgd"]["step_us"]
    return markup.paragraph(
        f"At {figures['parameters']:,} parameters, inside "
        f"{markup.code('lax.scan')}, a step took {scan[own]['ratio']:.2f} times as "
        f"long as one of {markup.code('optax.sgd')} with momentum, and with the "
        f"average of the iterates {scan[averaged]['ratio']:.2f} times. Dispatched "
        f"from Python one step at a time these are {dispatch[own]['ratio']:.2f} and "
        f"{dispatch[averaged]['ratio']:.2f} times. With ten parameters, where nothing "
        f"else counts, a dispatched step took {extra:.0f} microseconds longer."
    )


TEXTS = {
    "step_table": Text(("step",), step_table),
    "step_kernels": Text(("step",), kernels),
    "step_memory": Text(("step",), memory),
    "diagnostics_table": Text(("diagnostics",), diagnostics_table),
    "optimizer_cost": Text(("optimizer",), optimizer_cost),
}
