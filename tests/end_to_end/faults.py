"""What goes wrong with deliveries, each made to happen to a device, and what somebody then does about it.

Every case begins with a device that serves a certificate from here, and ends with the second one on it: the key that
the fault was about, not another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.end_to_end.counterparts import Counterpart, pappl, virtual, web
from tests.end_to_end.deployment import Api
from tests.end_to_end.pages import Reader
from tests.end_to_end.passing_time import PassingTime
from tests.end_to_end.watched import Row, Watched
from tests.peers.cable import cable
from tests.peers.mfps import Mfps
from tests.peers.nginx import web_server
from tests.peers.pappl import printer
from tests.peers.process import is_listening, running
from tests.peers.ssh_host import ssh_host


@dataclass(frozen=True, slots=True)
class Stand:
    """What a case needs: the running product, and a folder of its own."""

    api: Api
    reader: Reader
    time: PassingTime
    mfps: Mfps
    number: int
    """Of the virtual MFP that nobody else has."""
    scep_server: int
    challenge: str
    directory: Path

    def watch(self, outside: Counterpart) -> Watched:
        """Enter the device."""
        return Watched(self.api, self.reader, self.time, outside, self.scep_server, self.challenge)

    def folder(self, name: str) -> Path:
        """A new one."""
        made = self.directory / name
        made.mkdir()
        return made


Case = Callable[[Stand], Row]


def wrong_password(stand: Stand) -> Row:
    """Somebody changed the printer's password, and did not say so."""
    with printer(stand.directory) as peer:
        device = stand.watch(pappl("wrong-password", peer))
        old = device.first_certificate()
        device.change(password="no longer right")
        new = device.certificate()
        row = device.row("wrong password", old, new, device.until(new, "failed"))
        device.change(password=peer.password)
        return device.mended(row, "the password is corrected", old, new)


def wrong_ssh_password(stand: Stand) -> Row:
    """The same with a host: its key is taken away, and no password is right there."""
    with ExitStack() as stack:
        host = stack.enter_context(ssh_host(stand.folder("ssh")))
        server = stack.enter_context(web_server(stand.folder("web")))
        device = stand.watch(web("wrong-ssh-password", host, server))
        old = device.first_certificate()
        device.change(private_key="", password="no longer right")
        new = device.certificate()
        row = device.row("wrong password", old, new, device.until(new, "failed"))
        device.change(private_key=host.private_key, password="")
        return device.mended(row, "the key of the user is entered again", old, new)


def another_printer(stand: Stand) -> Row:
    """The printer was reset, or another one stands at its address."""
    with ExitStack() as stack:
        with printer(stand.directory) as peer:
            wire = stack.enter_context(cable(peer.port))
            device = stand.watch(pappl("another-printer", peer, port=wire.port))
            old = device.first_certificate()
        stack.enter_context(printer(stand.directory, port=peer.port))
        before = wire.uploads
        new = device.certificate()
        row = device.row("wrong fingerprint", old, new, device.until(new, "failed"))
        if wire.uploads != before:
            raise AssertionError("a key was sent to a printer that nobody had confirmed")
        device.confirm()
        return device.mended(row, "the new fingerprint is compared and confirmed", old, new)


def another_host_key(stand: Stand) -> Row:
    """The host was installed anew, and shows another SSH key."""
    with ExitStack() as stack:
        server = stack.enter_context(web_server(stand.folder("web")))
        folder = stand.folder("ssh")
        with ssh_host(folder) as host:
            outside = web("another-host-key", host, server)
            device = stand.watch(outside)
            old = device.first_certificate()
        (folder / "host_key").unlink()
        again = stack.enter_context(ssh_host(folder, port=host.port))
        new = device.certificate()
        row = device.row("wrong fingerprint", old, new, device.until(new, "failed"))
        device.outside = web(outside.name, again, server)
        device.confirm()
        return device.mended(row, "the new fingerprint is compared and confirmed", old, new)


def full_key_store(stand: Stand) -> Row:
    """There is no room for another key."""
    device = stand.watch(virtual("full-key-store", stand.mfps, stand.number))
    old = device.first_certificate()
    stand.mfps.behave(stand.number, full=True)
    new = device.certificate()
    row = device.row("full key store", old, new, device.until(new, "failed"))
    stand.mfps.behave(stand.number)
    device.deliver_again(new)
    return device.mended(row, "room is made at the device, “Deliver again”", old, new)


