"""What an enrollment costs beside its RSA operations, and beside clients that this project did not write.

CPU is measured with `process_time` in alternating rounds, and medians are compared; wall times are those of whole
programs, against one server, this project's responder.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from bench.figures import Figure
from scep import envelope, keys
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.authority import Authority
from scep.capabilities import Capabilities
from scep.client import ScepClient
from scep.conversation import HttpReply, HttpRequest
from scep.csr import CertificateParameters
from scep.errors import MessageCheckFailed
from scep.exchange import Exchange, Issued, Step
from scep.profile import ServerPolicy, ServerProfile
from scep.responder import KEYWORDS, Responder
from scep.store import MemoryStore
from scep.transaction import new_transaction
from tests.peers.process import free_port, is_listening, running
from tests.peers.strongswan import StrongSwan
from tests.scep.enrolling import with_encrypted_key, wrongly_padded

ROUNDS = 300
BATCH = 10
PROGRAM_ROUNDS = 15
PARALLEL = 4
"""Threads of one worker, and processes of scepclient."""
ENROLLMENTS = 80
CHALLENGE = "opensesame-8894"
NOW = datetime.now(UTC)
PARAMETERS = CertificateParameters("mfp.example.com", "Example", 2048, SignatureAlgorithm.SHA256, CHALLENGE)


def run() -> dict[str, Figure]:
    """Ratios; takes about a minute."""
    figures = _cpu_ratio() | _load_key_ratio() | _padding_ratio()
    with _server() as server:
        return figures | _program_ratios(server) | _throughput_ratio(server)


# --- CPU ---------------------------------------------------------------------------------------------------


def _cpu_ratio() -> dict[str, Figure]:
    """Message building and parsing, with the server's profile known, without HTTP and key generation.

    In batches, so that what is measured is what was measured before, and not the code of the CA in between.
    """
    authority = Authority.create("Bench CA", now=NOW)
    responder = Responder(authority, challenge=CHALLENGE)
    profile = ServerProfile(Capabilities.of(KEYWORDS), (authority.certificate,))
    ca_key = authority.certificate.public_key()
    assert isinstance(ca_key, RSAPublicKey)
    batch = [keys.generate_rsa() for _ in range(BATCH)]
    floors, ours = [], []
    for _ in range(ROUNDS // BATCH):
        floors.append(_floor(batch, ca_key))
        # the CA remembers transactions by their key, and would not issue again
        responder.store = MemoryStore()
        ours.append(_enrollments(batch, responder, profile))
    floor, own = statistics.median(floors) / BATCH, statistics.median(ours) / BATCH
    remark = f"{1000 * own:.2f} ms of CPU per enrollment, {1000 * floor:.2f} ms its RSA operations alone"
    return {"scep_cpu_ratio": Figure(own / floor, remark, at_most=1.5)}


def _floor(batch: Sequence[RSAPrivateKey], ca_key: RSAPublicKey) -> float:
    """Seconds: CSR, signer certificate and message signed, a key encrypted and one decrypted, the reply verified."""
    data, scheme, algorithm = b"x" * 600, padding.PKCS1v15(), hashes.SHA256()
    prepared = [(key, key.public_key(), key.public_key().encrypt(b"k" * 16, scheme)) for key in batch]
    began = time.process_time()
    for key, public_key, encrypted in prepared:
        for _ in range(3):
            signature = key.sign(data, scheme, algorithm)
        ca_key.encrypt(b"k" * 16, scheme)
        key.decrypt(encrypted, scheme)
        public_key.verify(signature, data, scheme, algorithm)
    return time.process_time() - began


def _enrollments(batch: Sequence[RSAPrivateKey], responder: Responder, profile: ServerProfile) -> float:
    """Seconds of the client's side: from the parameters and a key to the certificate, checked."""
    exchanges, requests = [], []
    with _generating(batch):
        began = time.process_time()
        for _key in batch:
            transaction = new_transaction(PARAMETERS, now=NOW)
            exchange = Exchange(transaction, Step.REQUEST, now=NOW, policy=ServerPolicy(), profile=profile)
            requests.append(exchange.start())
            exchanges.append(exchange)
        seconds = time.process_time() - began
    answers = [_answer(responder, request) for request in requests]
    began = time.process_time()
    outcomes = [exchange.receive(answer) for exchange, answer in zip(exchanges, answers, strict=True)]
    seconds += time.process_time() - began
    assert all(isinstance(outcome, Issued) for outcome in outcomes), outcomes
    return seconds


def _answer(responder: Responder, request: object) -> HttpReply:
    assert isinstance(request, HttpRequest), request
    answer = responder.handle(request.method, request.params, request.body or b"")
    return HttpReply(answer.status, answer.body, answer.content_type)


@contextlib.contextmanager
def _generating(batch: Sequence[RSAPrivateKey]) -> Iterator[None]:
    """Let these keys be what is generated."""
    generate, made = keys.generate, iter(batch)
    keys.generate = lambda *_options: next(made)
    try:
        yield
    finally:
        keys.generate = generate


def _load_key_ratio() -> dict[str, Figure]:
    key = keys.generate_rsa()
    stored = keys.private_der(key)
    loading, signing = _alternating(
        lambda: keys.load(stored), lambda: keys.sign(key, b"x" * 600, SignatureAlgorithm.SHA256)
    )
    remark = f"{1e6 * loading:.0f} us to load a stored key, {1e6 * signing:.0f} us to sign with it"
    return {"scep_load_key_ratio": Figure(loading / signing, remark, at_most=1)}


