"""How values come in: choices in any usual spelling, no field that nobody knows, no query per row."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.fields import empty

from devices.models.choices import spelled


class LenientChoiceField(serializers.ChoiceField):
    """Takes a choice as stored or as shown, in any case and punctuation: SHA-256, sha256; IEEE 802.1X."""

    def to_internal_value(self, data: Any) -> Any:
        """The stored value. Raises ValidationError, listing the choices."""
        if data == "" and self.allow_blank:
            return ""
        try:
            return spelled(self.choices.items(), data)
        except ModelValidationError as error:
            raise serializers.ValidationError(error.messages) from error


class CachedRelatedField(serializers.PrimaryKeyRelatedField[Any]):
    """A reference by id that is looked up once per request, however many rows name it."""

    def to_internal_value(self, data: Any) -> models.Model:
        """The object. Raises ValidationError when there is none."""
        known: dict[tuple[str, str], models.Model] = self.root.__dict__.setdefault("_related", {})
        key = (self.source or "", repr(data))
        if key not in known:
            known[key] = super().to_internal_value(data)
        return known[key]


class LocalDateTimeField(serializers.DateTimeField):
    """A date and time without a zone, as a clock on the wall shows it."""

    def enforce_timezone(self, value: datetime) -> datetime:
        """As it is. Raises ValidationError for one with a zone or an offset."""
        if timezone.is_aware(value):
            raise serializers.ValidationError(
                _("Write it without a time zone, for example 2027-01-11T07:00:00: each device takes its own.")
            )
        return value


class StrictFieldsSerializer(serializers.Serializer[Any]):
    """Refuses names that it does not know. Read-only ones are ignored, so that GET, edit, PUT works."""

    def run_validation(self, data: Any = empty) -> Any:
        """Raise ValidationError with every unknown name, together with everything else that is wrong."""
        unknown: dict[str, list[str]] = {}
        if isinstance(data, Mapping):
            unknown = {str(name): [self._unknown(str(name))] for name in data if str(name) not in self.fields}
        try:
            values = super().run_validation(data)
        except serializers.ValidationError as error:
            if isinstance(error.detail, dict):
                raise serializers.ValidationError({**error.detail, **unknown}) from error
            raise
        if unknown:
            raise serializers.ValidationError(unknown)
        return values

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, [*self.fields], n=1)
        if near:
            return str(_("There is no such field. Did you mean “%s”?") % near[0])
        return str(_("There is no such field. Known are: %s.") % ", ".join(self.fields))


class StrictSerializer(StrictFieldsSerializer, serializers.ModelSerializer[Any]):
    """The same over a model.

    What the model can check, the services check (`full_clean`), so uniqueness has no validators here.
    """

    serializer_choice_field = LenientChoiceField
    serializer_related_field = CachedRelatedField
