"""Tokens over REST: one for a password, and everybody's own to list, issue and revoke."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import authenticate
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from devices import tokens
from devices.api.conditional import ConditionalUpdates
from devices.api.fields import LenientChoiceField, StrictSerializer
from devices.api.permissions import SignedIn
from devices.api.views import actor_of
from devices.audit import Actor
from devices.models import ApiToken, AuditEvent
from devices.models.choices import ScopeChoices


class CredentialsSerializer(serializers.Serializer[Any]):
    """What a token costs."""

    username = serializers.CharField(write_only=True)
    password = serializers.CharField(write_only=True, trim_whitespace=False)
    token = serializers.CharField(read_only=True)


class TokenView(APIView):
    """A token for other systems."""

    permission_classes = (AllowAny,)
    authentication_classes = ()
    throttle_classes = (ScopedRateThrottle,)
    throttle_scope = "sign-in"

    def get_authenticate_header(self, request: Request) -> str:
        """What makes wrong credentials a 401: the way to do better."""
        return "Token"

    @extend_schema(request=CredentialsSerializer, responses=CredentialsSerializer)
    def post(self, request: Request) -> Response:
        """Exchange a user name and a password for a token with full scope; the newest 20 of a user count."""
        credentials = CredentialsSerializer(data=request.data)
        credentials.is_valid(raise_exception=True)
        user = authenticate(request._request, **credentials.validated_data)
        if user is None:
            raise AuthenticationFailed(_("No active account has this user name and password."))
        actor = Actor.of(user, AuditEvent.Source.API, request.META.get("REMOTE_ADDR"))
        return Response({"token": tokens.exchange(actor)})


class ApiTokenSerializer(StrictSerializer):
    """A token, without the token itself."""

    scopes = serializers.ListField(child=LenientChoiceField(choices=ScopeChoices.choices), allow_empty=False)

    class Meta:
        model = ApiToken
        fields = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at")
        read_only_fields = ("created_at", "last_used_at")


class IssuedTokenSerializer(ApiTokenSerializer):
    """The answer that issues it, and the only one that holds it."""

    token = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(ApiTokenSerializer.Meta):
        fields = (*ApiTokenSerializer.Meta.fields, "token")  # type: ignore[assignment]


class ApiTokenViewSet(
    ConditionalUpdates,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[ApiToken],
):
    """Your own tokens. They are shown once, when they are issued."""

    queryset = ApiToken.objects.none()
    serializer_class = ApiTokenSerializer
    permission_classes = (SignedIn,)
    orderings = ("-id",)
    answers_with_secret = True

    def get_queryset(self) -> QuerySet[ApiToken]:
        """Those of whoever asks."""
        return ApiToken.objects.filter(user=self.request.user.pk)

    @extend_schema(responses={201: IssuedTokenSerializer})
    def create(self, request: Request) -> Response:
        """Issue a token; `token` in the answer is shown this once."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        row, token = tokens.issue(actor_of(request), **serializer.validated_data)
        return Response({**self.get_serializer(row).data, "token": token}, status=status.HTTP_201_CREATED)

    def perform_destroy(self, instance: ApiToken) -> None:
        """Revoke the token."""
        tokens.revoke(actor_of(self.request), instance)
