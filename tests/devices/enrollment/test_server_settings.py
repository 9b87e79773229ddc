"""What an administrator decides about a SCEP server: the form of renewals, HTTPS with a private CA, a proxy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.exceptions import ValidationError
from rest_framework.test import APIClient

from devices import inventory
from devices.audit import SYSTEM
from devices.enrollment import connection, requests, runner
from devices.enrollment.turn import Turn
from devices.models import Device, IssuanceRequest, KeyAndCertificate
from scep.authority import Authority
from scep.exchange import HttpRequest
from scep.responder import Responder
from scep.server import serving
from tests.devices.enrollment.steps import Ca, Clock, Rings, ended, timed, work
from tests.devices.factories import CHALLENGE, make_server, make_timed_device
from tests.scep.ways import proxying, server_context

pytestmark = pytest.mark.django_db

PERIOD = timedelta(days=30)


def enrolled_twice(ca: Ca, clock: Clock, rings: Rings, **settings: Any) -> Device:
    """A device that got a certificate, and whose renewal was sent a period later."""
    device = timed(ca, request_interval_days=PERIOD.days, key_use="tls", **settings)
    work(clock, rings)
    assert ended(device).status == "successful"
    clock.ahead += PERIOD + timedelta(minutes=1)
    work(clock, rings)
    return device


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ("renewal_req", "RenewalReq"),
        ("pkcs_req_signed_by_old", "PKCSReq"),
        ("pkcs_req_with_challenge", "PKCSReq"),
    ],
)
def test_renewals_are_asked_for_as_the_server_wants_them(
    ca: Ca, clock: Clock, rings: Rings, form: str, sent: str
) -> None:
    inventory.update_server(SYSTEM, ca.server, renewal_form=form)
    device = enrolled_twice(ca, clock, rings, delete_old_key=True)
    line = ended(device)
    assert (line.status, line.details, line.trigger) == ("successful", "", "periodic"), line.explanation
    assert ca.log == [("PKCSReq", "issued"), (sent, "issued")]
    (key,) = KeyAndCertificate.objects.filter(device=device, key_use="tls")
    assert key.server == ca.server
    # the transaction ID is the public key's hash
    keys = {logged.transaction_id for logged in ca.responder.messages}
    assert len(keys) == 2, "a new key at each renewal (quirk 21)"


def test_the_old_certificate_signs_in_the_forms_that_are_told_apart(
    ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a challenge password the server believes the old certificate alone (RFC 8894 section 2.3)."""
    inventory.update_server(SYSTEM, ca.server, renewal_form="renewal_req")
    device = timed(ca, request_interval_days=PERIOD.days, key_use="tls")
    work(clock, rings)
    requests.save_settings(SYSTEM, device, challenge_password="")
    clock.ahead += PERIOD + timedelta(minutes=1)
    work(clock, rings)
    assert ended(device).status == "successful", ended(device).explanation


def test_what_is_no_renewal_is_asked_for_as_the_first_time(ca: Ca, clock: Clock, rings: Rings) -> None:
    inventory.update_server(SYSTEM, ca.server, renewal_form="renewal_req")
    device = enrolled_twice(ca, clock, rings)
    # by hand, for a key of another use
    requests.save_settings(SYSTEM, device, timer_enabled=False)
    requests.request_certificate(SYSTEM, device, key_name="Other", challenge_password=CHALLENGE)
    work(clock, rings)
    # and once the old certificate has ended, here because somebody set the interval too long
    late = timed(ca, request_interval_days=PERIOD.days, key_use="tls")
    work(clock, rings)
    KeyAndCertificate.objects.filter(device=late).update(not_after=clock())
    clock.ahead += PERIOD + timedelta(minutes=1)
    work(clock, rings)
    assert ended(late).status == "successful"
    assert [kind for kind, _ in ca.log] == ["PKCSReq", "RenewalReq", "PKCSReq", "PKCSReq", "PKCSReq"]


