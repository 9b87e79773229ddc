"""One step at a time against the responder: every outcome, every fault, every crash."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from django.db import connection, connections

from devices.audit import SYSTEM
from devices.enrollment import dispatch, doorbell, ending, requests, runner
from devices.enrollment.turn import Turn
from devices.models import AuditEvent, Device, IssuanceRequest, KeyAndCertificate, ScepServer
from devices.rules.lifecycle import State
from scep.authority import Authority
from scep.client import ScepClient
from scep.exchange import HttpRequest
from scep.responder import Behavior, Responder
from scep.server import serving
from tests.devices.factories import CHALLENGE, START, make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db


class Clock:
    """The runner's clock: real time, moved forward on demand."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Ca:
    """A responder in this process, and a server row that leads there."""

    def __init__(self, responder: Responder, url: str) -> None:
        self.responder = responder
        self.server = make_server(url)
        self.url = url

    def behave(self, **behavior: Any) -> None:
        """From now on."""
        self.responder.behavior = Behavior(**behavior)

    @property
    def log(self) -> list[tuple[str, str]]:
        """Type and outcome of every message."""
        return [(message.message_type, message.outcome) for message in self.responder.messages]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Runner CA", now=datetime.now(UTC))


@pytest.fixture
def ca(authority: Authority, db: None) -> Iterator[Ca]:
    responder = Responder(authority, challenge=CHALLENGE)
    with serving(responder) as url:
        yield Ca(responder, url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[uuid.UUID, list[int]]]:
    """What the dispatcher rang for, in place of a broker."""
    rung: list[tuple[uuid.UUID, list[int]]] = []

    def ring(lease: uuid.UUID, ids: Any) -> bool:
        rung.append((lease, list(ids)))
        return True

    monkeypatch.setattr(doorbell, "ring_workers", ring)
    return rung


def work(clock: Clock, rings: list[tuple[uuid.UUID, list[int]]]) -> int:
    """Dispatch and take one step of everything that is due; returns how many were claimed."""
    claimed = dispatch.dispatch_due(clock())
    while rings:
        lease, ids = rings.pop(0)
        for request_id in ids:
            runner.advance(request_id, lease, clock=clock)
    return claimed


def timed(ca: Ca, **settings: Any) -> Device:
    return make_timed_device(ca.server, **{"challenge_password": CHALLENGE, **settings})


def ended(device: Device) -> IssuanceRequest:
    """The newest ended request of the device."""
    found = IssuanceRequest.objects.filter(device=device, completed_at__isnull=False).first()
    assert found is not None
    return found


