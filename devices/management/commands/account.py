"""`manage.py account NAME --role ROLE`: somebody's account, its role and password (R1)."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from devices import access, accounts
from devices.audit import Actor
from devices.models import AuditEvent


class Command(BaseCommand):
    """Makes the account, or changes it when it is there; the password is asked for."""

    help = "Make an account or change it: its role, its password, and whether it may sign in."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """NAME, and what is to be set."""
        parser.add_argument("name", metavar="NAME", help="what the person signs in with")
        parser.add_argument(
            "--role",
            choices=[role.lower() for role in access.ROLES],
            help="what the person may do; a new account needs one",
        )
        parser.add_argument("--password", action="store_true", help="ask for a new password")
        active = parser.add_mutually_exclusive_group()
        active.add_argument("--close", action="store_true", help="the person can no longer sign in")
        active.add_argument("--open", action="store_true", help="the person can sign in again")

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError for what cannot be; the password comes from a terminal or from standard input."""
        name, role = options["name"], options["role"]
        wants_password = options["password"] or not accounts.exists(name)
        try:
            saved = accounts.save(
                Actor(None, getpass.getuser(), AuditEvent.Source.COMMAND),
                name,
                role=role.title() if role else None,
                password=_password() if wants_password else None,
                is_active=True if options["open"] else False if options["close"] else None,
            )
        except ValidationError as error:
            lines = [f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items()]
            raise CommandError("\n".join(lines)) from None
        words = {"name": name, "role": saved.role}
        if not saved.user.is_active:
            self.stdout.write(_("%(name)s: %(role)s, cannot sign in") % words)
        else:
            self.stdout.write(_("%(name)s: %(role)s, can sign in") % words)


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass(_("Password: "))
    if getpass.getpass(_("Password (again): ")) != first:
        raise CommandError(_("The two passwords differ."))
    return first