def _padding_ratio() -> dict[str, Figure]:
    """Opening an envelope whose RSA padding is wrong, beside one whose content is: one must not tell them apart."""
    transaction = new_transaction(PARAMETERS, now=NOW)
    sound = envelope.envelop(b"x" * 2000, recipient=transaction.signer, cipher=ContentCipher.AES_128)
    public_key = transaction.signer.public_key()
    assert isinstance(public_key, RSAPublicKey)
    another_key = with_encrypted_key(sound, public_key.encrypt(b"another key of 1"[:16], padding.PKCS1v15()))
    wrong_padding = with_encrypted_key(sound, wrongly_padded(transaction.signer))

    def opening(data: bytes) -> Callable[[], object]:
        def opened() -> None:
            with contextlib.suppress(MessageCheckFailed):
                envelope.open_envelope(
                    data,
                    certificate=transaction.signer,
                    key=transaction.key,
                    allowed=frozenset(ContentCipher),
                )

        return opened

    wrong, other = _alternating(opening(wrong_padding), opening(another_key))
    remark = f"{1e6 * wrong:.0f} us with wrong RSA padding, {1e6 * other:.0f} us with another content key"
    return {"scep_padding_ratio": Figure(max(wrong, other) / min(wrong, other), remark, at_most=1.1)}


def _alternating(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """The median seconds of CPU of each."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for measured, seconds in ((first, taken[0]), (second, taken[1])):
            began = time.process_time()
            measured()
            seconds.append(time.process_time() - began)
    return statistics.median(taken[0]), statistics.median(taken[1])


# --- whole programs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Server:
    """The responder as a process of its own, and a folder for what its clients write."""

    url: str
    directory: Path

    @property
    def challenge(self) -> Path:
        """The file with the challenge password."""
        return self.directory / "challenge"

    def folder(self, name: str) -> Path:
        """An empty one."""
        made = self.directory / name
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        return made


@contextlib.contextmanager
def _server() -> Iterator[_Server]:
    with tempfile.TemporaryDirectory(prefix="fleetseal-bench-") as name:
        directory, port = Path(name), free_port()
        server = _Server(f"http://127.0.0.1:{port}/scep", directory)
        server.challenge.write_text(CHALLENGE)
        command: list[str | Path] = [sys.executable, "-m", "scep", "serve", "--port", str(port)]
        command += ["--directory", directory / "ca", "--challenge-file", server.challenge]
        with running(command, ready=lambda: is_listening(port), log=directory / "serve.log"):
            yield server


def _program_ratios(server: _Server) -> dict[str, Figure]:
    """A new key and a certificate for it, with nothing known of the server before."""
    programs: dict[str, Callable[[], None]] = {
        "python -m scep": lambda: _python_m_scep(server),
        "scepclient": lambda: _scepclient(server, server.folder("scepclient")),
        "pki --scep": lambda: _strongswan(server),
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(PROGRAM_ROUNDS):
        for name, program in programs.items():
            began = time.perf_counter()
            program()
            taken[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    own = medians["python -m scep"]
    figures = {}
    for figure, name, most in (
        ("scep_scepclient_wall_ratio", "scepclient", 4),
        ("scep_strongswan_wall_ratio", "pki --scep", 8),
    ):
        remark = f"{own:.2f} s for one python -m scep enroll, {medians[name]:.2f} s for {name}"
        figures[figure] = Figure(own / medians[name], remark, at_most=most)
    return figures


def _python_m_scep(server: _Server) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "scep",
        "enroll",
        server.url,
        "--common-name",
        "mfp.example.com",
    ]
    command += ["--challenge-file", server.challenge, "--out", server.folder("ours")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _scepclient(server: _Server, directory: Path) -> None:
    program = shutil.which("scepclient")
    if program is None:
        raise RuntimeError("the benchmarks need scepclient: apt-get install scep")
    command = [program, "-server-url", server.url, "-challenge", CHALLENGE, "-cn", "mfp.example.com"]
    command += ["-keySize", "2048", "-private-key", "key.pem", "-certificate", "certificate.pem"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=60)


def _strongswan(server: _Server) -> None:
    client = StrongSwan(server.folder("strongswan"), server.url)
    client.fetch()
    client.enroll("mfp", challenge=CHALLENGE)


def _throughput_ratio(server: _Server) -> dict[str, Figure]:
    """Enrollments, each with a new key, by the threads of this one process and by as many processes of scepclient."""
    threads = _per_second(lambda _number: _enroll(server))
    folders = [server.folder(f"parallel-{number}") for number in range(ENROLLMENTS)]
    processes = _per_second(lambda number: _scepclient(server, folders[number]))
    remark = (
        f"{threads:.1f} enrollments a second of one process with {PARALLEL} threads, {processes:.1f} of {PARALLEL} "
        "parallel scepclient processes"
    )
    return {"scep_throughput_ratio": Figure(threads / processes, remark, at_least=1)}


def _enroll(server: _Server) -> None:
    exchange = Exchange(
        new_transaction(PARAMETERS, now=NOW), Step.REQUEST, now=datetime.now(UTC), policy=ServerPolicy()
    )
    outcome = ScepClient(server.url, timeout=30).run(exchange)
    assert isinstance(outcome, Issued), outcome


def _per_second(enroll: Callable[[int], None]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(PARALLEL) as workers:
        for _done in workers.map(enroll, range(ENROLLMENTS)):
            pass
    return ENROLLMENTS / (time.perf_counter() - began)
