"""`manage.py new_encryption_key`: a key for FLEETSEAL_ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Prints 32 random bytes in URL-safe base64, and stores nothing."""

    help = "Print a new key for FLEETSEAL_ENCRYPTION_KEYS. Put it first in the list, then run rotate_secrets."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the key on standard output."""
        self.stdout.write(Fernet.generate_key().decode())
