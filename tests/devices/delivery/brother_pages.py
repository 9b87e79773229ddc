"""Brother's web pages as public scripts describe them: a fake, see `web_forms.py`, that keeps what it was given.

The list knows each certificate by a number, the page about one shows its serial number and issuer, the web server
serves what was chosen only after its restart (`settle`), and a deletion is confirmed on a second page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from scep import keys
from tests.devices.delivery.issued import authority, certificate
from tests.devices.delivery.web_forms import PASSWORD, Answer, Device, Request, WebForms

SIGN_IN = Answer('<form><input type="password" name="B12a9"></form>')
"""The name of the field is this model's own."""


def _factory() -> dict[str, x509.Certificate]:
    return {number: certificate("factory", authority(), issuer="Factory") for number in ("1", "4")}


@dataclass
class Brother(Device):
    """A device, and how it behaves."""

    certificates: dict[str, x509.Certificate] = field(default_factory=_factory)
    """By their numbers."""
    chosen: str = "1"
    """What the web server serves after its next restart."""
    serial_label: str = "Serial&#32;Number"
    keeps_deleted: bool = False
    """It says that it deletes, and does not."""
    breaks_after_import: bool = False
    _pem: dict[str, bytes] = field(default_factory=dict, repr=False)
    _next: count[int] = field(default_factory=lambda: count(7))

    def settle(self, server: WebForms, folder: Path) -> None:
        """The web server has restarted."""
        path = folder / "chosen.pem"
        path.write_bytes(self._pem[self.chosen])
        server.present(path)

    def number_of(self, fingerprint: str) -> str:
        """Of the certificate with that SHA-256 fingerprint; empty when it is not there."""
        found = self.certificates.items()
        return next((n for n, each in found if each.fingerprint(hashes.SHA256()).hex() == fingerprint), "")

    def brother(self, request: Request) -> Answer:
        """Its pages."""
        path, _query, query = request.path.partition("?")
        match request.method, path:
            case "GET", "/general/status.html":
                return SIGN_IN
            case "POST", "/general/status.html":
                if request.value("B12a9") == PASSWORD and request.value("loginurl"):
                    self.signed_in = True
                    return Answer("welcome", 200, {"Set-Cookie": "AuthCookie=abc; Path=/"})
                return SIGN_IN
            case _ if "AuthCookie=abc" not in request.headers.get("cookie", ""):
                return SIGN_IN
            case "GET", "/net/security/certificate/certificate.html":
                rows = (
                    f'<a href="view.html?idx={number}">View</a> <a href="delete.html?idx={number}">Delete</a>'
                    for number in self.certificates
                )
                return Answer("<br>".join(rows))
            case "GET", "/net/security/certificate/view.html":
                return self._view(query.removeprefix("idx="))
            case _, "/net/security/certificate/import.html":
                return self._import(request)
            case _, "/net/net/certificate/http.html":
                return self._choose(request)
            case _, "/net/security/certificate/delete.html":
                return self._delete(request, query.removeprefix("idx="))
        return Answer(status=404)

    def _view(self, number: str) -> Answer:
        shown = self.certificates.get(number)
        if shown is None:
            return Answer(status=404)
        digits = f"{shown.serial_number:x}"
        pairs = re.findall("..", digits.zfill(len(digits) + len(digits) % 2))
        issuer = shown.issuer.rfc4514_string().replace(" ", "&#32;")
        return Answer(
            f"<dt>{self.serial_label}</dt><dd>{':'.join(pairs)}</dd><dt>Issuer</dt><dd>{issuer}</dd>"
        )

    def _import(self, request: Request) -> Answer:
        if request.method == "GET":
            form = f"<form>{_token(382, 1)}<input type=file name=B820><input type=password name=B821></form>"
            return Answer(form)
        if self.error:
            return Answer(f'<p class="error">{self.error}</p>')
        if not request.headers.get("referer", "").endswith("/import.html"):
            return Answer("imported")
        key, leaf, chain = pkcs12.load_key_and_certificates(
            request.file("B820"), request.value("B821").encode()
        )
        assert key is not None
        assert leaf is not None
        assert chain == [], "the leaf alone"
        self.installed, number = request, str(next(self._next))
        self.certificates[number] = leaf
        self._pem[number] = leaf.public_bytes(Encoding.PEM) + key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        return Answer(status=0) if self.breaks_after_import else Answer("imported")

    def _choose(self, request: Request) -> Answer:
        if request.method == "GET":
            options = "".join(
                f'<option value="{number}"{" selected" if number == self.chosen else ""}>c</option>'
                for number in ("0", *self.certificates)
            )
            other = "<select name=other><option value=a>a</option></select>"
            return Answer(f"<form>{_token(326, 2)}{other}<select name=B903>{options}</select></form>")
        if "B903" in dict(request.fields):
            self.chosen = request.value("B903")
            return Answer(f'<form>{_token(327, 3)}<input type=hidden name=B900 value="4"></form>')
        return Answer(status=0)  # it restarts before it answers

    def _delete(self, request: Request, number: str) -> Answer:
        hidden = (
            '<input type="hidden" name="hidden_certificate_process_control" value="{step}">'
            '<input type="hidden" name="hidden_certificate_idx" value=""><input type="hidden" name="{own}" value="">'
        )
        if request.method == "GET":
            if number not in self.certificates:
                return Answer(status=404)
            return Answer(f"<form>{_token(383, 4)}{hidden.format(step=1, own='Bb0a')}</form>")
        number = request.value("hidden_certificate_idx")
        told = request.value("hidden_certificate_process_control"), request.value("CSRFToken")
        if told == ("1", "c-4") and "Bb0a" in dict(request.fields):
            return Answer(f"<form>{_token(383, 5)}{hidden.format(step=2, own='Bb1c')}</form>")
        if told == ("2", "c-5") and "Bb1c" in dict(request.fields) and not self.keeps_deleted:
            self.certificates.pop(number, None)
        return Answer("deleted")


def _token(page: int, form: int) -> str:
    return (
        f'<input type="hidden" name="pageid" value="{page}">'
        f'<input type="hidden" name="CSRFToken" value="c-{form}">'
    )


def small_serial(number: int, *, issuer: str = "Office CA") -> x509.Certificate:
    """A certificate as a CA makes it that counts."""
    key = keys.generate_rsa()
    made = certificate("10.1.2.3", key, issuer=issuer)
    builder = (
        x509.CertificateBuilder()
        .subject_name(made.subject)
        .issuer_name(made.issuer)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
    )
    return builder.sign(authority(), hashes.SHA256())
