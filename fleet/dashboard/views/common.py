"""What several pages share: who acts, who may, and the one way a form is shown and saved."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from devices.access import Permission, denial, may
from devices.audit import Actor
from devices.errors import Conflict
from devices.models import AuditEvent, Device
from fleet.dashboard.forms import ServiceForm

P = ParamSpec("P")
PAGE_SIZE = 50


def actor_of(request: HttpRequest) -> Actor:
    """Who acts, for the audit trail."""
    return Actor.of(request.user, AuditEvent.Source.DASHBOARD, request.META.get("REMOTE_ADDR"))


View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def changes(permission: Permission) -> Callable[[View[P]], View[P]]:
    """R1: whoever lacks `permission` gets 403, whatever the page showed. GET shows a form, POST sends it.

    The services ask again; this keeps people from filling in forms in vain.
    """

    def decorate(view: View[P]) -> View[P]:
        @require_http_methods(["GET", "HEAD", "POST"])
        @wraps(view)
        def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not may(request.user, permission):
                raise PermissionDenied(denial(permission))
            return view(request, *args, **kwargs)

        return checked

    return decorate


def device_time(device: Device) -> AbstractContextManager[None]:
    """Shows and reads times in the time zone of the device's group."""
    return timezone.override(device.zone)


def page_of(request: HttpRequest, queryset: QuerySet[Any], *, size: int = PAGE_SIZE) -> Page[Any]:
    """The page that the query parameter `page` asks for; the nearest one when there is no such page."""
    return Paginator(queryset, size).get_page(request.GET.get("page"))


@dataclass(frozen=True, slots=True)
class Suspension:
    """R3's way on: timers stand still while communication settings change, and resume as they were."""

    timers_on: int
    is_chosen: bool
    """True on the page that will do it; else the page offers it."""


def wants_to_suspend(request: HttpRequest) -> bool:
    """Whether the person chose to suspend timers on the page before."""
    return request.GET.get("suspend") == "1"


def form_page(
    request: HttpRequest,
    form: ServiceForm,
    service: Callable[..., Any],
    *,
    title: str,
    back: str,
    done: str,
    submit: str = "",
    note: str = "",
    locked: str = "",
    suspension: Suspension | None = None,
    aside: tuple[str, str] | None = None,
    then: Callable[[Any], str] | None = None,
    template: str = "form",
    answer: Callable[[Any], HttpResponse] | None = None,
    warning: Callable[[Any], str] | None = None,
) -> HttpResponse:
    """Show `form`, or send its values to `service` and go on to `then(result)`, by default to `back`.

    `answer(result)` is for what can be shown this once only: it is the response itself.

    `locked` says why it cannot be sent just now; the service refuses it all the same. `suspension` offers to
    suspend the timers that lock some of the fields. `aside` is the address and the label of something else that
    can be done here. `warning(result)` is what to say besides `done`; empty: nothing.
    """
    if request.method == "POST":
        result = form.submit(service)
        if result is not None and answer is not None:
            return answer(result)
        if result is not None:
            messages.success(request, done)
            if warning is not None and (text := warning(result)):
                messages.warning(request, text)
            return redirect(then(result) if then else back)
    context = {
        "form": form,
        "title": title,
        "back": back,
        "submit": submit or _("Save"),
        "note": note,
        "suspension": suspension,
        "locked": locked,
        "aside": aside,
    }
    return render(request, f"dashboard/{template}.html", context, status=422 if form.errors else 200)


def delete_page(
    request: HttpRequest, thing: Any, service: Callable[..., None], *, question: str, back: str, then: str
) -> HttpResponse:
    """Ask, then delete by `service`; a refusal is shown on the page."""
    name = str(thing)
    return confirm_page(
        request,
        lambda: service(actor_of(request), thing),
        title=_("Delete %(name)s") % {"name": name},
        question=question,
        submit=_("Delete"),
        back=back,
        done=_("%(name)s was deleted.") % {"name": name},
        then=then,
    )


def shown_once(
    request: HttpRequest,
    title: str,
    *,
    label: str,
    secret: str,
    note: str,
    back: str,
    file: tuple[str, str] | None = None,
) -> HttpResponse:
    """Show a secret that was just drawn; nobody keeps the page, and nothing shows it again.

    `file` is the name and the address (a data: URL) of a file that is saved from this page.
    """
    context = {"title": title, "label": label, "secret": secret, "note": note, "back": back, "file": file}
    response = render(request, "dashboard/shown_once.html", context)
    add_never_cache_headers(response)
    return response


def confirm_page(
    request: HttpRequest,
    service: Callable[[], object],
    *,
    title: str,
    question: str,
    submit: str,
    back: str,
    done: str,
    then: str | Callable[[Any], str],
    is_harmless: bool = False,
) -> HttpResponse:
    """Ask `question`, then call `service` and go on to `then` or `then(result)`; a refusal is shown on the page.

    What deletes, interrupts or cannot be taken back is asked for in red; `is_harmless` is for everything else.
    """
    problem = ""
    if request.method == "POST":
        try:
            result = service()
        except Conflict as conflict:
            problem = str(conflict)
        else:
            messages.success(request, done)
            return redirect(then(result) if callable(then) else then)
    context = {
        "title": title,
        "question": question,
        "submit": submit,
        "back": back,
        "problem": problem,
        "is_harmless": is_harmless,
    }
    return render(request, "dashboard/confirm.html", context, status=409 if problem else 200)