class TestIssued:
    def test_the_certificate_is_registered_and_the_line_successful(
        self, ca: Ca, clock: Clock, rings: Any
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

    def test_r12_the_next_request_is_scheduled(self, ca: Ca, clock: Clock, rings: Any) -> None:
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

    def test_r8_its_secrets_are_gone(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = make_device(ca.server)
        requests.request_certificate(SYSTEM, device, challenge_password=CHALLENGE)
        work(clock, rings)
        line = ended(device)
        assert line.state == State.SUCCESSFUL
        secrets = (line.private_key_encrypted, line.csr_encrypted, line.challenge_password_encrypted)
        assert secrets == (None, None, None)
        assert not device.scep_settings.has_challenge_password

    def test_r14_the_old_key_of_the_same_use_is_overwritten(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = timed(ca, key_use="tls", delete_old_key=True, request_interval_days=1)
        work(clock, rings)
        first = KeyAndCertificate.objects.get(device=device)
        clock.ahead = timedelta(days=1, seconds=1)
        work(clock, rings)
        second = KeyAndCertificate.objects.get(device=device)
        assert second.fingerprint_sha256 != first.fingerprint_sha256

    def test_without_r14_the_function_moves_to_the_new_key(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = timed(ca, key_use="tls", request_interval_days=1)
        work(clock, rings)
        clock.ahead = timedelta(days=1, seconds=1)
        work(clock, rings)
        held = KeyAndCertificate.objects.filter(device=device).order_by("issued_at")
        assert [(key.name, key.key_use) for key in held] == [("SCEP", "none"), ("SCEP-2", "tls")]

    def test_r6_a_function_that_is_off_is_assigned_and_said(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = timed(ca, key_use="ieee_802_1x")
        work(clock, rings)
        assert KeyAndCertificate.objects.get(device=device).key_use == "ieee_802_1x"
        assert "off on the device" in ended(device).explanation

    def test_it_is_audited(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = timed(ca)
        work(clock, rings)
        event = AuditEvent.objects.get(action="issuance_request.successful")
        assert (event.target_name, event.actor_name) == (device.name, "system")
        assert event.changes["transaction_id"] == ended(device).transaction_id
        assert CHALLENGE not in str(event.changes)

    def test_capabilities_are_asked_for_once_an_hour(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
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

    def test_a_ca_with_new_certificates_is_looked_at_again(self, ca: Ca, clock: Clock, rings: Any) -> None:
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
        self, ca: Ca, clock: Clock, rings: Any, behavior: dict[str, Any], details: str
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

    def test_a_wrong_challenge(self, ca: Ca, clock: Clock, rings: Any) -> None:
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
    def test_a_wrong_url(self, ca: Ca, clock: Clock, rings: Any, url: str, details: str) -> None:
        device = make_timed_device(make_server(url.format(ca=ca.url.removesuffix("/scep"))))
        work(clock, rings)
        assert ended(device).details == details

    def test_r2_a_server_that_does_not_answer_in_time(self, ca: Ca, clock: Clock, rings: Any) -> None:
        ca.behave(delay=1.5)
        ScepServer.objects.filter(pk=ca.server.pk).update(timeout=1)
        device = timed(ca)
        work(clock, rings)
        assert ended(device).details == "Communication Error (TOP ERROR)"
        assert "within 1 s" in ended(device).explanation

    def test_r11_the_key_limit_ends_it_before_the_server_is_asked(
        self, ca: Ca, clock: Clock, rings: Any
    ) -> None:
        device = timed(ca, request_interval_days=1, polling_count=5)
        Device.objects.filter(pk=device.pk).update(key_limit=1)
        work(clock, rings)
        clock.ahead = timedelta(days=1, seconds=1)
        work(clock, rings)
        assert ended(device).details == "Key and Certificate Registration Limit Error"
        assert len(ca.log) == 1

    def test_a_failure_leaves_the_periodic_rhythm(self, ca: Ca, clock: Clock, rings: Any) -> None:
        ca.behave(fail_info=2)
        device = timed(ca, request_interval_days=30)
        work(clock, rings)
        assert IssuanceRequest.objects.get(
            device=device, state=State.SCHEDULED
        ).request_at == START + timedelta(days=30)

    def test_a_server_that_was_removed(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = timed(ca)
        IssuanceRequest.objects.filter(device=device).update(server=None)
        work(clock, rings)
        assert ended(device).explanation == runner.NO_SERVER

    def test_a_secret_that_no_key_opens(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = timed(ca)
        IssuanceRequest.objects.filter(device=device).update(challenge_password_encrypted=b"rubbish")
        work(clock, rings)
        assert "FLEETSEAL_ENCRYPTION_KEYS" in ended(device).explanation

    def test_our_own_mistakes_are_tried_again_and_end_at_last(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
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


class TestPolling:
    """R11: [Perform Polling When Communication Error Occurs or When Issuance Request Is Deferred]."""

    def test_pending_is_polled_in_the_interval_until_issued(self, ca: Ca, clock: Clock, rings: Any) -> None:
        ca.behave(pending=2)
        device = timed(ca, polling_count=3, polling_interval_seconds=60)
        work(clock, rings)
        waiting = IssuanceRequest.objects.get(device=device)
        assert (waiting.state, waiting.polls_left, waiting.lease) == (State.PENDING, 2, None)
        device.refresh_from_db()
        assert device.status == "processing"
        clock.ahead = timedelta(seconds=58)
        assert work(clock, rings) == 0
        for seconds in (61, 122):
            clock.ahead = timedelta(seconds=seconds)
            assert work(clock, rings) == 1
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "pending"), ("CertPoll", "pending"), ("CertPoll", "issued")]

    def test_deferred_when_no_poll_is_left(self, ca: Ca, clock: Clock, rings: Any) -> None:
        ca.behave(pending=9)
        device = timed(ca, polling_count=1, polling_interval_seconds=60)
        work(clock, rings)
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        assert ended(device).details == "Deferred"

    def test_a_manual_request_is_not_polled(self, ca: Ca, clock: Clock, rings: Any) -> None:
        ca.behave(pending=1)
        device = make_device(ca.server, settings={"polling_count": 5})
        requests.request_certificate(SYSTEM, device, challenge_password=CHALLENGE)
        work(clock, rings)
        assert ended(device).details == "Deferred"

    def test_no_connection_is_tried_again_with_the_same_key(self, ca: Ca, clock: Clock, rings: Any) -> None:
        ca.behave(drop=True)
        device = timed(ca, polling_count=2, polling_interval_seconds=60)
        work(clock, rings)
        waiting = IssuanceRequest.objects.get(device=device)
        assert waiting.state == State.SENT
        ca.behave()
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        line = ended(device)
        assert (line.state, line.transaction_id) == (State.SUCCESSFUL, waiting.transaction_id)
        assert ca.log == [("CertPoll", "failure 4"), ("PKCSReq", "issued")]

    def test_a_server_that_is_down_has_seen_nothing(self, clock: Clock, rings: Any, db: None) -> None:
        device = make_timed_device(make_server(), polling_count=1, polling_interval_seconds=60)
        work(clock, rings)
        assert IssuanceRequest.objects.get(device=device).state == State.PREPARED
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        assert ended(device).details == "Communication Error (TOP ERROR)"

    def test_a_lost_reply_is_asked_for_and_nothing_is_issued_twice(
        self, ca: Ca, clock: Clock, rings: Any
    ) -> None:
        ca.behave(drop_replies=1)
        device = timed(ca, polling_count=2, polling_interval_seconds=60)
        work(clock, rings)
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "issued"), ("CertPoll", "again")]


class Killed(BaseException):
    """As kill -9 would: nothing after it runs."""


class TestCrashes:
    """Killed anywhere, the request goes on with its first key and transaction ID."""

    def kill_at(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def once(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(owner, name, original)
            raise Killed

        monkeypatch.setattr(owner, name, once)

    def crash_and_go_on(self, clock: Clock, rings: Any) -> None:
        with pytest.raises(Killed):
            work(clock, rings)
        assert work(clock, rings) == 0, "its lease still runs"
        clock.ahead += timedelta(minutes=5)
        assert work(clock, rings) == 1

    def test_before_the_first_byte(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        self.kill_at(monkeypatch, ScepClient, "_send")
        self.crash_and_go_on(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "issued")], "the server had seen nothing: no CertPoll is needed"

    def test_between_committing_and_sending(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timed(ca)
        work(clock, rings)
        device = timed(ca)
        self.kill_at(monkeypatch, ScepClient, "_send")
        with pytest.raises(Killed):
            work(clock, rings)
        crashed = IssuanceRequest.objects.get(device=device)
        assert crashed.state == State.SENT
        clock.ahead += timedelta(minutes=5)
        work(clock, rings)
        assert ended(device).transaction_id == crashed.transaction_id
        assert ca.log[1:] == [("CertPoll", "failure 4"), ("PKCSReq", "issued")]

    def test_between_the_answer_and_its_record(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        self.kill_at(monkeypatch, ending, "successful")
        self.crash_and_go_on(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "issued"), ("CertPoll", "again")]
        assert len({message.public_key_sha256 for message in ca.responder.messages}) == 1

    def test_while_the_key_is_made(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        self.kill_at(monkeypatch, runner, "new_transaction")
        self.crash_and_go_on(clock, rings)
        assert ended(device).state == State.SUCCESSFUL

    def test_a_doubled_or_late_task_does_nothing(self, ca: Ca, clock: Clock, rings: Any) -> None:
        device = timed(ca)
        dispatch.dispatch_due(clock())
        ((lease, ids),) = rings
        for _ in range(3):
            runner.advance(ids[0], lease, clock=clock)
        assert ca.log == [("PKCSReq", "issued")]
        assert ended(device).state == State.SUCCESSFUL

    def test_a_worker_that_was_thought_dead_cannot_write_over_its_successor(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        send = runner._before_send
        overtaken: list[Turn] = []

        def slow(turn: Turn, message: HttpRequest) -> None:
            if not overtaken:
                overtaken.append(turn)
                clock.ahead += timedelta(minutes=5)
                work(clock, rings)  # the successor does it all
            send(turn, message)

        monkeypatch.setattr(runner, "_before_send", slow)
        work(clock, rings)
        assert ca.log == [("PKCSReq", "issued")], "the overtaken worker sent nothing"
        assert ended(device).state == State.SUCCESSFUL
        assert KeyAndCertificate.objects.filter(device=device).count() == 1

    def test_a_device_that_is_deleted_meanwhile(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        send = runner._before_send

        def deleted(turn: Turn, message: HttpRequest) -> None:
            send(turn, message)
            Device.objects.filter(pk=device.pk).delete()

        monkeypatch.setattr(runner, "_before_send", deleted)
        work(clock, rings)
        assert not KeyAndCertificate.objects.exists()

    def test_a_timer_that_is_switched_off_meanwhile(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca, request_interval_days=30)
        send = runner._before_send

        def off(turn: Turn, message: HttpRequest) -> None:
            send(turn, message)
            requests.save_settings(SYSTEM, device, timer_enabled=False)

        monkeypatch.setattr(runner, "_before_send", off)
        work(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert not IssuanceRequest.objects.filter(device=device, state=State.SCHEDULED).exists()


class TestNetwork:
    def test_no_transaction_spans_the_network(
        self, ca: Ca, clock: Clock, rings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        depth = len(connection.savepoint_ids)
        original = ScepClient._send

        def watched(client: ScepClient, request: HttpRequest) -> Any:
            assert len(connection.savepoint_ids) == depth
            return original(client, request)

        monkeypatch.setattr(ScepClient, "_send", watched)
        device = timed(ca)
        work(clock, rings)
        assert ended(device).state == State.SUCCESSFUL


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_the_same_task_send_one_request(ca: Ca, clock: Clock, rings: Any) -> None:
    devices = [timed(ca) for _ in range(4)]
    dispatch.dispatch_due(clock())
    start = threading.Barrier(2)

    def worker() -> None:
        start.wait(10)
        for lease, ids in list(rings):
            for request_id in ids:
                runner.advance(request_id, lease, clock=clock)
        connections.close_all()

    threads = [threading.Thread(target=worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [ended(device).state for device in devices] == [State.SUCCESSFUL] * 4
    assert sorted(ca.log) == [("PKCSReq", "issued")] * 4
