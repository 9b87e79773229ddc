"""The API as other systems use it: tokens and JSON."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient


def client_of(user: User) -> APIClient:
    """A client with the user's token."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    return client


@pytest.fixture
def api(administrator: User) -> APIClient:
    """Signed in as an administrator."""
    return client_of(administrator)


@pytest.fixture
def viewer_api(viewer: User) -> APIClient:
    """Signed in as somebody who may only look."""
    return client_of(viewer)
