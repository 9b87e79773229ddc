"""Bodies that Swagger UI shows, by method and path. A test sends each of them."""

from __future__ import annotations

from typing import Any

_ROOT = "/api/v1"

EXAMPLES: dict[tuple[str, str], Any] = {
    ("POST", f"{_ROOT}/auth/token/"): {"username": "admin", "password": "correct horse battery staple"},
    ("POST", f"{_ROOT}/auth/tokens/"): {
        "name": "CMDB",
        "scopes": ["read", "devices"],
        "expires_at": "2099-12-31T00:00:00Z",
    },
    ("POST", f"{_ROOT}/scep-servers/"): {
        "name": "Office CA",
        "url": "http://ca.example.com/scep",
        "timeout": 30,
        "max_requests_per_minute": 60,
        "max_requests_at_once": 4,
    },
    ("POST", f"{_ROOT}/device-searches/"): {"network": "127.0.0.0/30", "ipp_port": 631},
    ("PATCH", f"{_ROOT}/scep-servers/{{id}}/"): {"timeout": 20, "suspend_timers": True},
    ("POST", f"{_ROOT}/device-groups/"): {
        "name": "Head office",
        "time_zone": "Europe/Berlin",
        "maintenance_start": "22:00",
        "maintenance_end": "05:00",
    },
    ("POST", f"{_ROOT}/devices/"): {
        "name": "hq-3f-01",
        "host": "10.1.3.1",
        "serial_number": "A1",
        "location": "Head office, 3rd floor",
    },
    ("PATCH", f"{_ROOT}/devices/{{id}}/"): {"location": "Head office, 2nd floor"},
    ("PATCH", f"{_ROOT}/devices/{{device_id}}/scep-settings/"): {
        "timer_enabled": True,
        "request_start_at": "2099-01-11T07:00:00+01:00",
        "polling_count": 5,
        "polling_interval_seconds": 300,
        "request_interval_days": 180,
        "key_use": "tls",
        "challenge_password": "opensesame",
    },
    ("POST", f"{_ROOT}/devices/{{device_id}}/issuance-requests/"): {
        "key_name": "SCEP",
        "signature_algorithm": "SHA-256",
        "key_length": 2048,
        "organization": "Example",
        "challenge_password": "opensesame",
    },
    ("POST", f"{_ROOT}/jobs/"): {
        "kind": "manual_request",
        "filter": {"search": "hq"},
        "parameters": {"organization": "Example", "challenge_password": "opensesame"},
    },
    ("POST", f"{_ROOT}/webhooks/"): {
        "name": "CMDB",
        "url": "https://cmdb.example.com/fleetseal",
        "events": ["issuance_request.failed", "certificate.expiring"],
    },
}
