"""One virtual MFP: what it is, what it holds, how it misbehaves. Demo and test equipment, nothing of the product."""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

USES = ("none", "tls", "ieee_802_1x", "ipsec")


@dataclass(frozen=True, slots=True)
class Behavior:
    """How a virtual MFP misbehaves. The default is a good one."""

    restart_seconds: float | None = None
    """How long its restarts take; None: as long as this device's always do."""
    busy: bool = False
    """It works on a job, and does not restart meanwhile."""
    refuses: bool = False
    """It does not permit a restart from outside."""
    never_comes_back: bool = False
    """The next restart does not end."""
    drops: str = ""
    """What happens to the connection of the next restart's or key's request: "before": it breaks, and nothing is
    done; "after": it is done, and the connection breaks before the answer."""
    silent: bool = False
    """While it restarts it breaks connections, instead of answering 503."""
    password: str = ""
    """Keys are taken under this password only; empty: from everybody."""
    full: bool = False
    """Its key store has no room for another key."""
    keeps_old: bool = False
    """It says that it uses a new key, and goes on serving the old certificate."""
    needs_restart: bool = False
    """It serves a new certificate after its next restart only."""
    forgets: bool = False
    """Somebody reset its certificate by hand: it serves the one that its factory made."""

    @classmethod
    def of(cls, values: object) -> Behavior:
        """The behavior in a JSON object. Raises ValueError, naming what was expected."""
        if not isinstance(values, dict) or not values.keys() <= {each.name for each in fields(cls)}:
            raise ValueError(
                f"a JSON object was expected, with {', '.join(each.name for each in fields(cls))}"
            )
        made = cls(**values)
        flags = [getattr(made, each.name) for each in fields(cls) if each.type == "bool"]
        if not all(isinstance(flag, bool) for flag in flags) or made.drops not in ("", "before", "after"):
            raise ValueError('true or false was expected, for drops "before" or "after"')
        if not isinstance(made.password, str):
            raise ValueError("password: a text was expected")
        seconds = made.restart_seconds
        if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds <= 3600):
            raise ValueError("restart_seconds: 0 to 3600 was expected")
        return made


@dataclass(frozen=True, slots=True)
class Model:
    """What a device is, and how much it holds."""

    serial_number: str
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    key_limit: int = 10


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a device's key store."""

    name: str
    pem: str = field(repr=False)
    """Private key, certificate and chain."""
    used_for: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What anybody may know of it."""
        certificate = x509.load_pem_x509_certificate(self.pem.encode())
        return {
            "name": self.name,
            "used_for": list(self.used_for),
            "subject": certificate.subject.rfc4514_string(),
            "fingerprint_sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        }


class Refused(Exception):
    """The device does not do it; `status` is the HTTP status that it says so with."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def server_context(pem: str) -> ssl.SSLContext:
    """What a TLS server needs to serve the certificate in `pem`. Raises ssl.SSLError when the parts do not fit."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL reads it from a file only
    with tempfile.NamedTemporaryFile("w", prefix="mfp-", suffix=".pem") as file:
        file.write(pem)
        file.flush()
        made.load_cert_chain(file.name)
    return made


def factory_identity() -> str:
    """A key and the certificate for it that a factory would put on every device, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Virtual MFP")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (private + certificate.public_bytes(Encoding.PEM)).decode()


def fingerprint(pem: str) -> str:
    """SHA-256 of the first certificate in `pem`, in lower-case hexadecimal."""
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


