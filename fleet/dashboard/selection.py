"""Which devices an action over many is about: those ticked in the list, or all that its filter finds."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from devices.filters import DeviceFilter, select_devices
from devices.models import Device


def filter_query(request: HttpRequest) -> str:
    """The list's own query without its order and page, as `selection_of` takes it back."""
    query = request.GET.copy()
    for name in set(query) - set(DeviceFilter.base_filters):
        del query[name]
    return query.urlencode()


def selection_of(request: HttpRequest) -> QuerySet[Device]:
    """The devices that the query names: `device=<id>`, repeated, or `all=1` with the list's query in `filter`.

    Raises ValidationError when it names none.
    """
    if request.GET.get("all"):
        given = QueryDict(request.GET.get("filter", ""))
        return select_devices(query={name: value for name, value in given.items() if value})
    ids = [int(text) for text in request.GET.getlist("device") if text.isascii() and text.isdigit()]
    if not ids:
        raise ValidationError({"devices": _("No device is selected.")})
    return select_devices(ids=ids)
