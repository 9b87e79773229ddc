"""What the OpenAPI document says of all addresses alike: how to sign in, problems, versions, and sending again."""

from __future__ import annotations

import copy
import re
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from devices.api.conditional import CHANGING
from devices.api.examples import EXAMPLES
from devices.api.problems import CONTENT_TYPE

_SUMMARIES = {
    "list": "List",
    "create": "Add",
    "retrieve": "Look at one",
    "update": "Change one",
    "partial_update": "Change some of one",
    "destroy": "Delete one",
}

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer"},
        "detail": {
            "type": "string",
            "description": "What was expected, what came, and how to go on; for people.",
        },
        "code": {"type": "string", "description": "Stable; for programs."},
        "errors": {
            "type": "object",
            "description": "Messages by field; for a list of rows by the row's index, from 0.",
            "additionalProperties": True,
        },
        "line": {"type": "integer", "description": "Where a body is no JSON, from 1."},
        "column": {"type": "integer", "description": "Where a body is no JSON, from 1."},
    },
}

_WORDS = {
    400: "The request has errors; `errors` names each field.",
    401: "There is no token, or it is unknown, has expired, or was revoked.",
    403: "The user, or the scopes of the token, do not permit it.",
    404: "There is no such thing.",
    406: "`Accept` asks for what there is not.",
    409: "It conflicts with how things stand; `detail` says how to go on.",
    412: "It was changed after it was read.",
    413: "The body is larger than it may be here.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key stands for another request.",
    429: "Too many calls; `Retry-After` says in how many seconds to try again.",
}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API tokens, as Swagger UI's [Authorize] takes them."""

    target_class = "devices.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """RFC 6750's scheme; `Token` in its place works too."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of `auth/tokens/`, or of `auth/token/` for user name and password.",
        }


class Schema(AutoSchema):
    """Operations with a summary, so that those of one resource can be told apart at a glance."""

    def get_summary(self) -> str | None:
        """What the view says, else what the action of a resource does, else the description's first sentence."""
        known = super().get_summary() or _SUMMARIES.get(getattr(self.view, "action", None) or "")
        return known or _first_sentence(self.get_description() or "") or None


def _first_sentence(description: str) -> str:
    """Up to its full stop or semicolon, on one line."""
    return re.split(r"[.;](?:\s|$)", " ".join(description.split()), maxsplit=1)[0]


def describe_alike(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Add what holds for every operation; a postprocessing hook of drf-spectacular."""
    schemas = result["components"]["schemas"]
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if field.get("format") == "time":
                # JSON Schema's `time` has an offset; these are of the group's time zone
                field["format"] = "partial-time"
    schemas["Problem"] = _PROBLEM
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            _describe(path, method.upper(), operation)
    return result


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    responses, parameters = operation["responses"], operation.setdefault("parameters", [])
    needs_token = any(operation.get("security", [{}]))
    if needs_token and method == "GET":
        parameters.append(
            _header("If-None-Match", "The ETag of the version that you have: 304 while it holds.")
        )
        responses["304"] = {"description": "You have it."}
        for response in (responses[status] for status in responses if status == "200"):
            response["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "The version."}}
    if needs_token and method == "POST":
        parameters.append(
            _header("Idempotency-Key", "Sent again with the same key, it is not done again.", maxLength=257)
        )
    if method in CHANGING:
        parameters.append(
            _header("If-Match", "The ETag of the version that you read: 412 when it has changed.")
        )
    for status in sorted(_problems(path, method, operation, needs_token)):
        responses.setdefault(str(status), _problem(status))
    operation["responses"] = dict(sorted(responses.items()))
    example = EXAMPLES.get((method, path))
    if example is not None:
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = {"example": {"value": copy.deepcopy(example)}}


def _problems(path: str, method: str, operation: dict[str, Any], needs_token: bool) -> set[int]:
    found = {400, 401, 403, 406, 429} if needs_token else {400, 401, 406, 429}
    if "{" in path:
        found.add(404)
    if method != "GET":
        found.add(409)
    if path.endswith("/fingerprint/"):
        # the device is asked, and may not answer
        found.add(409)
    if method in CHANGING:
        found.add(412)
    if "requestBody" in operation:
        found.add(415)
    if method == "POST" and needs_token:
        found |= {413, 422}
    return found


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "in": "header",
        "name": name,
        "schema": {"type": "string", **schema},
        "description": description,
    }


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": _WORDS[status],
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
