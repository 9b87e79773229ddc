"""The administrators of a simulated year: what they do, drawn from the seed, each at its time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from devices import inventory
from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.errors import Conflict
from devices.models import Device, KeyAndCertificate, ScepSettings, summary
from tests.simulation import fleet
from tests.simulation.fleet import Member
from tests.simulation.recorder import Recorder
from tests.simulation.records import Asked, Deleted, Saved, Settings
from tests.simulation.wire import Clock

_WRONG = "the challenge password of last year"
_TRY_AGAIN = timedelta(hours=1)
"""When something is refused because a request is under way."""


class Administrator:
    """A list of things to do, and the doing of them."""

    def __init__(self, clock: Clock, recorder: Recorder, dice: random.Random, members: list[Member]) -> None:
        self.members = {member.device.pk: member for member in members}
        self.refused = 0
        """How often something was refused because a request was under way."""
        self.restarts = 0
        """How often a device without a valid certificate was given a new start."""
        self._clock = clock
        self._recorder = recorder
        self._dice = dice
        self._numbers = itertools.count()
        self._to_do: list[tuple[datetime, int, Callable[[], None]]] = []

    # --- the list -----------------------------------------------------------------------------------------

    def at(self, at: datetime, do: Callable[[], None]) -> None:
        """Do this at that time."""
        heapq.heappush(self._to_do, (at, next(self._numbers), do))

    def next_at(self) -> datetime:
        """When something is to be done next; a weekly look always is."""
        return self._to_do[0][0]

    def act(self) -> None:
        """Do what is due."""
        while self._to_do and self._to_do[0][0] <= self._clock():
            heapq.heappop(self._to_do)[2]()

    def plan(self, *, days: int, calm_days: int) -> None:
        """Fill the list for a year of so many days; the last `calm_days` see no more changes."""
        began, dice = self._clock(), self._dice
        last = days - calm_days - 35
        for member in self.members.values():
            self.save(member)
            for share, plan in (
                (0.10, self._plan_pause),
                (0.06, self._plan_wrong_challenge),
                (0.20, self._plan_change),
                (0.02, self._plan_delete),
            ):
                if dice.random() < share:
                    plan(member, began + timedelta(days=dice.uniform(3, max(last, 4))))
        for name in ("main", "branch"):
            at = began + timedelta(days=dice.uniform(20, max(last, 21)))
            self.at(at, lambda name=name: self._change_timeout(name))  # type: ignore[misc]
        for week in range(1, days // 7 + 2):
            self.at(began + timedelta(days=7 * week), self._weekly_look)

    def _plan_pause(self, member: Member, at: datetime) -> None:
        self.at(at, lambda: self._switch_off(member))

    def _plan_wrong_challenge(self, member: Member, at: datetime) -> None:
        self.at(at, lambda: self._set_challenge(member, _WRONG))
        until = at + timedelta(days=self._dice.uniform(5, 30))
        self.at(until, lambda: self._set_challenge(member, fleet.CHALLENGE))

    def _plan_change(self, member: Member, at: datetime) -> None:
        self.at(at, lambda: self._change(member))

    def _plan_delete(self, member: Member, at: datetime) -> None:
        self.at(at, lambda: self._delete(member))

    # --- what is done -------------------------------------------------------------------------------------

    def save(self, member: Member, settings: Settings | None = None, **more: Any) -> bool:
        """Enter `settings` (or what the member has) for its device; False when it is refused for now."""
        before, member.settings = member.settings, settings or member.settings
        more.setdefault("server", fleet.server_row(member.server))
        more.setdefault("challenge_password", member.challenge)
        try:
            saved = requests.save_settings(SYSTEM, member.device, **member.fields(), **more)
        except Conflict:
            member.settings = before
            self.refused += 1
            return False
        self._saved(member, saved)
        return True

    def _saved(self, member: Member, saved: ScepSettings) -> None:
        name = member.device.name
        self._recorder.log.append(Saved(self._clock(), name, member.settings, saved.offset_seconds))
        self._recorder.device(member.device.pk)

    def _later(self, do: Callable[[], None]) -> None:
        self.at(self._clock() + _TRY_AGAIN, do)

    def _is_there(self, member: Member) -> bool:
        return member.device.pk in self.members

    def _switch_off(self, member: Member) -> None:
        if not self._is_there(member):
            return
        self.save(member, replace(member.settings, timer=False))
        back = self._clock() + timedelta(days=self._dice.uniform(0.01, 10))
        if self._dice.random() < 0.5:
            half = self._clock() + (back - self._clock()) / 2
            self.at(half, lambda: self._ask(member))
        self.at(back, lambda: self._switch_on(member))

    def _switch_on(self, member: Member) -> None:
        if not self._is_there(member):
            return
        start = fleet.working_hour(self._clock(), member.settings.zone, self._dice, days=1)
        if not self.save(member, replace(member.settings, timer=True, start=start)):
            self._later(lambda: self._switch_on(member))

    def _ask(self, member: Member) -> None:
        """A manual request, for a key beside the one that the timer cares for."""
        if not self._is_there(member) or member.settings.timer:
            return
        asked = Asked(self._clock(), member.device.name, "Manual", "none")
        try:
            requests.request_certificate(
                SYSTEM, member.device, key_name="Manual", challenge_password=member.challenge
            )
        except Conflict:
            self.refused += 1
            return
        self._recorder.log.append(asked)
        self._recorder.device(member.device.pk)

    def _set_challenge(self, member: Member, challenge: str) -> None:
        if self._is_there(member):
            member.challenge = challenge
            self.save(member)

    def _change(self, member: Member) -> None:
        """One of the settings; with a request under way too."""
        if not self._is_there(member):
            return
        now, dice = member.settings, self._dice
        by_lifetime = now.renew_at_percent is not None or now.renew_days_before is not None
        changed = dice.choice(
            (
                replace(now, polling_count=dice.randint(0, 5), polling_interval=dice.choice((30, 600))),
                replace(now, delete_old_key=True),
                replace(now, key_use="ieee_802_1x", ipsec_destination=""),
                replace(now, key_name="Renamed"),
                replace(now, auto_adjust=not now.auto_adjust),
                replace(now, start=fleet.working_hour(self._clock(), now.zone, dice, days=2)),
                replace(now, renew_days_before=25)
                if by_lifetime
                else replace(now, interval_days=dice.choice((30, 60, 90))),
                replace(now, renew_at_percent=60) if by_lifetime else replace(now, renew_days_before=40),
            )
        )
        if not self.save(member, changed):
            self._later(lambda: self._change(member))

    def disturb(self, device_id: int) -> None:
        """Act on a device just while a message of its request is on its way."""
        member = self.members.get(device_id)
        if member is not None:
            acts = (self._switch_off, self._change, self._save_again, self._delete)
            self._dice.choices(acts, weights=(4, 6, 2, 1))[0](member)

    def _save_again(self, member: Member) -> None:
        """The same once more: it changes no schedule."""
        self.save(member)

    def _delete(self, member: Member) -> None:
        if self._is_there(member):
            del self.members[member.device.pk]
            name = member.device.name
            inventory.delete_device(SYSTEM, member.device)
            self._recorder.log.append(Deleted(self._clock(), name))

    def _change_timeout(self, name: str) -> None:
        """R3: with the timers suspended for it; no schedule moves."""
        server = fleet.server_row(name)
        inventory.update_server(SYSTEM, server, suspend_timers=True, timeout=server.timeout + 1)

    def _weekly_look(self) -> None:
        """Full key stores are cleared, or the old key is to go; a device that has no valid certificate and waits long
        gets a new start."""
        now = self._clock()
        full = Device.objects.filter(details="Key and Certificate Registration Limit Error")
        for device_id in full.order_by("pk").values_list("pk", flat=True):
            spare = KeyAndCertificate.objects.filter(device=device_id, key_use="none", is_default=False)
            # where the key that counts has no function either, the newest is it
            kept = spare.order_by("-issued_at").values("pk")[
                : self.members[device_id].settings.key_use == "none"
            ]
            # no service deletes keys yet
            cleared, _ = (
                KeyAndCertificate.objects.filter(pk__in=spare.values("pk")).exclude(pk__in=kept).delete()
            )
            summary.refresh([device_id])
            self._recorder.device(device_id, cleared=True)
            member = self.members[device_id]
            if not cleared:
                # every key does something, and one more does not fit beside them
                self.save(member, replace(member.settings, delete_old_key=True))
        soon = now + timedelta(days=7)
        helpless = Device.objects.filter(
            Q(next_request_at=None) | Q(next_request_at__gt=soon), scep_settings__timer_enabled=True
        ).exclude(status="processing")
        valid = KeyAndCertificate.objects.filter(not_after__gt=soon, is_default=False)
        for device_id in helpless.order_by("pk").values_list("pk", flat=True):
            member = self.members[device_id]
            wanted = valid.filter(device=device_id, key_use=member.settings.key_use)
            if not wanted.exists():
                start = fleet.working_hour(now, member.settings.zone, self._dice, days=1)
                self.restarts += self.save(member, replace(member.settings, start=start))
