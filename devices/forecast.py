"""How loaded each SCEP server will be (F1).

Counted in the database, by server and minute: a constant number of queries, and no row per device in this process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, Case, Count, F, Func, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.sql.compiler import SQLCompiler

from devices.models import IssuanceRequest, KeyAndCertificate, ScepServer
from devices.models.choices import TriggerChoices
from devices.rules.lifecycle import State
from devices.rules.load import (
    ASSUMED_PER_MINUTE,
    Summary,
    Wave,
    expected,
    minute_of,
    repeat_minutes,
    summarize,
)
from devices.rules.schedule import Period

SETTINGS = "device__scep_settings__"
"""From a request to the settings of its device."""


class EpochMinute(Func):
    """The minutes from 1970-01-01T00:00Z to a date and time, by the database's own functions."""

    output_field = BigIntegerField()
    arity = 1

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        """PostgreSQL's way."""
        template = "CAST(FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / 60) AS bigint)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        """SQLite's way: the texts that it stores are in UTC."""
        template = "(CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / 60)"
        return self.as_sql(compiler, connection, template=template, **context)


@dataclass(frozen=True)
class OfServer:
    """What is said of one SCEP server, beside its allowance."""

    server: ScepServer

    @property
    def per_minute(self) -> int:
        """The allowance of requests per minute; ASSUMED_PER_MINUTE where the server has none."""
        return self.server.max_requests_per_minute or ASSUMED_PER_MINUTE

    @property
    def is_assumed(self) -> bool:
        """True when the server has no allowance of its own."""
        return self.server.max_requests_per_minute is None


@dataclass(frozen=True)
class ServerLoad(OfServer):
    """What one server has to expect."""

    load: Mapping[int, int]
    """Minutes with their requests, as devices/rules/load.py counts them."""

    @cached_property
    def summary(self) -> Summary:
        """What it comes to."""
        return summarize(self.load, self.per_minute)


def forecast(servers: Sequence[ScepServer], *, now: datetime, end: datetime) -> list[ServerLoad]:
    """The load of each of `servers` from the minute of `now` up to `end`; one query.

    Counted are the requests that wait for their time, and those that follow them by the interval (R12) or the
    lifetime rules, at the same distance again and again: as if each succeeded at once. Requests under way, and what
    follows them, are not foreseen.
    """
    first, last = minute_of(now), minute_of(end)
    waves = waves_of(scheduled([server.pk for server in servers], end))
    return [
        ServerLoad(server, expected(waves.get(server.pk, ()), now=first, first=first, end=last))
        for server in servers
    ]


def groups_of(
    servers: Sequence[ScepServer], *, end: datetime
) -> dict[int, list[tuple[int | None, str, int]]]:
    """Per server the device groups that have requests waiting before `end`: id, name and number, most first."""
    counts = (
        scheduled([server.pk for server in servers], end)
        .values_list("server", "device__group", "device__group__name")
        .annotate(requests=Count("pk"))
        .order_by("-requests", "device__group__name")
    )
    found: dict[int, list[tuple[int | None, str, int]]] = {}
    for server, group, name, requests in counts:
        found.setdefault(server, []).append((group, name or "", requests))
    return found


def scheduled(servers: Collection[int], end: datetime) -> QuerySet[IssuanceRequest]:
    """Requests of `servers` that wait for a time before `end`.

    `next_action_at` finds them by the index of what is due; where a dispatcher holds a lease on a request, it is
    the lease's end, and the request is due already.
    """
    return IssuanceRequest.objects.filter(
        server__in=servers, state=State.SCHEDULED, next_action_at__lt=end
    ).order_by()


def waves_of(requests: QuerySet[IssuanceRequest]) -> dict[int, list[Wave]]:
    """The requests of each server by minute and by what makes them come again."""
    rules = ("request_interval_days", "renew_at_percent", "renew_days_before")
    has_lifetime_rule = Q(**{f"{SETTINGS}renew_at_percent__isnull": False}) | Q(
        **{f"{SETTINGS}renew_days_before__isnull": False}
    )
    # the certificate that log.next_period_after looks at
    lifetime = KeyAndCertificate.objects.filter(
        device=OuterRef("device"),
        key_use=OuterRef(f"{SETTINGS}key_use"),
        ipsec_destination=OuterRef(f"{SETTINGS}ipsec_destination"),
    ).values_list(EpochMinute("not_after") - EpochMinute("not_before"))[:1]
    repeats = ~Q(trigger=TriggerChoices.MANUAL) & Q(**{f"{SETTINGS}timer_enabled": True})
    counts = (
        requests.annotate(
            minute=EpochMinute("request_at"),
            **{name: Case(When(repeats, then=F(SETTINGS + name))) for name in rules},
            lifetime=Case(When(repeats & has_lifetime_rule, then=Subquery(lifetime))),
        )
        .values_list("server", "minute", *rules, "lifetime")
        .annotate(requests=Count("pk"))
    )
    waves: dict[int, list[Wave]] = {}
    for server, minute, interval, percent, days, valid_minutes, number in counts:
        every = _repeat_minutes(interval, percent, days, valid_minutes)
        waves.setdefault(server, []).append(Wave(minute, number, every))
    return waves


@lru_cache(maxsize=10_000)
def _repeat_minutes(
    interval: int | None, percent: int | None, days_before: int | None, lifetime: int | None
) -> int | None:
    return repeat_minutes(Period(interval, percent, days_before), lifetime)
