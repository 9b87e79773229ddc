"""`manage.py export_devices FILE --format csv|xml`: every device with its settings, without secrets (R19)."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import ngettext

from devices.audit import Actor
from devices.filters import select_devices
from devices.management.progress import bar
from devices.models import AuditEvent
from devices.models.choices import FileFormatChoices
from devices.transfer import exporter


class Command(BaseCommand):
    """What `import_devices` takes back."""

    help = "Write every device with its settings into a file. Secrets are left out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """FILE and its format."""
        parser.add_argument("file", metavar="FILE", help="is replaced when it exists")
        parser.add_argument("--format", choices=FileFormatChoices.values, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError for a file that cannot be written."""
        actor = Actor(None, getpass.getuser(), AuditEvent.Source.COMMAND)
        selected = select_devices(query={})
        total = selected.count()
        try:
            with Path(options["file"]).open("wb") as file, bar("Exporting") as tell:
                chosen = FileFormatChoices(options["format"])
                for piece in exporter.devices(
                    actor, selected, chosen, {}, told=lambda done: tell(done, total)
                ):
                    file.write(piece)
        except OSError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(ngettext("%d device exported", "%d devices exported", total) % total)
