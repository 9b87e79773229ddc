"""Requests that nobody thought of, made by schemathesis from the OpenAPI document: none may end in our error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.test import override_settings
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from devices import templates, tokens
from devices.audit import SYSTEM, Actor
from devices.delivery import identify
from devices.jobs import service as jobs
from devices.models import AuditEvent, Webhook, WebhookDelivery
from devices.models.choices import JobKindChoices
from devices.webhooks import service as webhooks
from fleet.wsgi import application
from tests.devices.factories import make_device, make_key, make_server, make_timed_device

pytestmark = pytest.mark.django_db

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""What every answer is held against. Which bodies are refused is more than a schema can say."""

EXAMPLES = 12
"""Requests per operation; with some sixty operations well under a minute."""


@pytest.fixture
def token(administrator: User) -> str:
    return tokens.issue(Actor.of(administrator, AuditEvent.Source.API), name="t", scopes=["full"])[1]


@pytest.fixture
def existing(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, int]]:
    """Ids of what there is, by the beginning of the path, so that requests do not all end in 404."""
    # nobody's network is asked for the devices that are made up here
    monkeypatch.setattr(identify, "_ways", lambda _device: {})
    server = make_server()
    device = make_device(server, ipsec_destinations=["hq"])
    timed = make_timed_device(server)
    key = make_key(device)
    job = jobs.start(SYSTEM, JobKindChoices.MANUAL_REQUEST, [device], {})
    webhook = webhooks.create(SYSTEM, name="W", url="http://127.0.0.1:9/", events=["device.drift"])[0]
    sent = webhooks.send_test(SYSTEM, webhook)
    template = templates.create(SYSTEM, name="T", settings={"key_length": 2048})
    assert (Webhook.objects.count(), WebhookDelivery.objects.count()) == (1, 1)
    return {
        "devices/{device_id}/keys/": {"device_id": device.pk, "id": key.pk},
        "devices/{device_id}/issuance-requests/": {"device_id": timed.pk, "id": timed.requests.get().pk},
        "devices/": {"device_id": device.pk, "id": device.pk},
        "scep-servers/": {"id": server.pk},
        "jobs/": {"id": job.pk, "job_id": job.pk},
        "webhooks/{webhook_id}/": {"webhook_id": webhook.pk, "id": sent.pk},
        "webhooks/": {"id": webhook.pk},
        "settings-templates/": {"id": template.pk},
    }


@pytest.fixture
def kept_connection() -> Iterator[None]:
    """The test's transaction outlives each request, as with Django's own test client."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


def served(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The program as a server runs it: every answer is closed, which schemathesis leaves undone."""
    answer = application(environ, start_response)
    try:
        return list(answer)
    finally:
        answer.close()


def document() -> dict[str, Any]:
    found: dict[str, Any] = SchemaGenerator().get_schema(  # type: ignore[no-untyped-call]
        request=None, public=True
    )
    return found


def send_some(operation: Any, send: Callable[[Any], None]) -> str:
    """Send EXAMPLES requests of one operation, the same ones every time; returns what is wrong with an answer."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        send(case)

    try:
        run()
    except (Exception, BaseExceptionGroup) as error:
        return f"{operation.method.upper()} {operation.path}: {error}"
    return ""


@pytest.mark.usefixtures("kept_connection")
def test_no_request_ends_in_an_error_of_ours(token: str, existing: dict[str, dict[str, int]]) -> None:
    schema = schemathesis.openapi.from_dict(document())
    schema.app = served
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    tried = 0

    def send(case: Any) -> None:
        nonlocal tried
        path = case.operation.path.removeprefix("/api/v1/")
        known = next((ids for start, ids in existing.items() if path.startswith(start)), {})
        if tried % 3:
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        tried += 1
        with transaction.atomic():
            case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
            transaction.set_rollback(True)

    with override_settings(API_RATE=None):
        wrong = [send_some(operation, send) for operation in operations]
    assert not any(wrong), "\n\n".join(filter(None, wrong))
    assert tried >= len(wrong) * EXAMPLES // 3
