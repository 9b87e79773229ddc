"""Settings, the status log, manual requests and keys over REST (R4 to R18)."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.models import Device, IssuanceRequest, ScepSettings
from tests.devices.factories import CHALLENGE, just_passed, make_device, make_key, make_server

pytestmark = pytest.mark.django_db


def of(device: Device, name: str) -> str:
    return f"/api/v1/devices/{device.pk}/{name}/"


class TestScepSettings:
    def test_they_come_out_under_their_names(self, api: APIClient) -> None:
        settings = api.get(of(make_device(), "scep-settings")).json()
        assert set(settings) == {
            *("server", "timer_enabled", "request_start_at", "auto_adjust", "offset_seconds"),
            *("polling_count", "polling_interval_seconds", "request_interval_days", "next_request_at"),
            *("renew_at_percent", "renew_days_before"),
            *("auto_restart", "delete_old_key", "key_name", "signature_algorithm", "key_length"),
            *("organization", "common_name", "has_challenge_password", "key_use", "ipsec_destination"),
        }

    def test_the_timer_is_switched_on(self, api: APIClient) -> None:
        device, server = make_device(), make_server()
        response = api.patch(
            of(device, "scep-settings"),
            {
                "server": server.pk,
                "timer_enabled": True,
                "request_start_at": just_passed().isoformat(),
                "challenge_password": CHALLENGE,
            },
        )
        settings = response.json()
        assert response.status_code == 200
        assert 1 <= settings["offset_seconds"] <= 600
        assert settings["has_challenge_password"] is True
        assert CHALLENGE not in response.content.decode()
        line = api.get(of(device, "issuance-requests")).json()["results"][0]
        assert (line["status"], line["trigger"]) == ("to_be_processed", "timer")
        assert line["request_at"] == settings["next_request_at"]

    def test_get_edit_put(self, api: APIClient) -> None:
        device = make_device(make_server(), settings={"challenge_password": CHALLENGE})
        settings = api.get(of(device, "scep-settings")).json()
        settings["polling_count"] = 7
        assert api.put(of(device, "scep-settings"), settings).json()["polling_count"] == 7
        assert ScepSettings.objects.get(device=device).has_challenge_password

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [
            ({"signature_algorithm": "sha512"}, "SHA-512"),
            ({"signature_algorithm": "Sha-384"}, "SHA-384"),
            ({"key_use": "IEEE 802.1X"}, "ieee_802_1x"),
            ({"key_use": "TLS"}, "tls"),
            ({"key_length": "3072"}, 3072),
        ],
    )
    def test_choices_in_any_usual_spelling(
        self, api: APIClient, sent: dict[str, Any], stored: object
    ) -> None:
        response = api.patch(of(make_device(), "scep-settings"), sent)
        (name,) = sent
        assert response.json()[name] == stored

    @pytest.mark.parametrize(
        ("sent", "field"),
        [
            ({"signature_algorithm": "md5"}, "signature_algorithm"),
            ({"key_length": 512}, "key_length"),
            ({"polling_count": 101}, "polling_count"),
            ({"polling_interval_seconds": 0}, "polling_interval_seconds"),
            ({"request_interval_days": 0}, "request_interval_days"),
            ({"request_start_at": "tomorrow"}, "request_start_at"),
            ({"timer_enabled": True}, "server"),
            ({"key_use": "ipsec"}, "ipsec_destination"),
            ({"server": 77}, "server"),
            ({"key_lenght": 2048}, "key_lenght"),
            ({"common_name": "a b"}, "common_name"),
        ],
    )
    def test_bad_values_are_refused_by_name(self, api: APIClient, sent: dict[str, Any], field: str) -> None:
        device = make_device()
        response = api.patch(of(device, "scep-settings"), sent | {"organization": "Example"})
        assert response.status_code == 400, response.json()
        assert field in response.json()["errors"]
        assert ScepSettings.objects.get(device=device).organization == ""

    def test_r3_the_lock(self, api: APIClient) -> None:
        device = make_device(
            make_server(), settings={"timer_enabled": True, "request_start_at": just_passed()}
        )
        response = api.patch(of(device, "scep-settings"), {"server": make_server().pk})
        assert (response.status_code, response.json()["code"]) == (409, "timer_enabled")


class TestIssuanceRequests:
    def test_a_manual_request(self, api: APIClient) -> None:
        device = make_device(make_server(), settings={"organization": "Stored"})
        response = api.post(
            of(device, "issuance-requests"),
            {"common_name": "mfp.example.com", "key_use": "TLS", "challenge_password": CHALLENGE},
        )
        line = response.json()
        assert response.status_code == 201
        assert (line["status"], line["trigger"], line["key_use"]) == ("to_be_processed", "manual", "tls")
        assert (line["organization"], line["certificate"], line["completed_at"]) == ("", None, None)
        assert CHALLENGE not in response.content.decode()
        again = api.post(of(device, "issuance-requests"), {})
        assert (again.status_code, again.json()["code"]) == (409, "request_open")

    def test_r7_not_while_the_timer_is_on(self, api: APIClient) -> None:
        device = make_device(
            make_server(), settings={"timer_enabled": True, "request_start_at": just_passed()}
        )
        response = api.post(of(device, "issuance-requests"), {})
        assert (response.status_code, response.json()["code"]) == (409, "timer_enabled")

    def test_r18_the_log_newest_first_with_its_certificates(self, api: APIClient) -> None:
        device = make_device()
        key = make_key(device, serial_number="1F")
        IssuanceRequest.objects.bulk_create(
            IssuanceRequest(
                device=device,
                sequence=sequence,
                trigger="timer",
                state="failed" if sequence % 2 else "successful",
                details="Deferred" if sequence % 2 else "",
                certificate=None if sequence % 2 else key,
                request_at=just_passed(),
                completed_at=just_passed(),
            )
            for sequence in range(5, 25)
        )
        lines = api.get(of(device, "issuance-requests")).json()["results"]
        assert len(lines) == 20
        assert [line["status"] for line in lines[:2]] == ["successful", "error"]
        assert lines[1]["details"] == "Deferred"
        assert (lines[0]["key"], lines[0]["certificate"]) == (key.pk, "PEM")
        assert (lines[1]["key"], lines[1]["certificate"]) == (None, None)
        one = api.get(f"{of(device, 'issuance-requests')}{lines[0]['id']}/").json()
        assert one == lines[0]

    def test_keys(self, api: APIClient) -> None:
        device = make_device()
        make_key(device)
        (key,) = api.get(of(device, "keys")).json()["results"]
        assert (key["name"], key["certificate"], key["delivered_at"]) == ("SCEP", "PEM", None)
        assert not any("private" in name for name in key)
