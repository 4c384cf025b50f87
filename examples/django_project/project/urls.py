"""One page of Django's own, which hands out what an upload needs."""

from django.core import signing
from django.http import HttpRequest, JsonResponse
from django.urls import path


def ticket(_: HttpRequest) -> JsonResponse:
    """Give out a signed ticket; a real project would ask who is there first."""
    return JsonResponse({"endpoint": "/files/", "ticket": signing.dumps("upload")})


urlpatterns = [path("ticket", ticket)]
