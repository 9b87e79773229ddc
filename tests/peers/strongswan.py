"""strongSwan's `pki --scep`, a real SCEP client that this project did not write.

Debian's 5.9.8 wants DES3 in GetCACaps before it sends anything, does not sort the attributes of its CSR, renews with
RenewalReq, and reads no BER.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

SUBJECT = "CN=strong swan"
_PLUGIN = "/usr/lib/ipsec/plugins/libstrongswan-curl.so"


@dataclass(frozen=True, slots=True)
class StrongSwan:
    """The client with its files in `directory`; the certificates that speak for the CA are there after `fetch`."""

    directory: Path
    url: str

    def fetch(self) -> list[str]:
        """GetCACert: the names of the files with the CA's certificate and those of its RA."""
        self._pki("--scepca", "--caout", "ca.der", "--raout", "ra.der", "--force")
        return sorted(path.name for path in self.directory.glob("*.der"))

    def enroll(
        self,
        name: str,
        *,
        challenge: str = "",
        encryption: str = "ca.der",
        signature: str = "ca.der",
        old: str = "",
    ) -> x509.Certificate:
        """A certificate with a new key, in NAME.pem and NAME.key; in place of OLD's when given.

        Raises CalledProcessError, its stderr what the client says.
        """
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (self.directory / f"{name}.key").write_bytes(pem)
        command = ["--scep", "--in", f"{name}.key", "--dn", SUBJECT, "--san", "mfp.example.com"]
        command += ["--cipher", "des3", "--interval", "1", "--maxpolltime", "120", "--outform", "pem"]
        command += ["--cacert-enc", encryption, "--cacert-sig", signature, "--cacert", "ca.der"]
        if challenge:
            command += ["--password", challenge]
        if old:
            command += ["--cert", f"{old}.pem", "--key", f"{old}.key"]
        issued = self._pki(*command)
        (self.directory / f"{name}.pem").write_bytes(issued)
        certificate = x509.load_pem_x509_certificate(issued)
        assert certificate.public_key() == key.public_key()
        return certificate

    def _pki(self, operation: str, *options: str) -> bytes:
        program = shutil.which("pki")
        if program is None or not Path(_PLUGIN).exists():
            raise RuntimeError(
                "the tests need strongSwan's SCEP client: apt-get install strongswan-pki "
                "libstrongswan-extra-plugins (or scripts/install-debian-packages)"
            )
        command = [program, operation, "--url", self.url, *options]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, timeout=300, check=True)
        return done.stdout
