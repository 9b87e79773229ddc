"""The Celery application: `celery -A fleet worker --pool threads` and `celery -A fleet beat`."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")

app = Celery("fleet")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def leave_logging_to_django(**_: Any) -> None:
    """Celery sets up no logging of its own while somebody listens to this signal: LOGGING holds everywhere."""
