"""Both drivers, for every case."""

from __future__ import annotations

import pytest
from sides import SIDES, Side

from server_fixtures import port, serve, store  # noqa: F401  # fixtures


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> Side:
    """Each driver."""
    return SIDES[request.param]
