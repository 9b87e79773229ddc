"""For orchestrators: `/healthz`, is this process up; `/readyz`, can it do its work. Both are public.

What they answer holds no secret and no address: the log has the reason. A middleware answers them before
any other, because probes come straight to the process: by its address, which is not one of
FLEETSEAL_ALLOWED_HOSTS, without TLS, and without signing in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fleet.celery import app

logger = logging.getLogger(__name__)

BROKER_TIMEOUT = 3
"""Seconds to reach the broker in."""

_migrated = False


class NotMigrated(Exception):
    """Migrations are outstanding: the tables are those of an older release."""


def _database() -> None:
    global _migrated
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    if not _migrated:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise NotMigrated("run `manage.py migrate`")
        # what is applied stays applied: looked at until it is true, not with every probe
        _migrated = True


_IMPATIENT = {"socket_connect_timeout": BROKER_TIMEOUT, "socket_timeout": BROKER_TIMEOUT}


def _broker() -> None:
    with app.connection_for_write(connect_timeout=BROKER_TIMEOUT, transport_options=_IMPATIENT) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT)


CHECKS: dict[str, Callable[[], None]] = {"database": _database, "broker": _broker}


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 and `ok` as long as the process serves requests; neither database nor broker is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when database and broker answer, else 503; `{"database": "ok", "broker": "unavailable"}`."""
    found: dict[str, str] = {}
    for name, check in CHECKS.items():
        try:
            check()
        except NotMigrated:
            found[name] = "not migrated"
        except Exception:  # whatever a driver raises, it is not ready
            logger.exception("not ready: %s", name)
            found[name] = "unavailable"
        else:
            found[name] = "ok"
    return JsonResponse(found, status=200 if set(found.values()) == {"ok"} else 503)


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {"/healthz": healthz, "/readyz": readyz}


class HealthMiddleware:
    """Answers the probes and passes everything else on; the first of MIDDLEWARE."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return PROBES.get(request.path_info, self.get_response)(request)
