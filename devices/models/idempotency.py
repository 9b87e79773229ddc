"""Idempotency keys: what came of a POST, for whoever has to send it again."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class IdempotentRequest(models.Model):
    """One POST under a key that the caller chose: under way, or with the answer that it got.

    Of the request only a hash is kept, and of the answer no body that held a secret.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)
    """HMAC-SHA256 of method, address, content type and body, in hexadecimal."""
    claim = models.UUIDField()
    """Whoever may write the answer down."""
    claimed_until = models.DateTimeField()
    """From then on whoever sends the same again may take it over, while there is no answer."""
    expires_at = models.DateTimeField(db_index=True)
    status = models.PositiveSmallIntegerField(null=True)
    """The answer's status code; null while the request is under way."""
    content_type = models.CharField(max_length=100, blank=True)
    body = models.TextField(blank=True)
    is_kept = models.BooleanField(default=False)
    """False for an answer that held a secret: it is not given twice."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "key"], name="idempotent_request_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key} of user {self.user_id}"
