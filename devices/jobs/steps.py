"""Jobs that go by steps of their own: each a transaction, or all of them one that does everything or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext as _

from devices.jobs.turn import SILENCE, TURN, LeaseLost, Turn
from devices.models import Job
from devices.models.choices import JobStateChoices
from devices.models.job import Progress
from devices.secrets import SecretUnreadable

logger = logging.getLogger(__name__)

BEAT = timedelta(seconds=5)
"""How often a job that is one transaction is heard of while it runs."""

_PER_ROW = timedelta(milliseconds=5)
"""More than a row takes, where nobody can be heard of meanwhile. Who asks too early waits; nothing is lost."""


class _Withdrawn(Exception):
    """Something was refused, so nothing is done."""


@dataclass(slots=True)
class StepsTurn(Turn):
    """One worker's turn at one job of steps."""

    tell: Callable[[Progress], object] = lambda _progress: None
    """Hears of each step."""
    progress: Progress = field(default_factory=lambda: Progress(0, 0, 0))

    def take(self) -> bool:
        """Step after step; True when none is left. Raises LeaseLost."""
        self.begin()
        try:
            return self._take_whole() if self.kind.is_whole(self.job.parameters) else self._take_some()
        except (LeaseLost, OperationalError, InterfaceError):
            # the database is away: the job comes due again by itself
            raise
        except (PermissionDenied, SecretUnreadable) as error:
            self.finish(JobStateChoices.REFUSED, message=str(error))
        except Exception:  # a fault of ours: the job ends and says so, or it would be begun anew for ever
            logger.exception("job %d failed", self.job.pk)
            self.finish(
                JobStateChoices.REFUSED, message=_("An error of Fleetseal itself; see the worker's log.")
            )
        return True

    def _steps(self) -> Iterator[Progress]:
        if self.kind.steps is None:
            raise AssertionError(f"{self.job.kind} goes device by device")
        return self.kind.steps(self.actor(), self.parameters())

    def _take_some(self) -> bool:
        ends, steps = self.clock() + TURN, self._steps()
        while self._take_one(steps):
            if self.clock() >= ends:
                self.hold(lease=None, next_action_at=self.clock())
                return False
        self.finish(progress=self.progress)
        return True

    @transaction.atomic
    def _take_one(self, steps: Iterator[Progress]) -> bool:
        """The step and its progress stand or fall together; who takes the job over waits until then."""
        self.hold()
        progress = next(steps, None)
        if progress is None:
            return False
        self.hold(done=progress.done, refused=progress.refused, total=progress.total)
        self.progress = progress
        self.tell(progress)
        return True

    def _take_whole(self) -> bool:
        refusals: dict[int, str] = {}
        heart = _Heart(self)
        message = _("An earlier try was interrupted in the middle, and nothing of it was applied.")
        self.hold(
            done=0,
            refused=0,
            message=message if self.job.started_at else "",
            next_action_at=self.clock() + heart.longest_silence,
        )
        try:
            with transaction.atomic():
                for progress in self._steps():
                    refusals |= progress.refusals
                    self.progress = progress
                    self.tell(progress)
                    heart.beat(progress)
                if refusals:
                    raise _Withdrawn
                # the lease is asked for at the very end: whoever canceled or took over meanwhile has won
                self.finish(progress=self.progress)
        except _Withdrawn:
            self._withdraw(refusals)
        finally:
            heart.stop()
        return True

    @transaction.atomic
    def _withdraw(self, refusals: dict[int, str]) -> None:
        self.hold()
        self.kind.refuse(refusals)
        progress = Progress(0, len(refusals), self.progress.total)
        message = _("Rows were refused, so nothing was applied.")
        self.finish(JobStateChoices.REFUSED, progress, message=message)


class _Heart:
    """Tells of a job, and renews its lease, beside the one transaction that nobody can see into.

    On a connection of its own, so it is committed at once. SQLite has one writer at a time: there the lease is
    long enough from the start, and the progress is seen at the end.
    """

    def __init__(self, turn: StepsTurn) -> None:
        self._turn = turn
        self._side: BaseDatabaseWrapper | None = None
        self._can = connection.vendor == "postgresql"
        self._next = turn.clock() + BEAT

    @property
    def longest_silence(self) -> timedelta:
        """How long nobody else may take the job over."""
        return SILENCE if self._can else SILENCE + self._turn.job.total * _PER_ROW

    def beat(self, progress: Progress) -> None:
        """Say how far it is, when it is time. Raises LeaseLost when the job was canceled or taken over."""
        now: datetime = self._turn.clock()
        if not self._can or now < self._next:
            return
        self._next = now + BEAT
        if self._side is None:
            self._side = connection.copy()
        with self._side.cursor() as cursor:
            cursor.execute(
                f"UPDATE {Job._meta.db_table} SET next_action_at = %s, done = %s, refused = %s "  # noqa: S608
                "WHERE id = %s AND lease = %s",
                [now + SILENCE, progress.done, progress.refused, self._turn.job.pk, self._turn.lease],
            )
            if not cursor.rowcount:
                raise LeaseLost

    def stop(self) -> None:
        """Close the connection."""
        if self._side is not None:
            self._side.close()
