"""Credentials that many devices share: the settings of each connector that say who signs in, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from devices.delivery.connectors import registry
from devices.delivery.connectors.settings import Checked, Setting, SettingsInvalid, check

USERNAME = "username"
"""The setting of every connector that names who signs in, beside the secret ones."""


def schema_of(name: str) -> tuple[Setting, ...]:
    """The user name and the secrets of the connector `name`, none required; empty when it signs in nowhere."""
    connector = registry.known().get(name)
    schema = connector.schema if connector else ()
    if not any(setting.is_secret for setting in schema):
        return ()
    return tuple(
        replace(setting, required=False, default=None)
        for setting in schema
        if setting.is_secret or setting.name == USERNAME
    )


def connectors() -> list[str]:
    """The names of the connectors that have credentials."""
    return [name for name in registry.known() if schema_of(name)]


class CredentialsInvalid(Exception):
    """Credentials that do not fit; `problems` has a translated sentence by connector and setting ("" for all)."""

    def __init__(self, problems: Mapping[tuple[str, str], str]) -> None:
        super().__init__("; ".join(self.sentences(problems)))
        self.problems = problems

    @staticmethod
    def sentences(problems: Mapping[tuple[str, str], str]) -> list[str]:
        """Each with the names that it is about in front."""
        return [": ".join(part for part in (*names, text) if part) for names, text in problems.items()]


def check_all(values: Any, *, stored: Mapping[str, Collection[str]]) -> dict[str, Checked]:
    """Credentials by connector, `{"pappl": {"username": "admin", "password": "..."}}`.

    `stored` are the names of the secrets that are there, by connector; of a connector that is named, those that are
    left out stay, and empty ones go. A connector that then has none is left out.
    Raises CredentialsInvalid with every problem at once.
    """
    if not isinstance(values, Mapping):
        wanted = _("Credentials are settings by connector, like %s.") % '{"pappl": {"password": "..."}}'
        raise CredentialsInvalid({("", ""): wanted})
    found: dict[str, Checked] = {}
    problems: dict[tuple[str, str], str] = {}
    for name, entered in values.items():
        schema = schema_of(str(name))
        if not schema:
            known = ", ".join(connectors())
            problems[str(name), ""] = _("There is no such connector with a password. Known are: %s.") % known
            continue
        try:
            checked = check(schema, entered, stored_secrets=stored.get(name, ()))
        except SettingsInvalid as error:
            problems |= {(name, setting): text for setting, text in error.problems.items()}
            continue
        left = {n for n in stored.get(name, ()) if checked.secrets.get(n) != ""}
        if left or any(checked.secrets.values()):
            found[name] = checked
        elif checked.plain:
            problems[name, USERNAME] = _("A user name alone is each device's own. Enter the password too.")
    if problems:
        raise CredentialsInvalid(problems)
    return found
