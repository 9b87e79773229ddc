"""How times are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone, translation

from fleet.dashboard.templatetags.fleetseal import away, day, distance, moment

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (timedelta(seconds=20), "in less than a minute"),
        (timedelta(seconds=-20), "just now"),
        (timedelta(seconds=61), "in 1 minute"),
        (timedelta(minutes=-89), "89 minutes ago"),
        (timedelta(minutes=95), "in 2 hours"),
        (timedelta(hours=-47), "47 hours ago"),
        (timedelta(hours=49), "in 2 days"),
        (timedelta(days=89, hours=23, minutes=59), "in 90 days"),
        (timedelta(days=-400), "400 days ago"),
    ],
)
def test_the_distance_is_said_in_one_unit(shift: timedelta, expected: str) -> None:
    assert distance(NOW + shift, NOW) == expected


def test_times_stand_in_the_active_time_zone_and_for_machines_exactly() -> None:
    with timezone.override("America/Sao_Paulo"):
        assert ">24 Nov 2026, 09:00:00</time>" in moment(NOW)
        assert ">24 Nov 2026</span>" in day(NOW)
        assert 'title="24 Nov 2026, 09:00:00"' in away(NOW)
    assert 'datetime="2026-11-24T12:00:00+00:00"' in moment(NOW)


def test_no_time_is_a_dash() -> None:
    assert {moment(None), away(None), day(None)} == {"–"}  # noqa: RUF001


def test_the_distance_is_translated() -> None:
    with translation.override("pt-br"):
        assert distance(NOW + timedelta(days=90), NOW) == "em 90 dias"
        assert distance(NOW - timedelta(minutes=5), NOW) == "há 5 minutos"
