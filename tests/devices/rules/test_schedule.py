"""Request time, offset, polling and the next period (R9 to R12)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.rules.schedule import (
    LONGEST_RETRY,
    SHORTEST_RETRY,
    Period,
    draw_offset,
    next_period,
    next_poll,
    renewal_time,
    request_time,
)

START = datetime(2031, 3, 30, 1, 59, 59, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_r10_offsets_reach_both_ends_and_nothing_beyond() -> None:
    dice = random.Random(8894)
    drawn = {draw_offset(True, dice.randint) for _ in range(20_000)}
    assert min(drawn) == 1
    assert max(drawn) == 600
    assert len(drawn) == 600


def test_r10_without_auto_adjust_no_dice_are_thrown() -> None:
    def no_dice(low: int, high: int) -> int:
        raise AssertionError

    assert draw_offset(False, no_dice) == 0


@given(MOMENTS, st.integers(0, 600))
def test_r9_request_time_is_the_start_and_the_offset(start: datetime, offset: int) -> None:
    assert request_time(start, offset) - start == timedelta(seconds=offset)


@pytest.mark.parametrize("offset", [-1, 601])
def test_r10_an_offset_out_of_range_is_refused(offset: int) -> None:
    with pytest.raises(ValueError, match="0 to 600"):
        request_time(START, offset)


def test_r11_polls_count_down_to_none() -> None:
    first = next_poll(now=START, polls_left=2, interval_seconds=90)
    assert first is not None
    assert first.at == START + timedelta(seconds=90)
    assert first.polls_left == 1
    second = next_poll(now=first.at, polls_left=first.polls_left, interval_seconds=90)
    assert second is not None
    assert second.polls_left == 0
    assert next_poll(now=second.at, polls_left=second.polls_left, interval_seconds=90) is None


def test_r12_a_success_starts_the_next_interval() -> None:
    ended = START + timedelta(hours=5)
    at = next_period(ended_at=ended, request_at=START, successful=True, period=Period(30))
    assert at == ended + timedelta(days=30)


def test_r12_a_failure_keeps_the_rhythm() -> None:
    ended = START + timedelta(hours=5)
    at = next_period(ended_at=ended, request_at=START, successful=False, period=Period(30))
    assert at == START + timedelta(days=30)


@given(MOMENTS, MOMENTS, st.booleans(), st.integers(1, 3650))
def test_r12_the_next_period_never_lies_before_the_end_of_the_last(
    ended: datetime, request_at: datetime, successful: bool, days: int
) -> None:
    at = next_period(ended_at=ended, request_at=request_at, successful=successful, period=Period(days))
    assert at is not None
    assert at >= ended


def test_r12_without_an_interval_nothing_follows() -> None:
    assert next_period(ended_at=START, request_at=START, successful=True, period=Period()) is None


ISSUED = datetime(2031, 1, 1, tzinfo=UTC)
VALIDITY = (ISSUED, ISSUED + timedelta(days=100))


class TestRenewal:
    """By the certificate's own lifetime, beside R12's interval."""

    @pytest.mark.parametrize(
        ("period", "days"),
        [
            (Period(renew_at_percent=80), 80),
            (Period(renew_days_before=30), 70),
            (Period(renew_at_percent=80, renew_days_before=30), 70),
            (Period(renew_at_percent=60, renew_days_before=30), 60),
        ],
    )
    def test_whichever_is_earlier(self, period: Period, days: int) -> None:
        assert renewal_time(period, *VALIDITY) == ISSUED + timedelta(days=days)

    def test_without_a_rule_none(self) -> None:
        assert renewal_time(Period(30), *VALIDITY) is None

    def following(self, period: Period, ended_at: datetime, *, successful: bool = True) -> datetime | None:
        return next_period(
            ended_at=ended_at,
            request_at=ended_at,
            successful=successful,
            period=period,
            validity=VALIDITY,
        )

    @pytest.mark.parametrize(("interval", "days"), [(None, 80), (90, 80), (50, 50)])
    def test_the_interval_counts_where_it_is_earlier(self, interval: int | None, days: int) -> None:
        period = Period(interval, renew_at_percent=80)
        assert self.following(period, ISSUED) == ISSUED + timedelta(days=days)

    def test_a_failed_renewal_is_tried_again_in_time(self) -> None:
        ended = ISSUED + timedelta(days=80)
        period = Period(90, renew_at_percent=80)
        assert self.following(period, ended, successful=False) == ended + timedelta(days=5)

    @given(st.floats(-500, 500), st.booleans(), st.integers(1, 99), st.integers(1, 3650))
    def test_retries_never_come_at_once_and_never_stop(
        self, day: float, successful: bool, percent: int, days: int
    ) -> None:
        ended = ISSUED + timedelta(days=day)
        at = self.following(
            Period(renew_at_percent=percent, renew_days_before=days), ended, successful=successful
        )
        assert at is not None
        renewal = renewal_time(Period(renew_at_percent=percent, renew_days_before=days), *VALIDITY)
        assert renewal is not None
        if renewal > ended:
            assert at == renewal
        else:
            assert SHORTEST_RETRY <= at - ended <= LONGEST_RETRY

    def test_without_a_certificate_the_interval_alone_counts(self) -> None:
        at = next_period(
            ended_at=ISSUED, request_at=ISSUED, successful=False, period=Period(30, renew_at_percent=50)
        )
        assert at == ISSUED + timedelta(days=30)


def test_without_a_certificate_to_go_by_a_failure_is_tried_again_after_a_day() -> None:
    by_lifetime = Period(renew_at_percent=70)
    failed = next_period(ended_at=START, request_at=START, successful=False, period=by_lifetime)
    assert failed == START + timedelta(days=1)
    assert next_period(ended_at=START, request_at=START, successful=False, period=Period()) is None
