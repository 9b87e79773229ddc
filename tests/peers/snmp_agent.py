"""Debian's `snmpd` as the agent of a printer: its `override` lines serve what a printer's agent serves.

It restarts nothing by itself: `SnmpAgent.cycle` stops and starts it, as a printer does after prtGeneralReset, and
`SnmpAgent.obeying` does so whenever it was told to. Its snmpEngineBoots counts that.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.peers.process import free_port, running

USERNAME, AUTH_PASSWORD, PRIVACY_PASSWORD = "fleetseal", "auth-pass-7731", "privacy-pass-7731"
COMMUNITY = "community-7731"
READ_ONLY = "looks-only-7731"

RESET = "1.3.6.1.2.1.43.5.1.1.3.1"
IDLE_RESET = "3"
"""notResetting (RFC 3805, prtGeneralReset)."""
STATUS = "1.3.6.1.2.1.25.3.5.1.1.1"

_CONFIGURATION = """
agentaddress {addresses}
rwcommunity {community} 127.0.0.1
rocommunity {read_only} 127.0.0.1
createUser {username} SHA-256 {auth} AES {privacy}
rwuser {username} authPriv
sysDescr Example Network Printer, Firmware: 2.1.0-b7
override 1.3.6.1.2.1.25.3.2.1.3.1 octet_str "Example MFP 4000"
override -rw {status} integer 3
override 1.3.6.1.2.1.43.5.1.1.17.1 octet_str "SN-7731"
override -rw {reset} integer {idle_reset}
"""


class SnmpAgent:
    """A running snmpd."""

    def __init__(self, directory: Path, program: str, hosts: Sequence[str]) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self._directory, self._program = directory, program
        self._running: contextlib.AbstractContextManager[subprocess.Popen[bytes]] | None = None
        (directory / "snmpd.conf").write_text(
            _CONFIGURATION.format(
                addresses=",".join(f"udp:{host}:{self.port}" for host in hosts),
                community=COMMUNITY,
                read_only=READ_ONLY,
                username=USERNAME,
                auth=AUTH_PASSWORD,
                privacy=PRIVACY_PASSWORD,
                status=STATUS,
                reset=RESET,
                idle_reset=IDLE_RESET,
            )
        )

    def start(self) -> None:
        """Listen again; snmpEngineBoots is one higher."""
        log = self._directory / "snmpd.log"
        log.write_text("")
        self._running = running(
            [self._program, "-f", "-Lo"],
            ready=lambda: "NET-SNMP version" in log.read_text(),
            log=log,
            env={
                "SNMP_PERSISTENT_DIR": str(self._directory / "state"),
                # the state is read like a configuration: without it the boots begin anew
                "SNMPCONFPATH": f"{self._directory}:{self._directory / 'state'}",
                "MIBS": "",
            },
        )
        self._process = self._running.__enter__()

    def stop(self) -> None:
        """Be away."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    def cycle(self) -> None:
        """Restart, as a printer does."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def obeying(self) -> Iterator[list[str]]:
        """Until the block ends it restarts when its prtGeneralReset is set; yields what it was set to, each time."""
        ended, came = threading.Event(), list[str]()

        def obey() -> None:
            while not ended.wait(0.2):
                value = self.value(RESET)
                if value != IDLE_RESET:
                    came.append(value)
                    self.cycle()

        watcher = threading.Thread(target=obey)
        watcher.start()
        try:
            yield came
        finally:
            ended.set()
            watcher.join()

    def value(self, oid: str) -> str:
        """What net-snmp's own client reads, by SNMPv2c."""
        return self._client("snmpget", oid)

    def set_number(self, oid: str, number: int) -> None:
        """Have the device show another number."""
        self._client("snmpset", oid, "i", str(number))

    def _client(self, program: str, *arguments: str) -> str:
        words = [program, "-v2c", "-c", COMMUNITY, "-Oqv", "-t", "20", f"127.0.0.1:{self.port}", *arguments]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=60, check=True, env={"MIBS": "", "PATH": _PATH}
        )
        return done.stdout.strip()


_PATH = "/usr/bin:/usr/sbin:/bin"


@contextlib.contextmanager
def snmp_agent(directory: Path, hosts: Sequence[str] = ("127.0.0.1",)) -> Iterator[SnmpAgent]:
    """A printer's agent on the loopback addresses `hosts`, 100 at most, until the block ends.

    Raises RuntimeError, naming the Debian packages.
    """
    program = shutil.which("snmpd", path=_PATH)
    if program is None or shutil.which("snmpget", path=_PATH) is None:
        raise RuntimeError(
            "the tests need an SNMP agent: apt-get install snmpd snmp (or scripts/install-debian-packages)"
        )
    agent = SnmpAgent(directory, program, hosts)
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()
