"""One step against the responder: what is issued, and what ends as which [Details] line (R17)."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509

from devices.audit import SYSTEM
from devices.enrollment import requests, runner
from devices.models import AuditEvent, Device, IssuanceRequest, KeyAndCertificate, ScepServer
from devices.rules.lifecycle import State
from scep.authority import Authority
from tests.devices.enrollment.steps import Ca, Clock, Rings, ended, timed, work
from tests.devices.factories import CHALLENGE, just_passed, make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db


class TestIssued:
    def test_the_certificate_is_registered_and_the_line_successful(
        self, ca: Ca, clock: Clock, rings: Rings
    ) -> None:
        device = timed(ca, organization="Example", key_use="tls", request_interval_days=30)
        assert work(clock, rings) == 1
        line = ended(device)
        key = KeyAndCertificate.objects.get(device=device)
        assert (line.state, line.details, line.certificate) == (State.SUCCESSFUL, "", key)
        assert line.common_name == device.host, "no common name: the device's own address"
        assert (key.name, key.key_use, key.key_length) == ("SCEP", "tls", 2048)
        certificate = x509.load_pem_x509_certificate(key.certificate.encode())
        assert key.not_after == certificate.not_valid_after_utc
        assert ca.log == [("PKCSReq", "issued")]
        device.refresh_from_db()
        assert (device.status, device.expires_at) == ("successful", key.not_after)

    def test_r12_the_next_request_is_scheduled(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca, request_interval_days=30)
        work(clock, rings)
        following = IssuanceRequest.objects.get(device=device, state=State.SCHEDULED)
        completed = ended(device).completed_at
        assert completed is not None
        assert following.trigger == "periodic"
        assert following.request_at == completed + timedelta(days=30)
        device.refresh_from_db()
        assert device.next_request_at == following.request_at
        clock.ahead = timedelta(days=30, seconds=1)
        assert work(clock, rings) == 1, "and so on"
        assert KeyAndCertificate.objects.filter(device=device).count() == 2

    def test_r8_its_secrets_are_gone(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = make_device(ca.server)
        requests.request_certificate(SYSTEM, device, challenge_password=CHALLENGE)
        work(clock, rings)
        line = ended(device)
        assert line.state == State.SUCCESSFUL
        secrets = (line.private_key_encrypted, line.csr_encrypted, line.challenge_password_encrypted)
        assert secrets == (None, None, None)
        assert not device.scep_settings.has_challenge_password

    def test_r14_the_old_key_of_the_same_use_is_overwritten(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca, key_use="tls", delete_old_key=True, request_interval_days=1)
        work(clock, rings)
        first = KeyAndCertificate.objects.get(device=device)
        clock.ahead = timedelta(days=1, seconds=1)
        work(clock, rings)
        second = KeyAndCertificate.objects.get(device=device)
        assert second.fingerprint_sha256 != first.fingerprint_sha256

    def test_without_r14_the_function_moves_to_the_new_key(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca, key_use="tls", request_interval_days=1)
        work(clock, rings)
        clock.ahead = timedelta(days=1, seconds=1)
        work(clock, rings)
        held = KeyAndCertificate.objects.filter(device=device).order_by("issued_at")
        assert [(key.name, key.key_use) for key in held] == [("SCEP", "none"), ("SCEP-2", "tls")]

    def test_r6_a_function_that_is_off_is_assigned_and_said(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca, key_use="ieee_802_1x")
        work(clock, rings)
        assert KeyAndCertificate.objects.get(device=device).key_use == "ieee_802_1x"
        assert "off on the device" in ended(device).explanation

    def test_it_is_audited(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca)
        work(clock, rings)
        event = AuditEvent.objects.get(action="issuance_request.successful")
        assert (event.target_name, event.actor_name) == (device.name, "system")
        assert event.changes["transaction_id"] == ended(device).transaction_id
        assert CHALLENGE not in str(event.changes)

    def test_capabilities_are_asked_for_once_an_hour(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        handle = ca.responder.handle

        def counting(method: str, query: Any, body: bytes) -> Any:
            asked.append(query["operation"])
            return handle(method, query, body)

        monkeypatch.setattr(ca.responder, "handle", counting)
        for _ in range(3):
            timed(ca)
        work(clock, rings)
        assert asked == ["GetCACaps", "GetCACert", "PKIOperation", "PKIOperation", "PKIOperation"]
        clock.ahead = timedelta(hours=1, seconds=1)
        timed(ca)
        work(clock, rings)
        assert asked[5:] == ["GetCACaps", "GetCACert", "PKIOperation"]

    def test_a_ca_with_new_certificates_is_looked_at_again(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        timed(ca)
        work(clock, rings)
        ca.responder.authority = Authority.create("Renewed CA", now=datetime.now(UTC))
        device = timed(ca)
        work(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert "Renewed CA" in KeyAndCertificate.objects.get(device=device).issuer


class TestErrors:
    """Each fault ends as its [Details] line (R17), at once where R11 says so."""

    @pytest.mark.parametrize(
        ("behavior", "details"),
        [
            ({"fail_info": 0}, "Communication Error (SCEP ERROR Fail Info 0)"),
            ({"fail_info": 1}, "Communication Error (SCEP ERROR Fail Info 1)"),
            ({"fail_info": 2}, "Communication Error (SCEP ERROR Fail Info 2)"),
            ({"fail_info": 3}, "Communication Error (SCEP ERROR Fail Info 3)"),
            ({"fail_info": 4}, "Communication Error (SCEP ERROR Fail Info 4)"),
            ({"html": True}, "Communication Error (TOP ERROR 200)"),
            ({"empty": True}, "Communication Error (TOP ERROR 200)"),
            ({"http_status": 500}, "Communication Error (TOP ERROR 500)"),
            ({"http_status": 404}, "Communication Error (TOP ERROR 404)"),
            ({"reply_for_somebody_else": True}, "Communication Error (SCEP ERROR Fail Info 1)"),
        ],
    )
    def test_what_is_never_polled(
        self, ca: Ca, clock: Clock, rings: Rings, behavior: dict[str, Any], details: str
    ) -> None:
        ca.behave(**behavior)
        device = timed(ca, polling_count=5)
        work(clock, rings)
        line = ended(device)
        assert (line.state, line.details) == (State.FAILED, details)
        assert line.explanation
        assert not KeyAndCertificate.objects.exists()
        device.refresh_from_db()
        assert (device.status, device.details) == ("error", details)

    def test_a_wrong_challenge(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca, challenge_password="wrong")
        work(clock, rings)
        assert ended(device).details == "Communication Error (SCEP ERROR Fail Info 2)"
        assert "the challenge password is wrong" in ended(device).explanation

    @pytest.mark.parametrize(
        ("url", "details"),
        [
            ("http://127.0.0.1:1/scep", "Communication Error (TOP ERROR)"),
            ("http://no-such-host.invalid/scep", "Communication Error (TOP ERROR)"),
            ("{ca}/nowhere", "Communication Error (TOP ERROR 404)"),
        ],
    )
    def test_a_wrong_url(
        self, ca: Ca, clock: Clock, rings: Rings, url: str, details: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # names are not asked for in the network, where some resolvers answer for each with an address of their own
        monkeypatch.setattr(socket, "getaddrinfo", partial(socket.getaddrinfo, flags=socket.AI_NUMERICHOST))
        device = make_timed_device(make_server(url.format(ca=ca.url.removesuffix("/scep"))))
        work(clock, rings)
        assert ended(device).details == details

    def test_r2_a_server_that_does_not_answer_in_time(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        ca.behave(delay=30)
        ScepServer.objects.filter(pk=ca.server.pk).update(timeout=1)
        device = timed(ca)
        work(clock, rings)
        assert ended(device).details == "Communication Error (TOP ERROR)"
        assert "within 1 s" in ended(device).explanation

    def test_r11_the_key_limit_ends_it_before_the_server_is_asked(
        self, ca: Ca, clock: Clock, rings: Rings
    ) -> None:
        device = timed(ca, request_interval_days=1, polling_count=5)
        Device.objects.filter(pk=device.pk).update(key_limit=1)
        work(clock, rings)
        clock.ahead = timedelta(days=1, seconds=1)
        work(clock, rings)
        assert ended(device).details == "Key and Certificate Registration Limit Error"
        assert len(ca.log) == 1

    def test_a_failure_leaves_the_periodic_rhythm(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        ca.behave(fail_info=2)
        device = timed(ca, request_interval_days=30)
        work(clock, rings)
        assert IssuanceRequest.objects.get(
            device=device, state=State.SCHEDULED
        ).request_at == just_passed() + timedelta(days=30)

    def test_a_server_that_was_removed(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca)
        IssuanceRequest.objects.filter(device=device).update(server=None)
        work(clock, rings)
        assert ended(device).explanation == runner.NO_SERVER

    def test_an_address_that_became_too_long(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca)
        Device.objects.filter(pk=device.pk).update(host=f"{'a' * 60}.example.com")
        work(clock, rings)
        assert ended(device).explanation.startswith("No certification request can be made")

    def test_a_secret_that_no_key_opens(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca)
        IssuanceRequest.objects.filter(device=device).update(challenge_password_encrypted=b"rubbish")
        work(clock, rings)
        assert "FLEETSEAL_ENCRYPTION_KEYS" in ended(device).explanation

    def test_our_own_mistakes_are_tried_again_and_end_at_last(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("a mistake of ours")

        device = timed(ca)
        monkeypatch.setattr(runner, "_prepare", broken)
        for _ in range(runner.MOST_TAKEOVERS):
            assert work(clock, rings) == 1
            assert work(clock, rings) == 0, "its lease still runs"
            clock.ahead += timedelta(minutes=5)
        work(clock, rings)
        assert ended(device).explanation == runner.NEVER_ENDED
