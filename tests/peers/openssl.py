"""What OpenSSL's own client sees of a TLS server."""

from __future__ import annotations

import subprocess


def served(port: int, server_name: str = "") -> str:
    """SHA-256 of the leaf that is served on 127.0.0.1:`port`, in lower-case hexadecimal; without a name no SNI."""
    asked = ["-servername", server_name] if server_name else ["-noservername"]
    seen = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *asked],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    ).stdout
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=seen,
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout.decode()
    return printed.partition("=")[2].strip().replace(":", "").lower()
