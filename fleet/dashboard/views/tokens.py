"""API tokens: everybody's own."""

from __future__ import annotations

from functools import partial

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from devices import tokens
from devices.models import ApiToken
from fleet.dashboard.system_forms import ApiTokenForm
from fleet.dashboard.views.common import actor_of, confirm_page, form_page, page_of, shown_once


@require_safe
def token_list(request: HttpRequest) -> HttpResponse:
    """The tokens of whoever looks, without the tokens themselves."""
    own = ApiToken.objects.filter(user=request.user.pk)
    now = timezone.now()
    page = page_of(request, own.order_by("-pk"))
    rows = [(token, token.has_expired(now)) for token in page]
    return render(request, "dashboard/tokens.html", {"page": page, "rows": rows})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def token_add(request: HttpRequest) -> HttpResponse:
    """A new token, shown in the answer to its form and never again."""
    return form_page(
        request,
        ApiTokenForm(request.POST or None),
        partial(tokens.issue, actor_of(request)),
        title=_("Add an API token"),
        back=reverse("token-list"),
        done="",
        submit=_("Add"),
        note=_("A token lets another system act in your name. It can never do more than you."),
        answer=lambda issued: shown_once(
            request,
            _("API token %(name)s") % {"name": issued[0]},
            label=_("The token"),
            secret=issued[1],
            note=_("Send it with every call: Authorization: Bearer …"),
            back=reverse("token-list"),
        ),
    )


@require_http_methods(["GET", "HEAD", "POST"])
def token_revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Ask, then revoke."""
    token = get_object_or_404(ApiToken, pk=token_id, user=request.user.pk)
    return confirm_page(
        request,
        partial(tokens.revoke, actor_of(request), token),
        title=_("Revoke %(name)s") % {"name": token},
        question=_("What uses this token is refused from then on."),
        submit=_("Revoke"),
        back=reverse("token-list"),
        done=_("The token was revoked."),
        then=reverse("token-list"),
    )
