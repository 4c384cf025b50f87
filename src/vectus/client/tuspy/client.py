"""tuspy's client: an endpoint, and the headers and the certificate that go with every request."""

from __future__ import annotations

from typing import Any

from vectus.client.tuspy.uploader import AsyncUploader, Uploader


class TusClient:
    """Where uploads are created, and what every request to there carries.

    Args:
        url: where uploads are created.
        headers: sent with every request.
        client_cert: path of a PEM file with certificate and key, or the paths of both.
    """

    def __init__(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        client_cert: str | tuple[str, str] | None = None,
    ) -> None:
        self.url = url
        self.headers = headers or {}
        self.client_cert = client_cert

    def set_headers(self, headers: dict[str, str]) -> None:
        """Add headers, or replace those of the same names."""
        self.headers.update(headers)

    def uploader(self, *args: Any, **kwargs: Any) -> Uploader:
        """Return an ``Uploader`` of this client; the arguments are the uploader's."""
        kwargs["client"] = self
        return Uploader(*args, **kwargs)

    def async_uploader(self, *args: Any, **kwargs: Any) -> AsyncUploader:
        """Return an ``AsyncUploader`` of this client; the arguments are the uploader's."""
        kwargs["client"] = self
        return AsyncUploader(*args, **kwargs)
