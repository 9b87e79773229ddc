"""The OpenAPI document, Swagger UI without the internet, and the guide's examples."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

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
