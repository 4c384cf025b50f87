"""Both drivers, for every case."""

from __future__ import annotations

import pytest
from sides import SIDES, Side, long_lived, unhurried

from server_fixtures import port, serve, store

__all__ = ["long_lived", "port", "serve", "store", "unhurried"]


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> Side:
    """Each driver."""
    return SIDES[request.param]
