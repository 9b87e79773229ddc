"""The ways to a server: HTTPS with a private CA, and an HTTP proxy. All on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from scep.authority import Authority
from scep.client import ScepClient
from scep.errors import ConnectionFailed, HttpStatusError
from scep.exchange import Exchange, Issued, Outcome, ServerPolicy, Step
from scep.responder import Responder
from scep.server import serving
from scep.transaction import Transaction
from tests.peers.process import free_port
from tests.scep.enrolling import NOW, PATIENCE, error_of, transaction
from tests.scep.ways import proxying, server_context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Way CA", now=NOW)


@pytest.fixture(scope="module")
def made() -> Transaction:
    return transaction()


def run(url: str, made: Transaction, *, ca_bundle: Path | None = None, proxy: str = "") -> Outcome:
    client = ScepClient(url, timeout=PATIENCE, ca_bundle=ca_bundle, proxy=proxy)
    return client.run(Exchange(made, Step.REQUEST, now=NOW, policy=ServerPolicy()))


class TestTls:
    def test_a_private_ca_vouches_for_the_server(
        self, authority: Authority, made: Transaction, tmp_path: Path
    ) -> None:
        with serving(Responder(authority), tls=server_context(tmp_path, authority, "127.0.0.1")) as url:
            assert url.startswith("https:")
            assert isinstance(run(url, made, ca_bundle=tmp_path / "ca.pem"), Issued)

    def test_nobody_vouches_for_it(self, authority: Authority, made: Transaction, tmp_path: Path) -> None:
        responder = Responder(authority)
        with serving(responder, tls=server_context(tmp_path, authority, "127.0.0.1")) as url:
            error = error_of(run(url, made))
        assert isinstance(error, ConnectionFailed)
        assert "certificate verify failed" in str(error)
        assert "which authorities are trusted" in str(error)
        assert responder.messages == []

    def test_another_ca_vouches_for_another_server(
        self, authority: Authority, made: Transaction, tmp_path: Path
    ) -> None:
        stranger = Authority.create("Way CA", now=NOW)
        (tmp_path / "other.pem").write_bytes(stranger.certificate.public_bytes(Encoding.PEM))
        with serving(Responder(authority), tls=server_context(tmp_path, authority, "127.0.0.1")) as url:
            assert isinstance(error_of(run(url, made, ca_bundle=tmp_path / "other.pem")), ConnectionFailed)

    def test_a_certificate_for_another_name(
        self, authority: Authority, made: Transaction, tmp_path: Path
    ) -> None:
        with serving(Responder(authority), tls=server_context(tmp_path, authority, "10.1.2.3")) as url:
            error = error_of(run(url, made, ca_bundle=tmp_path / "ca.pem"))
        assert isinstance(error, ConnectionFailed)
        assert "127.0.0.1" in str(error)

    def test_one_bundle_is_not_believed_for_the_next_client(
        self, authority: Authority, made: Transaction, tmp_path: Path
    ) -> None:
        """The thread's session keeps connections: what one client trusts must not open them for another."""
        with serving(Responder(authority), tls=server_context(tmp_path, authority, "127.0.0.1")) as url:
            assert isinstance(run(url, made, ca_bundle=tmp_path / "ca.pem"), Issued)
            assert isinstance(error_of(run(url, made)), ConnectionFailed)

    @pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nx\n"])
    def test_a_bundle_without_certificates_is_refused_at_once(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "ca.pem").write_bytes(content)
        with pytest.raises(ValueError, match=r"ca\.pem should hold certificates"):
            ScepClient("https://127.0.0.1/scep", timeout=5, ca_bundle=tmp_path / "ca.pem")
        with pytest.raises(FileNotFoundError):
            ScepClient("https://127.0.0.1/scep", timeout=5, ca_bundle=tmp_path / "missing.pem")


class TestProxy:
    def test_everything_goes_through_it(self, authority: Authority, made: Transaction) -> None:
        with serving(Responder(authority)) as url, proxying() as proxy:
            assert isinstance(run(url, made, proxy=f"http://{proxy.address}"), Issued)
        assert proxy.asked == [f"GET {url}", f"GET {url}", f"POST {url}"]

    def test_none_is_taken_from_the_environment(
        self, authority: Authority, made: Transaction, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(Responder(authority)) as url, proxying() as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://{proxy.address}")
            monkeypatch.setenv("no_proxy", "")
            assert isinstance(run(url, made), Issued)
        assert proxy.asked == []

    def test_a_user_and_a_password(self, authority: Authority, made: Transaction) -> None:
        with serving(Responder(authority)) as url, proxying("user:opensesame-proxy") as proxy:
            assert isinstance(run(url, made, proxy=f"http://user:opensesame-proxy@{proxy.address}"), Issued)
            # a new client without them; GetCACaps may fail, GetCACert may not
            error = error_of(run(url, made, proxy=f"http://{proxy.address}"))
        assert isinstance(error, HttpStatusError)
        assert error.details == "Communication Error (TOP ERROR 407)"
        assert "proxy wants a user name" in str(error)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_nobody_listens_there_and_no_password_shows(self, made: Transaction, scheme: str) -> None:
        proxy = f"http://user:opensesame-proxy@127.0.0.1:{free_port()}"
        error = error_of(run(f"{scheme}://scep.example.com/scep", made, proxy=proxy))
        assert isinstance(error, ConnectionFailed)
        assert "No connection through the HTTP proxy" in str(error)
        assert "opensesame" not in str(error)

    def test_a_tunnel_that_it_does_not_permit(self, made: Transaction) -> None:
        with proxying() as proxy:
            error = error_of(run("https://scep.example.com/scep", made, proxy=f"http://{proxy.address}"))
        assert proxy.asked == ["CONNECT scep.example.com:443"]
        assert isinstance(error, ConnectionFailed)
        assert "403" in str(error)