def answer_lost(stand: Stand) -> Row:
    """The printer takes the key, and the connection breaks before it can say so."""
    with printer(stand.directory) as peer, cable(peer.port) as wire:
        device = stand.watch(pappl("answer-lost", peer, port=wire.port))
        old = device.first_certificate()
        before = wire.uploads
        with ExitStack() as standing:
            # ten seconds later it is looked at, and nobody would read any more what its page said
            wire.pull_at_next_upload(lambda: standing.enter_context(stand.time.stopped(device.pk)))
            new = device.certificate()
            delivery = device.until(new, "issued", saying="The connection broke")
            row = device.row("connection lost between upload and answer", old, new, delivery)
        row = device.mended(row, "nothing: it is looked at after 10 s", old, new, hurried=True)
        if (wire.cut, wire.uploads - before) != (1, 1):
            raise AssertionError(f"{wire.cut} answers were cut off, {wire.uploads - before} keys were sent")
        return row


def not_reloaded(stand: Stand) -> Row:
    """The host takes the files and says that all is well, and its web server goes on with the old ones."""
    with ExitStack() as stack:
        host = stack.enter_context(ssh_host(stand.folder("ssh")))
        server = stack.enter_context(web_server(stand.folder("web")))
        device = stand.watch(web("not-reloaded", host, server))
        old = device.first_certificate()
        device.change(reload_command="true")
        new = device.certificate()
        delivery = device.until(new, "rolled_back", "failed", hurried=True)
        row = device.row("says “installed”, serves the old certificate", old, new, delivery)
        device.change(reload_command=server.signal("reload"))
        device.deliver_again(new)
        then = "the reload command is corrected, “Deliver again”"
        return device.mended(row, then, old, new)


def keeps_old(stand: Stand) -> Row:
    """The MFP says that it uses the key, and does not."""
    device = stand.watch(virtual("keeps-old", stand.mfps, stand.number))
    old = device.first_certificate()
    stand.mfps.behave(stand.number, keeps_old=True)
    new = device.certificate()
    delivery = device.until(new, "rolled_back", "failed", hurried=True)
    row = device.row("says “installed”, serves the old certificate", old, new, delivery)
    stand.mfps.behave(stand.number)
    device.deliver_again(new)
    return device.mended(row, "the device is mended, “Deliver again”", old, new)


def never_comes_back(stand: Stand) -> Row:
    """The MFP takes the key, restarts for it (R13), and is not seen again."""
    device = stand.watch(virtual("never-comes-back", stand.mfps, stand.number))
    old = device.first_certificate()
    stand.mfps.behave(stand.number, never_comes_back=True)
    new = device.certificate(restarts=True)
    device.until(new, "delivered", saying="restarts")
    device.restart_until("coming_back")
    device.let_pass(timedelta(minutes=15))
    restart = device.restart_until("failed")
    device.until(new, "active", saying="has not answered since")
    if restart["explanation"] not in device.page():
        raise AssertionError(f"the page does not say: {restart['explanation']}")
    device.let_pass(timedelta(days=7))
    row = device.row("never comes back from its restart", old, new, device.until(new, "failed"))
    stand.mfps.behave(stand.number, restart_seconds=0)
    device.deliver_again(new)
    return device.mended(row, "it is switched on, “Deliver again”", old, new, hurried=True)


def server_gone(stand: Stand) -> Row:
    """The host takes the files, and its web server ends instead of reading them."""
    with ExitStack() as stack:
        host = stack.enter_context(ssh_host(stand.folder("ssh")))
        server = stack.enter_context(web_server(stand.folder("web")))
        device = stand.watch(web("server-gone", host, server))
        old = device.first_certificate()
        device.change(reload_command=server.signal("stop"))
        new = device.certificate()
        device.until(new, "active", saying="has not answered since")
        device.let_pass(timedelta(days=7))
        row = device.row("its server never comes back", old, new, device.until(new, "failed"))
        stack.enter_context(
            running(
                server.command.split(),
                ready=lambda: is_listening(server.port),
                log=stand.directory / "nginx-again.log",
            )
        )
        device.deliver_again(new)
        return device.mended(row, "it is started, “Deliver again”", old, new, hurried=True)


CASES: Sequence[Case] = (
    *(wrong_password, wrong_ssh_password, another_printer, another_host_key, full_key_store),
    *(answer_lost, not_reloaded, keeps_old, never_comes_back, server_gone),
)
