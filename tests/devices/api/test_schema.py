"""The OpenAPI document, Swagger UI without the internet, and the guide's examples."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from devices.api.examples import EXAMPLES
from devices.models import ScepServer
from tests.devices.factories import make_device, make_server

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "api.md"


def test_the_document_has_no_warnings() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=StringIO())


@pytest.mark.django_db
def test_swagger_ui_comes_from_here(viewer_api: APIClient) -> None:
    page = viewer_api.get("/api/v1/docs/").content.decode()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


@pytest.mark.django_db
def test_the_guides_examples_work_in_their_order(api: APIClient) -> None:
    """Each example is a request line, its JSON, and the status that follows it."""
    text = GUIDE.read_text()
    examples = re.findall(r"```http\n(\w+) (\S+)\n(.*?)```\n+→ (\d{3})", text, re.DOTALL)
    assert len(examples) >= 5
    for method, address, body, status in examples:
        data = json.loads(body) if body.strip() else None
        response = api.generic(
            method, address, json.dumps(data) if data is not None else "", content_type="application/json"
        )
        assert response.status_code == int(status), (method, address, response.content)


class TestDocument:
    @pytest.fixture
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        return found

    def test_every_operation_says_what_it_is_and_what_may_come_back(self, document: dict[str, Any]) -> None:
        tags = {tag["name"] for tag in document["tags"]}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                where = f"{method} {path}"
                assert operation["description"], where
                assert operation["summary"], where
                assert set(operation["tags"]) <= tags, where
                assert {"400", "401", "429"} <= set(operation["responses"]), where
                headers = {
                    parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"
                }
                if method in {"put", "patch", "delete"}:
                    assert "If-Match" in headers, where
                    assert "412" in operation["responses"], where

    def test_there_is_one_way_to_sign_in_with_a_token(self, document: dict[str, Any]) -> None:
        assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"

    def test_every_example_belongs_to_an_operation(self, document: dict[str, Any]) -> None:
        for method, path in EXAMPLES:
            operation = document["paths"][path][method.lower()]
            assert operation["requestBody"]["content"]["application/json"]["examples"], path


@pytest.mark.django_db
def test_the_documents_examples_work(api: APIClient) -> None:
    User.objects.create_superuser("admin", password="correct horse battery staple")
    device = make_device(make_server(), name="hq-0f-00")
    ids = {"id": device.pk, "device_id": device.pk}
    for (method, path), body in EXAMPLES.items():
        if path.endswith("scep-servers/{id}/"):
            ids["id"] = ScepServer.objects.latest("pk").pk
        elif path.endswith("devices/{id}/"):
            ids["id"] = device.pk
        elif path.endswith("issuance-requests/"):
            ids["device_id"] = make_device(make_server()).pk
        response = getattr(api, method.lower())(path.format(**ids), body)
        assert response.status_code in {200, 201, 202}, (method, path, response.content)
