# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Names of other packages on the pages become links to their documentation."""

NUMPYRO = "https://num.pyro.ai/en/stable/{page}.html#{name}"
JAX = "https://docs.jax.dev/en/latest/_autosummary/{name}.html"
ARVIZ = "https://python.arviz.org/en/v0.23.0/api/generated/{name}.html"
OPTAX = "https://optax.readthedocs.io/en/latest/api/{page}.html#{name}"
XARRAY = "https://docs.xarray.dev/en/stable/generated/{name}.html"

PAGES = {
    (NUMPYRO, "mcmc"): {
        "MCMC": "numpyro.infer.mcmc.MCMC",
        "NUTS": "numpyro.infer.hmc.NUTS",
        "HMC": "numpyro.infer.hmc.HMC",
        "HMCECS": "numpyro.infer.hmc_gibbs.HMCECS",
        "DiscreteHMCGibbs": "numpyro.infer.hmc_gibbs.DiscreteHMCGibbs",
    },
    (NUMPYRO, "utilities"): {
        "Predictive": "numpyro.infer.util.Predictive",
        "numpyro.infer.log_likelihood": "numpyro.infer.util.log_likelihood",
        "init_to_uniform": "numpyro.infer.initialization.init_to_uniform",
        "init_to_median": "numpyro.infer.initialization.init_to_median",
        "init_to_sample": "numpyro.infer.initialization.init_to_sample",
    },
    (NUMPYRO, "reparam"): {
        "LocScaleReparam": "numpyro.infer.reparam.LocScaleReparam",
    },
    (NUMPYRO, "primitives"): {
        "numpyro.subsample": "numpyro.primitives.subsample",
        "numpyro.sample": "numpyro.primitives.sample",
        "numpyro.plate": "numpyro.primitives.plate",
        "numpyro.deterministic": "numpyro.primitives.deterministic",
        "numpyro.factor": "numpyro.primitives.factor",
        "random_flax_module": "numpyro.contrib.module.random_flax_module",
        "random_nnx_module": "numpyro.contrib.module.random_nnx_module",
        "random_eqx_module": "numpyro.contrib.module.random_eqx_module",
    },
    (JAX, ""): {
        "jax.vmap": "jax.vmap",
        "jax.eval_shape": "jax.eval_shape",
        "jax.custom_vjp": "jax.custom_vjp",
        "jax.random.fold_in": "jax.random.fold_in",
        "jax.random.split": "jax.random.split",
        "jax.random.uniform": "jax.random.uniform",
        "lax.scan": "jax.lax.scan",
    },
    (ARVIZ, ""): {
        "az.from_numpyro": "arviz.from_numpyro",
        "arviz.from_numpyro": "arviz.from_numpyro",
        "az.from_zarr": "arviz.from_zarr",
        "az.loo": "arviz.loo",
    },
    (OPTAX, "combining_optimizers"): {"optax.chain": "optax.chain"},
    (OPTAX, "optimizer_schedules"): {
        "optax.inject_hyperparams": "optax.inject_hyperparams",
    },
    (XARRAY, ""): {
        "xarray.Dataset": "xarray.Dataset",
        "xarray.DataTree": "xarray.DataTree",
    },
}
"""Names as pages write them, and the full names by which they are documented."""

ADDRESSES = {
    text: form.format(page=page, name=name)
    for (form, page), names in PAGES.items()
    for text, name in names.items()
}


def link(app, doctree, page):
    """Make links of the names that stand by themselves or before arguments."""
    # Not needed for the list, which a test reads.
    from docutils import nodes

    for literal in list(doctree.findall(nodes.literal)):
        address = ADDRESSES.get(literal.astext().split("(")[0])
        parent = literal.parent
        if address is None or isinstance(parent, nodes.reference | nodes.title):
            continue
        reference = nodes.reference("", "", internal=False, refuri=address)
        parent.replace(literal, reference)
        reference += literal


def setup(app):
    """Called by Sphinx."""
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
