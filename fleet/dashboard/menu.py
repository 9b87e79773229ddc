"""The main menu: what stands in it, and where the reader is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from devices.access import Permission, may


@dataclass(frozen=True, slots=True)
class Entry:
    """A page; `view` is its URL's name."""

    label: Any
    view: str
    permission: str = ""
    """What looking at the page takes, beyond signing in."""


@dataclass(frozen=True, slots=True)
class Section:
    """Pages behind one word that opens."""

    label: Any
    entries: tuple[Entry, ...]


MENU: tuple[Entry | Section, ...] = (
    Entry(_("Start"), "start"),
    Entry(_("Devices"), "device-list"),
    Entry(_("Find devices"), "found-list"),
    Entry(_("Load"), "load"),
    Entry(_("Jobs"), "job-list"),
    Section(
        _("Set up"),
        (
            Entry(_("SCEP servers"), "server-list"),
            Entry(_("Device groups"), "group-list"),
            Entry(_("Templates"), "template-list"),
        ),
    ),
    Entry(_("Audit trail"), "audit-trail"),
    Section(
        _("API"),
        (
            Entry(_("API tokens"), "token-list"),
            Entry(_("Webhooks"), "webhook-list", Permission.VIEW_WEBHOOK),
            Entry(_("Documentation"), "api:docs"),
        ),
    ),
)


def menu_at(path: str, user: AbstractBaseUser | AnonymousUser) -> list[dict[str, Any]]:
    """The menu for `user` at `path`: `label`, `url`, `is_here`, `is_current`, and `entries` of a section."""
    return [_shown(item, path, user) for item in MENU]


def _shown(item: Entry | Section, path: str, user: AbstractBaseUser | AnonymousUser) -> dict[str, Any]:
    if isinstance(item, Section):
        entries = [
            _shown(entry, path, user)
            for entry in item.entries
            if not entry.permission or may(user, entry.permission)
        ]
        return {
            "label": item.label,
            "entries": entries,
            "is_here": any(entry["is_here"] for entry in entries),
        }
    url = reverse(item.view)
    # the start page's address begins every other one
    is_here = path == url if item.view == "start" else path.startswith(url)
    return {"label": item.label, "url": url, "is_here": is_here, "is_current": path == url}
