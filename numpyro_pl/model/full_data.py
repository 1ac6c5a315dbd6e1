# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A model on all of its data, as ArviZ and `Predictive` should see it."""

from collections.abc import Callable

import jax
from numpyro.infer.initialization import init_to_uniform

from numpyro_pl.model.discrete_runs import VisibleRun
from numpyro_pl.model.handlers import open_plates, outside_model, trace_of
from numpyro_pl.model.marginal import MarginalModel

__all__ = ["FullDataModel"]


class FullDataModel:
    """
    A model with every subsampled plate opened to its full size: what ArviZ,
    `Predictive` and the log-likelihood should see. Discrete sites are summed out if
    data follow. It is called like the model, and can be pickled if the model can.

    :param model: a NumPyro model.
    """

    def __init__(self, model: Callable):
        self.model = model
        self.__name__ = getattr(model, "__name__", type(model).__name__)
        self.__doc__ = getattr(model, "__doc__", None)

    def __call__(self, *args, **kwargs):
        """Run the model on the full data."""
        model = self.model
        if _has_data_after_discrete(model, args, kwargs):
            model = MarginalModel(model)
        return open_plates(model, *args, **kwargs)


def _has_data_after_discrete(model: Callable, args, kwargs) -> bool:
    """Whether data may depend on discrete latent sites, found without arithmetic."""
    seen = VisibleRun()

    def visible():
        with seen:
            open_plates(model, *args, **kwargs)

    def run():
        with outside_model():
            trace_of(visible, (), {}, strategy=init_to_uniform)

    jax.eval_shape(run)
    return any(site["type"] == "sample" for site in seen.held.values())