@dataclass(slots=True)
class Mfp:
    """One virtual MFP. Its methods may be called from any thread; `clock` gives seconds that only grow."""

    model: Model
    restart_seconds: float
    clock: Callable[[], float] = time.monotonic
    behavior: Behavior = Behavior()
    keys: dict[str, Key] = field(default_factory=dict)
    """What its key store holds by name, `model.key_limit` at most."""
    functions: dict[str, bool] = field(
        default_factory=lambda: {"tls": True, "ieee_802_1x": False, "ipsec": False}
    )
    memory: Path | None = None
    """The file that keeps its keys when it is switched off."""
    boot_count: int = 1
    serving: Key | None = None
    """Whose certificate it serves; None: the factory's."""
    _context: ssl.SSLContext | None = None
    _booted_at: float = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._booted_at = self.clock()
        if self.memory is not None and self.memory.exists():
            kept = json.loads(self.memory.read_text())
            self.keys = {
                row["name"]: Key(row["name"], row["pem"], tuple(row["used_for"])) for row in kept["keys"]
            }
            self.serving = Key("", kept["serving"]) if kept["serving"] else None

    @property
    def is_away(self) -> bool:
        """True while it restarts."""
        return self.clock() < self._booted_at

    @property
    def context(self) -> ssl.SSLContext | None:
        """What it serves over TLS; None: the factory's certificate."""
        with self._lock:
            if self.serving is None or self.behavior.forgets:
                return None
            if self._context is None:
                self._context = server_context(self.serving.pem)
            return self._context

    def status(self) -> dict[str, Any]:
        """What it says of itself when it is not away."""
        with self._lock:
            return {
                **{name: value for name, value in asdict(self.model).items() if name != "key_limit"},
                "state": "busy" if self.behavior.busy else "idle",
                "boot_count": self.boot_count,
                "uptime_seconds": round(self.clock() - self._booted_at, 3),
                "functions": dict(self.functions),
                "key_store": {
                    "limit": self.model.key_limit,
                    "keys": [key.facts() for key in self.keys.values()],
                },
            }

    def restart(self) -> None:
        """Go away, and come back with one more on the boot counter. While it is away nothing changes."""
        with self._lock:
            if not self.is_away:
                self.boot_count += 1
                self._booted_at = self._back_at()
                if not self.behavior.keeps_old:
                    self._serve(next((key for key in self.keys.values() if "tls" in key.used_for), None))

    def behave(self, behavior: Behavior) -> None:
        """From now on; one that is away comes back as `behavior` says, counted from now."""
        with self._lock:
            self.behavior = behavior
            if self.is_away:
                self._booted_at = self._back_at()

    def install(self, name: str, pem: str) -> None:
        """Take a key; one of the same name is replaced. Raises Refused."""
        with self._lock:
            try:
                server_context(pem)
            except (ssl.SSLError, ValueError):
                raise Refused(400, "a private key and the certificate for it were expected, as PEM") from None
            if name not in self.keys and (self.behavior.full or len(self.keys) >= self.model.key_limit):
                raise Refused(507, "the key store is full")
            former = self.keys.get(name)
            self.keys[name] = Key(name, pem, former.used_for if former else ())
            self._remember()

    def use(self, name: str, use: str) -> None:
        """Use the key for a function, which no other key has from then on. Raises Refused."""
        with self._lock:
            if name not in self.keys or use not in USES:
                raise Refused(404, "there is no such key or use")
            for key in [*self.keys.values()]:
                others = tuple(each for each in key.used_for if each != use)
                self.keys[key.name] = replace(
                    key, used_for=(*others, use) if key.name == name and use != "none" else others
                )
            if use == "tls" and not (self.behavior.keeps_old or self.behavior.needs_restart):
                self._serve(self.keys[name])
            self._remember()

    def remove(self, name: str) -> None:
        """Delete a key that nothing uses. Raises Refused."""
        with self._lock:
            if name not in self.keys:
                raise Refused(404, "there is no such key")
            if self.keys[name].used_for:
                raise Refused(409, "the key is in use")
            del self.keys[name]
            self._remember()

    def _serve(self, key: Key | None) -> None:
        self.serving, self._context = key, None
        self._remember()

    def _remember(self) -> None:
        if self.memory is None:
            return
        kept = {
            "keys": [asdict(key) for key in self.keys.values()],
            "serving": self.serving.pem if self.serving else "",
        }
        new = self.memory.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(kept))
        new.replace(self.memory)

    def _back_at(self) -> float:
        if self.behavior.never_comes_back:
            return float("inf")
        seconds = self.behavior.restart_seconds
        return self.clock() + (self.restart_seconds if seconds is None else seconds)
