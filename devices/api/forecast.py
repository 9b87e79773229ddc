"""The load of the SCEP servers over REST (F1): what is expected, and spreading a device group."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.access import Permission
from devices.api.fields import StrictFieldsSerializer
from devices.api.jobs import JobSerializer
from devices.api.views import actor_of
from devices.errors import Conflict
from devices.forecast import OfServer, ServerLoad, forecast
from devices.jobs import spread as jobs
from devices.models import DeviceGroup, ScepServer
from devices.rules.load import Peak, Summary, by_day, day_ends, lateness, minute_of, moment_of
from devices.rules.spread import LONGEST_WINDOW_HOURS
from devices.spread import ServerSpread, Spread, propose_spread

MOST_HOURS, MOST_DAYS = 14 * 24, 366


class ForecastQuery(StrictFieldsSerializer):
    """How far to look, and at which server."""

    server = serializers.PrimaryKeyRelatedField(
        queryset=ScepServer.objects.all(), required=False, help_text="Its id; every server without it."
    )
    hours = serializers.IntegerField(
        min_value=1, max_value=MOST_HOURS, required=False, help_text="By the minute; 24 by default."
    )
    days = serializers.IntegerField(
        min_value=1, max_value=MOST_DAYS, required=False, help_text="By the day, in place of `hours`."
    )

    def validate(self, attrs: Any) -> Any:
        """Either by the minute or by the day."""
        if "hours" in attrs and "days" in attrs:
            raise serializers.ValidationError({"days": [_("Give either hours or days.")]})
        return attrs


class MinuteSerializer(serializers.Serializer[Any]):
    """A minute with requests."""

    at = serializers.DateTimeField(help_text="When the minute begins.")
    requests = serializers.IntegerField()
    minutes_late = serializers.IntegerField(
        help_text="By how much the last of them is sent late, because the allowance is used up."
    )


class DaySerializer(serializers.Serializer[Any]):
    """A day, with its busiest minute."""

    date = serializers.DateField()
    requests = serializers.IntegerField()
    busiest = MinuteSerializer(allow_null=True)


class SummarySerializer(serializers.Serializer[Any]):
    """What a load comes to."""

    requests = serializers.IntegerField()
    busiest = MinuteSerializer(allow_null=True)
    latest = MinuteSerializer(allow_null=True, help_text="Whose last request is sent the most late.")
    minutes_over = serializers.IntegerField(help_text="Minutes with more requests than the allowance.")


class OfServerSerializer(serializers.Serializer[Any]):
    """Which server, and what it is taken to bear."""

    server = serializers.IntegerField()
    name = serializers.CharField()
    allowance = serializers.IntegerField(help_text="Requests per minute.")
    allowance_is_assumed = serializers.BooleanField(help_text="True when the server has none of its own.")


class ServerForecastSerializer(OfServerSerializer, SummarySerializer):
    """The load of one server; `minutes` or `days`, as was asked for. Minutes without requests are left out."""

    minutes = MinuteSerializer(many=True, required=False)
    days = DaySerializer(many=True, required=False)


class ForecastSerializer(serializers.Serializer[Any]):
    """The load to come."""

    begins_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    time_zone = serializers.CharField(help_text="Whose days are counted.")
    servers = ServerForecastSerializer(many=True)


class SpreadRequest(StrictFieldsSerializer):
    """Where requests may be moved to."""

    window_start = serializers.DateTimeField()
    window_hours = serializers.IntegerField(min_value=1, max_value=LONGEST_WINDOW_HOURS)
    only_within_maintenance = serializers.BooleanField(
        default=False, help_text="Only within the group's maintenance window."
    )
    apply = serializers.BooleanField(default=False, help_text="Start the job; else only propose.")
    digest = serializers.RegexField(
        r"^[0-9a-f]{64}$",
        required=False,
        help_text="Of a proposal that was looked at: with `apply`, 409 when this one is another.",
    )


class ServerSpreadSerializer(OfServerSerializer):
    """What the spread comes to for one server."""

    moved = serializers.IntegerField(help_text="Devices that get a new start time.")
    stay = serializers.IntegerField(help_text="Devices whose time is good as it is.")
    does_not_fit = serializers.IntegerField(help_text="Devices without room in the window; they stay.")
    enough_hours = serializers.IntegerField(
        allow_null=True, help_text="A window of so many hours has room for all."
    )
    enough_allowance = serializers.IntegerField(
        allow_null=True, help_text="With such an allowance all fit into the window."
    )
    expires_before = serializers.IntegerField(
        help_text="Devices whose certificate would expire before their new time."
    )
    before = SummarySerializer()
    after = SummarySerializer()


class SpreadSerializer(serializers.Serializer[Any]):
    """The proposal, and the job that applies it."""

    digest = serializers.CharField()
    moved = serializers.IntegerField()
    stay = serializers.IntegerField()
    does_not_fit = serializers.IntegerField()
    servers = ServerSpreadSerializer(many=True)
    job = JobSerializer(allow_null=True)


class ForecastView(APIView):
    """How loaded the SCEP servers will be (F1)."""

    @extend_schema(parameters=[ForecastQuery], responses=ForecastSerializer)
    def get(self, request: Request) -> Response:
        """Requests per minute to come, from the stored request times and periods."""
        query = ForecastQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted = query.validated_data
        servers = [wanted["server"]] if "server" in wanted else list(ScepServer.objects.order_by("name"))
        now, zone = timezone.now(), timezone.get_current_timezone()
        first, days = minute_of(now), wanted.get("days")
        if days is None:
            end = now + timedelta(hours=wanted.get("hours", 24))
        else:
            end = moment_of(day_ends(first, days, zone)[-1])

        def shown(load: ServerLoad) -> dict[str, Any]:
            common = {**_of_server(load), **_summary(load.summary)}
            if days is None:
                late = lateness(load.load, load.per_minute)
                return common | {
                    "minutes": [
                        _minute(Peak(minute, load.load[minute], late[minute])) for minute in sorted(late)
                    ]
                }
            by = by_day(load.load, load.per_minute, first=first, days=days, zone=zone)
            return common | {
                "days": [
                    {"date": day.date, "requests": day.requests, "busiest": _minute(day.busiest)}
                    for day in by
                ]
            }

        body = {
            "begins_at": moment_of(first),
            "ends_at": end,
            "time_zone": str(zone),
            "servers": [shown(load) for load in forecast(servers, now=now, end=end)],
        }
        return Response(ForecastSerializer(body).data)


class GroupSpreadView(APIView):
    """Start times that keep a device group within the allowances of its servers (F1)."""

    permissions = {"POST": Permission.CHANGE_SCEP_SETTINGS}

    @extend_schema(
        request=SpreadRequest,
        responses={200: SpreadSerializer, 202: SpreadSerializer},
        description="The proposal; with `apply` also the job that applies it (202), if anybody has to move.",
    )
    @transaction.atomic
    def post(self, request: Request, group_id: int) -> Response:
        """Propose, and apply when asked to."""
        group = get_object_or_404(DeviceGroup, pk=group_id)
        given = SpreadRequest(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        apply, digest = values.pop("apply"), values.pop("digest", None)
        spread = propose_spread(group, **values, now=timezone.now())
        job = None
        if apply:
            if digest not in (None, spread.digest):
                raise Conflict(
                    "proposal_changed",
                    _("The devices have changed since this proposal was made. Look at the new one first."),
                )
            if spread.moves:
                job = jobs.start(actor_of(request), spread)
        code = status.HTTP_202_ACCEPTED if job else status.HTTP_200_OK
        return Response(SpreadSerializer(_spread(spread) | {"job": job}).data, status=code)


def _minute(peak: Peak | None) -> dict[str, Any] | None:
    if peak is None:
        return None
    return {"at": moment_of(peak.minute), "requests": peak.requests, "minutes_late": peak.minutes_late}


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "requests": summary.requests,
        "busiest": _minute(summary.busiest),
        "latest": _minute(summary.latest),
        "minutes_over": summary.minutes_over,
    }


def _of_server(of: OfServer) -> dict[str, Any]:
    return {
        "server": of.server.pk,
        "name": of.server.name,
        "allowance": of.per_minute,
        "allowance_is_assumed": of.is_assumed,
    }


def _spread(spread: Spread) -> dict[str, Any]:
    def shown(one: ServerSpread) -> dict[str, Any]:
        return {
            **_of_server(one),
            "moved": len(one.proposal.moves),
            "stay": one.proposal.stay,
            "does_not_fit": len(one.proposal.unplaced),
            "enough_hours": one.proposal.enough_hours,
            "enough_allowance": one.proposal.enough_per_minute,
            "expires_before": one.expiring,
            "before": _summary(one.before),
            "after": _summary(one.after),
        }

    return {
        "digest": spread.digest,
        "moved": len(spread.moves),
        "stay": spread.stay,
        "does_not_fit": spread.unplaced,
        "servers": [shown(one) for one in spread.servers],
    }
