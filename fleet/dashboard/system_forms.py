"""Forms about other systems: the tokens that they come with, and the webhooks that tell them what happens."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from devices.models import ApiToken, Webhook
from devices.models.choices import ScopeChoices, WebhookEventChoices
from devices.webhooks.service import WEBHOOK_FIELDS
from fleet.dashboard.forms import LocalDateTimeInput, ServiceForm


class ApiTokenForm(ServiceForm):
    """A token of one's own."""

    scopes = forms.MultipleChoiceField(
        label=_("Scopes"), choices=ScopeChoices.choices, widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "expires_at")
        widgets = {"expires_at": LocalDateTimeInput()}


class WebhookForm(ServiceForm):
    """A webhook. Its secret is drawn unless one is entered."""

    secret = forms.CharField(
        label=_("Secret"),
        required=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=[choice for choice in WebhookEventChoices.choices if choice[0] != WebhookEventChoices.TEST],
        widget=forms.CheckboxSelectMultiple,
    )

    sections = ((None, ("name", "url", "secret", "events", "days_before_expiry", "is_enabled")),)

    class Meta:
        model = Webhook
        fields = WEBHOOK_FIELDS

    def __init__(self, data: Any = None, *, instance: Webhook | None = None) -> None:
        super().__init__(data, instance=instance)
        self.fields["secret"].help_text = (
            gettext("Leave empty to keep the secret.")
            if instance
            else gettext("Leave empty to have one drawn; it is shown once.")
        )
