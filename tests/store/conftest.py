"""Fixtures of the tests of stores."""

import pytest
import store_runs


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The store of a run without interruption."""
    return store_runs.sample(tmp_path_factory.mktemp("whole") / "store")