def test_another_servers_certificate_renews_nothing(
    ca: Ca, clock: Clock, rings: Rings, authority: Authority
) -> None:
    device = timed(ca, request_interval_days=PERIOD.days, key_use="tls")
    work(clock, rings)
    with serving(Responder(authority, challenge=CHALLENGE)) as url:
        other = make_server(url, renewal_form="renewal_req")
        requests.save_settings(SYSTEM, device, server=other, suspend_timers=True)
        clock.ahead += PERIOD + timedelta(minutes=1)
        work(clock, rings)
    assert ended(device).status == "successful"
    assert IssuanceRequest.objects.filter(renewal_form="renewal_req").count() == 0


def test_a_renewal_survives_a_worker_that_dies_after_sending(
    ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very same message goes out again: the old certificate and its key are stored with the request."""
    inventory.update_server(SYSTEM, ca.server, renewal_form="renewal_req")
    device = timed(ca, request_interval_days=PERIOD.days, key_use="tls", delete_old_key=True)
    work(clock, rings)
    clock.ahead += PERIOD + timedelta(minutes=1)

    class Killed(BaseException):
        pass

    def die(turn: Turn, message: HttpRequest) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(runner, "_before_send", die)
        with pytest.raises(Killed):
            work(clock, rings)
    request = IssuanceRequest.objects.get(device=device, completed_at=None)
    assert (request.state, request.renewal_form) == ("prepared", "renewal_req")
    # meanwhile the old key goes
    KeyAndCertificate.objects.filter(device=device).delete()
    clock.ahead += timedelta(minutes=5)
    work(clock, rings)
    line = ended(device)
    assert (line.pk, line.status) == (request.pk, "successful")
    assert line.signer_key_encrypted is None, "R8: no secret stays"
    assert ca.log[-1] == ("RenewalReq", "issued")


def test_https_with_a_private_ca(clock: Clock, rings: Rings, tmp_path: Path) -> None:
    authority = Authority.create("Private CA", now=datetime.now(UTC))
    vouching = authority.certificate.public_bytes(Encoding.PEM).decode()
    tls = server_context(tmp_path, authority, "127.0.0.1")
    with serving(Responder(authority, challenge=CHALLENGE), tls=tls) as url:
        trusted = make_timed_device(
            make_server(url, tls_ca_certificates=vouching), challenge_password=CHALLENGE
        )
        stranger = make_timed_device(make_server(url), challenge_password=CHALLENGE)
        work(clock, rings)
    assert ended(trusted).status == "successful", ended(trusted).explanation
    assert ended(stranger).details == "Communication Error (TOP ERROR)"
    assert "TLS" in ended(stranger).explanation


def test_through_a_proxy(ca: Ca, clock: Clock, rings: Rings) -> None:
    with proxying() as proxy:
        inventory.update_server(SYSTEM, ca.server, proxy=f"http://{proxy.address}")
        device = timed(ca)
        work(clock, rings)
    assert ended(device).status == "successful"
    assert proxy.asked[-1] == f"POST {ca.url}"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tls_ca_certificates": "nonsense"}, "in PEM"),
        ({"tls_ca_certificates": "-----BEGIN PRIVATE KEY-----\nMIIB\n"}, "private key"),
        ({"proxy": "proxy.example.com:3128"}, "is not a proxy"),
        ({"proxy": "http://proxy.example.com"}, "is not a proxy"),
        ({"proxy": "http://user:secret@proxy.example.com:3128"}, "no user name"),
        ({"renewal_form": "by_fax"}, "choice"),
    ],
)
def test_bad_input_names_its_field(api: APIClient, fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        make_server(**fields)
    assert set(refused.value.message_dict) == set(fields)
    response = api.post("/api/v1/scep-servers/", {"name": "X", "url": "http://ca.example.com/", **fields})
    assert response.status_code == 400
    (messages,) = response.json()["errors"].values()
    assert words in " ".join(messages)


def test_the_bundle_is_a_file_named_after_what_it_holds(authority: Authority) -> None:
    pem = authority.certificate.public_bytes(Encoding.PEM).decode()
    server = make_server("https://ca.example.com/scep", tls_ca_certificates=pem)
    first = connection._ca_bundle(server)
    assert first is not None
    assert x509.load_pem_x509_certificates(first.read_bytes()) == [authority.certificate]
    inventory.update_server(SYSTEM, server, tls_ca_certificates=pem + pem)
    assert connection._ca_bundle(server) != first
