"""Devices that nobody here wrote, each with what leads to it: what is entered over REST, and how it is recognized."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.end_to_end.deployment import Api
from tests.peers import snmp_agent as snmp
from tests.peers.ipp_printer import ipp_printer
from tests.peers.mfps import Mfps
from tests.peers.nginx import WebServer, web_server
from tests.peers.pappl import Pappl, printer
from tests.peers.snmp_agent import SnmpAgent, snmp_agent
from tests.peers.ssh_host import SshHost, served_fingerprint, ssh_host

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A device outside of the product."""

    name: str
    """As it is entered."""
    peer: str
    """What it really is."""
    port: int
    """Where it serves TLS."""
    connector: str
    settings: Mapping[str, Any] = field(repr=False)
    """Of the connector, without the fingerprint that is to be confirmed."""
    recognized: Callable[[], str]
    """The fingerprint as a person reads it at the device: nothing of the product is asked."""
    restart_settings: Mapping[str, Any] | None = field(default=None, repr=False)
    server_name: str = "localhost"
    """What is asked for by SNI."""

    @property
    def served(self) -> str:
        """SHA-256 of the certificate that it serves, as `openssl s_client` sees it."""
        return served_fingerprint(self.port, server_name=self.server_name)

    def add(self, api: Api) -> int:
        """Enter it as a device, compare what is shown with what is read at the device, and confirm it; its id."""
        fields = {"name": self.name, "host": HOST, "tls_ports": [self.port], "connector": self.connector}
        device = int(
            api.call("POST", "devices/", {**fields, "connector_settings": dict(self.settings)})["id"]
        )
        seen, expected = api.call("GET", f"devices/{device}/fingerprint/")["fingerprint"], self.recognized()
        if seen != expected:
            raise AssertionError(f"{self.name} shows {expected}, and {seen} was seen")
        api.call("POST", f"devices/{device}/fingerprint/", {"fingerprint": seen})
        if self.restart_settings is not None:
            api.call("PATCH", f"devices/{device}/restart-settings/", dict(self.restart_settings))
        return device


def pappl(name: str, peer: Pappl, *, port: int | None = None) -> Counterpart:
    """A printer application; `port` is where it is reached, if that is not its own."""
    reached = port or peer.port
    settings = {"port": reached, "username": "admin", "password": peer.password}
    return Counterpart(name, "PAPPL", reached, "pappl", settings, lambda: peer.served)


def over_ssh(
    name: str, peer: str, port: int, host: SshHost, key: Path, certificate: Path, command: str = ""
) -> Counterpart:
    """A TLS server with files, on a host that is administered over SSH."""
    settings = {
        "port": host.port,
        "username": host.username,
        "private_key": host.private_key,
        "key_path": str(key),
        "certificate_path": str(certificate),
        "reload_command": command,
    }
    return Counterpart(name, peer, port, "sftp", settings, lambda: host.fingerprint)


def web(name: str, host: SshHost, server: WebServer, *, command: str | None = None) -> Counterpart:
    """nginx behind OpenSSH; it reloads unless `command` says something else."""
    reload_command = server.signal("reload") if command is None else command
    return over_ssh(name, "OpenSSH, nginx", server.port, host, server.key, server.certificate, reload_command)


def over_snmp(agent: SnmpAgent) -> dict[str, Any]:
    """Restarts by SNMPv3, authenticated and encrypted."""
    passwords = {"auth_password": snmp.AUTH_PASSWORD, "privacy_password": snmp.PRIVACY_PASSWORD}
    target = {"version": "3", "port": agent.port, "username": snmp.USERNAME, **passwords}
    return {"restart_over_snmp": True, "snmp": target}


def virtual(name: str, mfps: Mfps, number: int) -> Counterpart:
    """The demo's virtual MFP `number`, which misbehaves when it is told to."""
    return Counterpart(
        *(name, "virtual MFP", mfps.port, "virtual", {"url": mfps.url(number)}),
        lambda: mfps.factory_fingerprint,
        server_name=mfps.serial(number),
    )


@dataclass(frozen=True, slots=True)
class Office:
    """Everything that stands in it."""

    devices: tuple[Counterpart, ...]
    agent: SnmpAgent
    """Of the IPP printer: it restarts when it is told to."""
    resets: list[str]
    """What its prtGeneralReset was set to, each time."""


@contextmanager
def office(directory: Path, *, printers: int) -> Iterator[Office]:
    """So many PAPPL printer applications, a web server and an IPP printer behind OpenSSH; the latter has an agent."""
    with ExitStack() as stack:
        enter = stack.enter_context
        devices = [pappl(f"pappl-{number}", enter(printer(directory))) for number in range(1, printers + 1)]
        folders = {name: directory / name for name in ("ssh", "ipp", "snmp")}
        for folder in folders.values():
            folder.mkdir()
        host = enter(ssh_host(folders["ssh"]))
        devices.append(web("print-server", host, enter(web_server(directory / "web"))))
        ipp, agent = enter(ipp_printer(folders["ipp"])), enter(snmp_agent(folders["snmp"]))
        files = (ipp.keys / "localhost.key", ipp.keys / "localhost.crt")
        behind = over_ssh("ipp-printer", "OpenSSH, ippeveprinter, snmpd", ipp.port, host, *files)
        devices.append(replace(behind, restart_settings=over_snmp(agent)))
        yield Office(tuple(devices), agent, enter(agent.obeying()))


def add_scep_server(api: Api, url: str) -> int:
    """Debian's scepserver, with what it needs to be permitted; its id."""
    # it hands out a serial number twice when two requests come at once
    permissions = {"allow_des_replies": True, "max_requests_at_once": 1}
    return int(api.call("POST", "scep-servers/", {"name": "scepserver", "url": url, **permissions})["id"])


def switch_timer_on(api: Api, device: int, server: int, challenge: str, **settings: Any) -> None:
    """Have the device's first certificate requested now."""
    timer = {
        "server": server,
        "timer_enabled": True,
        "auto_adjust": False,
        "request_start_at": datetime.now(UTC).isoformat(),
        "request_interval_days": 90,
        "key_use": "tls",
        "challenge_password": challenge,
        "polling_count": 3,
        "polling_interval_seconds": 10,
    }
    api.call("PATCH", f"devices/{device}/scep-settings/", timer | settings)
