"""The API as other systems use it: tokens and JSON."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from devices import tokens
from devices.audit import Actor
from devices.models import ApiToken, AuditEvent


def client_of(user: User, *scopes: str) -> APIClient:
    """A client with a token of the user, of full scope unless told otherwise."""
    actor = Actor.of(user, AuditEvent.Source.DASHBOARD)
    row, token = tokens.issue(actor, name="tests", scopes=list(scopes or ["full"]))
    # as if just used, however long the test takes: each call costs the same, and no query to note it
    ApiToken.objects.filter(pk=row.pk).update(last_used_at=timezone.now() + timedelta(days=1))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return client


@pytest.fixture
def api(administrator: User) -> APIClient:
    """Signed in as an administrator."""
    return client_of(administrator)


@pytest.fixture
def operator_api(operator: User) -> APIClient:
    """Signed in as somebody who cares for devices."""
    return client_of(operator)


@pytest.fixture
def viewer_api(viewer: User) -> APIClient:
    """Signed in as somebody who may only look."""
    return client_of(viewer)
