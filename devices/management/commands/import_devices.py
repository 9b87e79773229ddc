"""`manage.py import_devices FILE`: what a file would change, and with `--apply` its changes (R19)."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import IO, Any, NoReturn

from django.core.management.base import BaseCommand
from django.utils.translation import ngettext

from devices import imports
from devices.audit import Actor
from devices.errors import Conflict
from devices.jobs import run
from devices.management.progress import bar
from devices.models import AuditEvent, Import, Job
from devices.models.choices import FileFormatChoices, RowOutcomeChoices
from devices.transfer import archive
from devices.transfer.source import FileUnusable

REFUSED, UNUSABLE = 1, 2
"""Exit codes: rows were refused, or the file cannot be used. 0 is fine."""


class Command(BaseCommand):
    """Checks only, unless told to apply. The same jobs as on the pages; this process works on them itself."""

    help = (
        "Check a CSV or XML file of devices and their settings, and apply it with --apply: all of it, or nothing "
        "when a row is refused. Exit code 0: fine, 1: rows were refused, 2: the file cannot be used."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """FILE and how to take it."""
        parser.add_argument(
            "file", metavar="FILE", help="CSV, XML, or an encrypted ZIP; the password is asked for"
        )
        parser.add_argument(
            "--format", choices=FileFormatChoices.values, help="seen from the content by default"
        )
        parser.add_argument("--apply", action="store_true", help="apply it; else it is checked only")
        parser.add_argument("--good-rows-only", action="store_true", help="leave refused rows out")
        parser.add_argument(
            "--suspend-timers",
            action="store_true",
            help="where the SCEP server changes under a timer: suspend it, update, resume (R3)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Exits with the codes above, 0 by returning."""
        actor = Actor(None, getpass.getuser(), AuditEvent.Source.COMMAND)
        found = self._check(actor, Path(options["file"]), options["format"])
        refused = self._tell(found, suspend_timers=options["suspend_timers"])
        if options["apply"]:
            refused = self._apply(actor, found, refused, options)
        if refused:
            sys.exit(REFUSED)

    def _check(self, actor: Actor, path: Path, file_format: str | None) -> Import:
        try:
            with path.open("rb") as file:
                found = imports.receive(
                    actor,
                    file,
                    file_name=path.name,
                    file_format=FileFormatChoices(file_format) if file_format else None,
                    password=_password(file),
                )
        except (OSError, FileUnusable) as error:
            self._fail(str(error))
        self._work("Checking", found.check_job)
        found = Import.objects.select_related("check_job").get(pk=found.pk)
        if not found.is_checked:
            self._fail(found.problem or (found.check_job.message if found.check_job else ""))
        return found

    def _fail(self, message: str) -> NoReturn:
        self.stderr.write(message)
        sys.exit(UNUSABLE)

    def _work(self, title: str, job: Job | None) -> None:
        if job is not None:
            with bar(title) as tell:
                run.work_here(job, lambda progress: tell(progress.done + progress.refused, progress.total))

    def _tell(self, found: Import, *, suspend_timers: bool) -> int:
        """What the check came to; how many rows are refused."""
        bad = [RowOutcomeChoices.REFUSED, *([] if suspend_timers else [RowOutcomeChoices.LOCKED])]
        for row in found.rows.filter(outcome__in=bad).order_by("number").iterator(500):
            for column, value, reason in row.problems:
                place = ", ".join(filter(None, [f"line {row.line}", column, f"“{value}”" if value else ""]))
                self.stderr.write(f"{place}: {reason}")
        self.stdout.write(
            f"{found.added} added, {found.changed} changed, {found.unchanged} unchanged, "
            f"{found.locked} locked by their timers, {found.refused} refused"
        )
        return found.refused + (0 if suspend_timers else found.locked)

    def _apply(self, actor: Actor, found: Import, refused: int, options: dict[str, Any]) -> int:
        try:
            job = imports.apply(
                actor,
                found,
                good_rows_only=options["good_rows_only"],
                suspend_timers=options["suspend_timers"],
            )
        except Conflict as conflict:
            self.stderr.write(str(conflict))
            return refused
        self._work("Applying", job)
        job.refresh_from_db()
        for row in found.rows.filter(state="refused").order_by("number").iterator(500):
            self.stderr.write(f"line {row.line}: {row.message}")
        if job.message:
            self.stderr.write(job.message)
        self.stdout.write(ngettext("%d device applied", "%d devices applied", job.done) % job.done)
        return refused + job.refused + (job.state != "finished")


def _password(file: IO[bytes]) -> str:
    """Asked for where a person can answer; a command line would show it to everyone."""
    if archive.is_archive(file) and sys.stdin.isatty():
        return getpass.getpass("Password of the ZIP file: ")
    return ""
