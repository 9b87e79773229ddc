"""The main job, measured: `python -m tests.end_to_end.main_job --devices 200 [--scep responder] [--kill]`.

Devices are created over REST, their timers switched on, and certificates issued by a SCEP server: Debian's
`scepserver` (real), or this project's responder, which heeds transaction IDs. With --kill a worker and
the broker get kill -9 in the middle of the run: after a quarter and after the half of the devices, of whose requests
some are certainly under way then.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.end_to_end.deployment import ROOT, Api, Deployment, deployed
from tests.peers.process import free_port, is_listening, running, wait_until
from tests.peers.scep_server import issued, pkcs_requests, scep_server

CHALLENGE = "main-job-challenge"
LONGEST_OFFSET = timedelta(seconds=600)


@dataclass(frozen=True, slots=True)
class Ca:
    """A SCEP server of the run."""

    url: str
    certificate: Path
    pkcs_requests: Callable[[], int]
    issued: Callable[[], list[x509.Certificate]]
    process: subprocess.Popen[bytes]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stands still: what is sent to it now waits for its answer until the block ends."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass
class Figures:
    """What a run came to."""

    devices: int
    seconds: float = 0
    status: Counter[str] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    offsets: list[int] = field(default_factory=list)
    certificates: int = 0
    public_keys: int = 0
    verified: int = 0
    pkcs_requests: int = 0
    issued: int = 0
    issued_twice: int = 0
    issued_twice_for_another_key: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    transaction_ids_per_device: Counter[int] = field(default_factory=Counter)
    kills: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"devices                        {self.devices}"
        yield f"[Status]                       {dict(self.status)} {dict(self.details) or ''}"
        yield f"killed with -9                 {', '.join(self.kills) or 'nothing'}"
        yield f"seconds, timers on to the end  {self.seconds:.1f}"
        if self.offsets:
            quartiles = ", ".join(f"{q:.0f}" for q in statistics.quantiles(self.offsets, n=4))
            yield (
                f"offsets (R10)                  {min(self.offsets)} to {max(self.offsets)} s, "
                f"{len(set(self.offsets))} different, quartiles {quartiles}"
            )
        yield f"certificates                   {self.certificates}, {self.public_keys} distinct public keys"
        yield f"openssl verify                 {self.verified} OK"
        yield f"sent by the workers            {dict(self.sent)}, PKCSReq repeated: {self.repeated}"
        yield f"transaction IDs per device     {dict(self.transaction_ids_per_device)}"
        yield f"PKCSReq in the server's log    {self.pkcs_requests}"
        yield (
            f"issued by the server           {self.issued}, second ones: {self.issued_twice}, "
            f"of these for another key: {self.issued_twice_for_another_key}"
        )


def run(
    directory: Path,
    *,
    devices: int,
    real: bool,
    kill: bool,
    due_within: int = 90,
    delay: float = 0,
    say: Callable[[str], None] = lambda _line: None,
) -> Figures:
    """One whole run, 15 minutes at most.

    `due_within`: seconds until the last offset has passed. `delay`: seconds that the responder takes to answer.
    """
    figures = Figures(devices)
    with (
        _real_ca(directory) if real else _responder(directory, delay) as ca,
        # a worker's turn may last as long as its server's timeout allows, a ring waits that long in the queue
        deployed(directory / "fleetseal", FLEETSEAL_LEASE_SECONDS="20") as (deployment, api),
    ):
        # release 2.1.0 of the real server hands out duplicate serials under concurrency
        at_once = 1 if real else 4
        server = api.call(
            "POST",
            "scep-servers/",
            {
                "name": "CA",
                "url": ca.url,
                # a dead worker's lease is four times as long; where nobody dies, a slow server is waited for
                "timeout": 5 if kill else 60,
                "allow_des_replies": real,
                "max_requests_at_once": at_once,
            },
        )
        rows = [{"name": f"mfp-{n:03}", "host": f"mfp-{n:03}.example.com"} for n in range(devices)]
        created = api.call("POST", "devices/", rows)
        say(f"{len(created)} devices created over REST")
        began = time.monotonic()
        start = datetime.now(UTC) - LONGEST_OFFSET + timedelta(seconds=due_within)
        timers = _Timers(api, server["id"], created, start, figures.offsets)
        if kill:
            _kill(api, deployment, ca, figures, timers, say)
        else:
            timers.switch_on(devices)
        say("timers on")
        _wait(api, figures, devices, say)
        figures.seconds = time.monotonic() - began
        _count(api, deployment, ca, directory, figures, created)
    return figures


def _wait(api: Api, figures: Figures, ended: int, say: Callable[[str], None]) -> None:
    """Until so many devices have [Successful] or [Error]."""
    deadline = time.monotonic() + 900
    while True:
        found = sum(1 for device in api.every("devices/", page_size=500) if device["status"] in ENDED)
        say(f"{found} of {figures.devices} ended")
        if found >= ended:
            return
        if time.monotonic() > deadline:
            say(f"given up: {found} of {figures.devices} ended")
            return
        time.sleep(0.3)


def _kill(
    api: Api, deployment: Deployment, ca: Ca, figures: Figures, run: _Timers, say: Callable[[str], None]
) -> None:
    """A worker after a quarter, the broker after the half, each while the server holds requests of two devices.

    Their timers are switched on for it: whether something is under way just then is not left to the machine's speed.
    """
    quarter, half = figures.devices // 4, figures.devices // 2
    run.switch_on(quarter)
    _wait(api, figures, quarter, say)
    time.sleep(max(0.0, (run.all_due_at - datetime.now(UTC)).total_seconds()))
    with ca.held():
        victim = _sender(deployment, lambda: run.switch_on(2))
        deployment.kill_worker(victim)
    figures.kills.append(f"a worker after {quarter}")
    deployment.start_worker(victim)
    # those two wait until the dead worker's lease is over, the others do not
    run.switch_on(half - quarter)
    _wait(api, figures, half, say)
    with ca.held():
        _sender(deployment, lambda: run.switch_on(2))
        deployment.redis.kill()
    figures.kills.append(f"the broker after {half}")
    run.switch_on(figures.devices)
    time.sleep(2)
    deployment.redis.restart()


def _sender(deployment: Deployment, act: Callable[[], None]) -> str:
    """The worker that sends the first message after `act`; while the server stands still, it waits for the answer."""
    before = Counter(message["worker"] for message in deployment.sent_messages())
    new: Counter[str] = Counter()

    def has_sent() -> bool:
        new.update(Counter(message["worker"] for message in deployment.sent_messages()) - before)
        return bool(new)

    act()
    wait_until(has_sent, timeout=120, what="a message to the server", interval=0.02)
    return next(iter(new))


ENDED = {"successful", "error"}


def _count(
    api: Api, deployment: Deployment, ca: Ca, directory: Path, figures: Figures, created: list[Any]
) -> None:
    folder = directory / "certificates"
    folder.mkdir()
    keys: set[bytes] = set()
    for device in created:
        line = api.call("GET", f"devices/{device['id']}/issuance-requests/")["results"][0]
        figures.status[line["status"]] += 1
        if line["details"]:
            figures.details[line["details"]] += 1
        for key in api.call("GET", f"devices/{device['id']}/keys/")["results"]:
            figures.certificates += 1
            (folder / f"{device['name']}.pem").write_text(key["certificate"])
            keys.add(_public_key(x509.load_pem_x509_certificate(key["certificate"].encode())))
    figures.public_keys = len(keys)
    pems = sorted(folder.glob("*.pem"))
    if pems:
        command = ["openssl", "verify", "-CAfile", str(ca.certificate), *map(str, pems)]
        figures.verified = subprocess.run(command, capture_output=True, text=True).stdout.count(": OK\n")
    figures.pkcs_requests = ca.pkcs_requests()
    per_device: dict[str, set[str]] = defaultdict(set)
    sent: Counter[str] = Counter()
    for message in deployment.sent_messages():
        figures.sent[message["message_type"]] += 1
        per_device[str(message["request"])].add(message["transaction_id"])
        if message["message_type"] == "PKCSReq":
            sent[message["transaction_id"]] += 1
    figures.repeated = sum(count - 1 for count in sent.values())
    figures.transaction_ids_per_device = Counter(len(ids) for ids in per_device.values())
    by_name: dict[str, list[bytes]] = defaultdict(list)
    for certificate in ca.issued():
        figures.issued += 1
        by_name[certificate.subject.rfc4514_string()].append(_public_key(certificate))
    figures.issued_twice = sum(len(found) - 1 for found in by_name.values())
    figures.issued_twice_for_another_key = sum(len(set(found)) - 1 for found in by_name.values())


def _public_key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class _Timers:
    """Of the devices, in their order; none is on at first."""

    def __init__(
        self, api: Api, server: int, devices: Sequence[Any], start: datetime, offsets: list[int]
    ) -> None:
        self._api, self._server, self._off = api, server, list(devices)
        self._start, self._offsets = start, offsets

    @property
    def all_due_at(self) -> datetime:
        """When the last offset (R10) has passed."""
        return self._start + LONGEST_OFFSET

    def switch_on(self, number: int) -> None:
        """The next ones, so many or as many as are left."""
        now, self._off = self._off[:number], self._off[number:]
        for device in now:
            settings = self._api.call(
                "PATCH",
                f"devices/{device['id']}/scep-settings/",
                {
                    "server": self._server,
                    "timer_enabled": True,
                    "request_start_at": self._start.isoformat(),
                    "auto_adjust": True,
                    "polling_count": 20,
                    "polling_interval_seconds": 3,
                    "challenge_password": CHALLENGE,
                    "organization": "Example",
                },
            )
            self._offsets.append(settings["offset_seconds"])


@contextmanager
def _real_ca(directory: Path) -> Iterator[Ca]:
    folder = directory / "scepserver"
    folder.mkdir(parents=True)
    with scep_server(folder, challenge=CHALLENGE) as peer:
        yield Ca(
            url=peer.url,
            certificate=peer.ca_path,
            pkcs_requests=lambda: pkcs_requests(peer.log),
            issued=lambda: [x509.load_pem_x509_certificate(path.read_bytes()) for path in issued(peer)],
            process=peer.process,
        )


@contextmanager
def _responder(directory: Path, delay: float) -> Iterator[Ca]:
    folder = directory / "responder"
    folder.mkdir(parents=True)
    port = free_port()
    challenge = folder / "challenge"
    challenge.write_text(CHALLENGE)
    words = ["--directory", str(folder), "--port", str(port), "--challenge-file", str(challenge)]
    words += ["--delay", str(delay)]
    command = [sys.executable, "-m", "scep", "serve", *words]
    log = directory / "responder.log"

    def messages() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / "messages.jsonl").read_text().splitlines()]

    with running(command, ready=lambda: is_listening(port), log=log, cwd=ROOT) as process:
        yield Ca(
            url=f"http://127.0.0.1:{port}/scep",
            certificate=folder / "ca.pem",
            pkcs_requests=lambda: sum(message["message_type"] == "PKCSReq" for message in messages()),
            issued=lambda: [
                x509.load_pem_x509_certificate(path.read_bytes())
                for path in sorted((folder / "issued").glob("*.pem"))
            ],
            process=process,
        )


def main() -> int:
    """Print the figures. Exit code 0 when every device has its one certificate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--scep", choices=["real", "responder"], default="real")
    parser.add_argument("--kill", action="store_true", help="kill -9 a worker and the broker in the middle")
    parser.add_argument("--due-within", type=int, default=90, metavar="SECONDS")
    parser.add_argument(
        "--delay", type=float, default=0, metavar="SECONDS", help="of the responder's answers"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetseal-main-job-") as folder:
        figures = run(
            Path(folder),
            devices=options.devices,
            real=options.scep == "real",
            kill=options.kill,
            due_within=options.due_within,
            delay=options.delay,
            say=lambda line: print(f"\r{line:60}", end="", file=sys.stderr, flush=True),
        )
    print(file=sys.stderr)
    print("\n".join(figures.lines()))
    return 0 if figures.status["successful"] == figures.verified == figures.devices else 1


if __name__ == "__main__":
    sys.exit(main())
