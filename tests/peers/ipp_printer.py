"""CUPS's `ippeveprinter`, a real IPP Everywhere printer in software, on 127.0.0.1 with HTTP and HTTPS on one port.

It wants a D-Bus for DNS-SD and starts without an Avahi behind it: it gets a private bus on a socket of its own, and
announces nothing. Certificates lie in its key folder as `localhost.crt` and `localhost.key`; without them it makes
its own, and every TLS connection reads them anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers.process import free_port, is_listening, running

_PATH = "/usr/bin:/usr/sbin:/bin"

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>"""


@dataclass(frozen=True, slots=True)
class IppPrinter:
    """A running ippeveprinter."""

    port: int
    keys: Path
    """Where its certificate and key lie."""


@contextlib.contextmanager
def ipp_printer(
    directory: Path, *, name: str = "office", vendor: str = "Example", model: str = "MFP 4000"
) -> Iterator[IppPrinter]:
    """A printer until the block ends. Raises RuntimeError, naming the Debian packages."""
    programs = [shutil.which(program, path=_PATH) for program in ("ippeveprinter", "dbus-daemon")]
    if None in programs:
        raise RuntimeError(
            "the tests need a printer: apt-get install cups-ipp-utils dbus-daemon (or "
            "scripts/install-debian-packages)"
        )
    printer, bus = (str(program) for program in programs)
    port, keys = free_port(), directory / "keys"
    keys.mkdir(exist_ok=True)
    # without a file: the path of one may have 107 bytes, and temporary folders may lie deep
    name_of_bus = f"fleetseal-{os.getpid()}-{port}"
    address = f"unix:abstract={name_of_bus}"
    (directory / "bus.conf").write_text(_BUS.format(address=address))
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            running(
                [bus, f"--config-file={directory / 'bus.conf'}", "--nofork", "--nopidfile"],
                ready=lambda: _answers(name_of_bus),
                log=directory / "bus.log",
            )
        )
        stack.enter_context(
            running(
                [
                    *(printer, "-p", str(port), "-r", "off", "-d", directory / "spool", "-K", keys),
                    # it listens on the addresses of that name alone
                    *("-n", "localhost", "-M", vendor, "-m", model, name),
                ],
                ready=lambda: is_listening(port),
                log=directory / "printer.log",
                env={"DBUS_SYSTEM_BUS_ADDRESS": address},
            )
        )
        yield IppPrinter(port, keys)


def _answers(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(f"\0{name}") == 0
