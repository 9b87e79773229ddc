"""What the terminal shows while the demo runs: the first certificate, then how far the fleet is."""

from __future__ import annotations

import time
from datetime import timedelta

from django.utils import timezone

from fleet.supervisor import say

EVERY_SECONDS = 10.0


class Progress:
    """Tells changes, at most one line in EVERY_SECONDS."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._told = ""
        self._first_told = False
        self._next = 0.0

    def tick(self) -> None:
        """Look, and tell what is new; called every second. A database that is busy is asked again later."""
        from django.db import DatabaseError, connections

        now = time.monotonic()
        try:
            if not self._first_told:
                self._tell_first(now)
            elif now >= self._next:
                self._next = now + EVERY_SECONDS
                self._tell_counts()
        except DatabaseError:
            return
        finally:
            connections.close_all()

    def _tell_first(self, now: float) -> None:
        from devices.models import KeyAndCertificate

        first = KeyAndCertificate.objects.select_related("device").order_by("issued_at").first()
        if first is None:
            return
        self._first_told = True
        running = timedelta(seconds=now - self._started)
        # one of an earlier start says nothing about this one
        is_new = first.issued_at > timezone.now() - running
        say(f"First certificate: {first.device.name}" + (f", {running.seconds} s after the start" * is_new))

    def _tell_counts(self) -> None:
        from django.db.models import Count

        from devices.models import Device

        counts = dict(Device.objects.values_list("status").annotate(Count("pk")).order_by())
        text = (
            f"{counts.get('successful', 0)} devices successful, {counts.get('error', 0)} with an error, "
            f"{counts.get('processing', 0)} processing, {counts.get('to_be_processed', 0)} to be processed."
        )
        if text != self._told:
            self._told = text
            say(text)
