"""Events as types: what an application may rely on without asking."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from vectus.events import (
    BeforeCreate,
    BeforeFinish,
    BeforeRequest,
    BeforeTerminate,
    Created,
    Event,
    Expired,
    Finished,
    Received,
    Terminated,
)
from vectus.protocol.messages import Head


@pytest.mark.parametrize(
    "kind", [BeforeRequest, BeforeCreate, Created, Received, BeforeTerminate, Terminated]
)
def test_what_only_a_client_causes_has_its_request(kind: type[Event]) -> None:
    """A listener that authorises needs no check for a request that is always there."""
    assert get_type_hints(kind)["request"] is Head


@pytest.mark.parametrize("kind", [BeforeFinish, Finished, Expired])
def test_what_the_server_may_do_by_itself_may_have_none(kind: type[Event]) -> None:
    """A listener is made to think of the sweeper."""
    assert get_type_hints(kind)["request"] == Head | None
