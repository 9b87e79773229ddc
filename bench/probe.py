"""The probe at speed (F5): handshakes with a TLS server run side by side, with 64 threads and with one.

The server is a process of its own on loopback (`python -m bench.probe PORT FILE`), so both share the machine's cores.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import fleet
from bench.figures import Figure

LOOKS = 3000
ROUNDS = 3
HOST = "127.0.0.1"


def run() -> dict[str, Figure]:
    """A ratio; takes about 20 seconds. The rate itself stands in the remark."""
    fleet.start_peers()  # for the settings alone
    from devices.delivery import probe
    from devices.delivery.connectors.base import Endpoint
    from fleet.demo.device import factory_identity, fingerprint
    from tests.peers.process import free_port, is_listening, wait_until

    with tempfile.TemporaryDirectory() as directory:
        file, port = Path(directory) / "server.pem", free_port()
        identity = factory_identity()
        file.write_text(identity)
        server = subprocess.Popen([sys.executable, "-m", "bench.probe", str(port), str(file)])
        try:
            wait_until(lambda: is_listening(port), timeout=20, what="the TLS server becoming ready")
            rates: dict[int, float] = {}
            for at_once, looks in ((1, LOOKS // 4), (probe.AT_ONCE, LOOKS)):
                for _ in range(ROUNDS):
                    began = time.perf_counter()
                    seen = list(probe.look_at([Endpoint(HOST, port)] * looks, at_once=at_once))
                    rate = looks / (time.perf_counter() - began)
                    rates[at_once] = max(rates.get(at_once, 0.0), rate)
                    leaves = {look.leaf and hashlib.sha256(look.leaf).hexdigest() for look in seen}
                    if leaves != {fingerprint(identity)}:
                        problems = {look.problem for look in seen if look.problem}
                        raise AssertionError(f"not every probe saw the certificate: {problems}")
        finally:
            server.terminate()
            server.wait(10)
    many, one = rates[probe.AT_ONCE], rates[1]
    remark = f"{many:,.0f} probes/s from {probe.AT_ONCE} threads, {one:,.0f} from one (aim 500 a second)"
    return {
        "probe_threads_speedup": Figure(many / one, remark, at_least=1.0),
    }


def serve(port: int, file: str) -> None:
    """Shake hands with whoever comes, until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server((HOST, port), backlog=1024)

    def shake_hands() -> None:
        while True:
            connection, _address = listener.accept()
            connection.settimeout(10)
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

    threads = [threading.Thread(target=shake_hands) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
