"""Faults put in between the store and S3: a call fails before it is made, or its answer is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from vectus.errors import StoreUnavailable
from vectus.stores.s3.client import Answer, Gateway
from vectus.stores.s3.place import Place

When = Literal["before", "after"]


class FaultyGateway(Gateway):
    """A gateway that fails when it is told to, and remembers what it was asked."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.log: list[tuple[str, str, dict[str, Any]]] = []
        self.fault: Callable[[str, dict[str, Any]], When | None] = lambda *_: None
        self.on_call: Callable[[str, dict[str, Any]], None] = lambda *_: None

    def call(self, operation: str, **parameters: Any) -> Answer:
        when = self.fault(operation, parameters)
        self.log.append((operation, parameters.get("Key", ""), parameters))
        if when == "before":
            raise StoreUnavailable(f"{operation} was not let through")
        self.on_call(operation, parameters)
        answer = super().call(operation, **parameters)
        if when == "after":
            if "Body" in answer:
                answer["Body"].close()
            raise StoreUnavailable(f"the answer of {operation} was lost")
        return answer

    def fail_once(self, operation: str, when: When, nth: int = 1) -> None:
        """Make the n-th call of an operation from now on fail, once."""
        left = nth

        def fault(called: str, _: dict[str, Any]) -> When | None:
            nonlocal left
            left -= called == operation
            return when if called == operation and left == 0 else None

        self.fault = fault

    def fail_nth(self, when: When, nth: int) -> None:
        """Make the n-th call from now on fail, whatever it is, once."""
        left = nth

        def fault(*_: object) -> When | None:
            nonlocal left
            left -= 1
            return when if left == 0 else None

        self.fault = fault

    def heal(self) -> None:
        """Let everything through."""
        self.fault = lambda *_: None
