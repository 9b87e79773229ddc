"""Searches at speed (F5): a hundred loopback addresses where net-snmp's agent answers, and as many where nobody does.

Beside it, the same addresses asked one after another, with an SNMP engine for each; and plain connects to nobody,
from as many threads as a search has. Where addresses are silent instead of refusing, a search is as fast as its
timeout: AT_ONCE / CONNECT_TIMEOUT addresses a second.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import fleet
from bench.figures import Figure

ADDRESSES = 100
ONE_BY_ONE = 20
ROUNDS = 3


def run() -> dict[str, Figure]:
    """Two ratios; takes about 20 seconds. The rates themselves stand in the remarks."""
    fleet.start_peers()  # for the settings alone
    from devices.delivery import discovery
    from devices.delivery.connectors import snmp
    from devices.delivery.connectors.snmp_device import IDENTITY_COLUMNS
    from tests.peers import snmp_agent as peer
    from tests.peers.process import free_port

    hosts = [f"127.9.0.{number}" for number in range(1, ADDRESSES + 1)]
    nobody = free_port()
    with tempfile.TemporaryDirectory() as directory, peer.snmp_agent(Path(directory), hosts) as agent:
        credentials = {"auth_password": peer.AUTH_PASSWORD, "privacy_password": peer.PRIVACY_PASSWORD}
        plain = {"version": snmp.V3, "port": agent.port, "username": peer.USERNAME}

        def one_by_one() -> None:
            for host in hosts[:ONE_BY_ONE]:
                snmp.first_rows(snmp.Access.of(host, plain, credentials), IDENTITY_COLUMNS)

        def search(how: discovery.How, *, found: int) -> None:
            with discovery.Asking(how) as asking:
                answers = [
                    answer
                    for start in range(0, ADDRESSES, discovery.AT_ONCE)
                    for answer in asking.ask(hosts[start : start + discovery.AT_ONCE])
                ]
            if len(answers) != found:
                raise AssertionError(f"{found} of {ADDRESSES} addresses answer, {len(answers)} were found")

        with_snmp, ipp_alone = discovery.How(nobody, plain, credentials), discovery.How(nobody, None, {})
        slow = ONE_BY_ONE / min(_seconds(one_by_one) for _ in range(ROUNDS))
        fast = ADDRESSES / min(_seconds(lambda: search(with_snmp, found=ADDRESSES)) for _ in range(ROUNDS))
        refused = ADDRESSES / min(_seconds(lambda: search(ipp_alone, found=0)) for _ in range(ROUNDS))
        plainly = ADDRESSES / min(
            _seconds(lambda: _connect(hosts, nobody, discovery.AT_ONCE)) for _ in range(ROUNDS)
        )
    return {
        "discovery_snmp_speedup": Figure(
            fast / slow,
            f"{fast:,.0f} addresses/s over SNMPv3 and IPP, {slow:,.1f} one after another over SNMPv3",
            at_least=5.0,
        ),
        "discovery_per_connect": Figure(
            refused / plainly,
            f"{refused:,.0f} addresses/s where nobody answers over IPP, {plainly:,.0f} plain connects/s",
            at_least=0.3,
        ),
    }


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _connect(hosts: Sequence[str], port: int, at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda host: _try(host, port), hosts))


def _try(host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=1.5).close()
    except OSError:
        return
