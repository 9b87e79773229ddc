"""A device that something goes wrong with: what the product says of it, and what the device itself shows."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tests.end_to_end.counterparts import Counterpart, switch_timer_on
from tests.end_to_end.deployment import Api
from tests.end_to_end.pages import Reader
from tests.end_to_end.passing_time import PassingTime
from tests.peers.process import wait_until

LONGEST = 600.0
"""Seconds for one step of a case: reached in failure only, however busy the machine is."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the device's key store, with its certificate."""

    pk: int
    fingerprint: str
    """SHA-256 of the certificate."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one delivery that something was done to."""

    fault: str
    peer: str
    messages: tuple[str, ...]
    """What the device's page said meanwhile, the last one when the rest of this was read."""
    tries: int
    """That did not succeed, as REST counts them."""
    state: str
    goes_on: bool
    """It is tried again, or looked at again, by itself."""
    key_is_held: bool
    """The key store has the key with the certificate that was to be delivered."""
    serves: str
    """`old`, `new`, `another` or `nothing`: what the device shows to `openssl s_client` then."""
    then: str = ""
    """What somebody did about it."""
    end: str = ""
    """The state of the same delivery after that."""
    serves_at_the_end: str = ""


class Watched:
    """One device, known to the product as `pk`."""

    def __init__(
        self, api: Api, reader: Reader, time: PassingTime, outside: Counterpart, server: int, challenge: str
    ) -> None:
        self._api, self._reader, self._time, self.outside = api, reader, time, outside
        self.pk = outside.add(api)
        self._server, self._challenge = server, challenge
        api.call("PATCH", f"devices/{self.pk}/scep-settings/", {"server": server})
        self._names = 0
        self._messages: list[str] = []

    def certificate(self, *, restarts: bool = False) -> Key:
        """Have one issued; its delivery begins by itself.

        With `restarts` by the timer, and the device restarts when it has it (R13).
        """
        self._names += 1
        name = f"TLS-{self._names}"
        if restarts:
            wanted = {"key_name": name, "auto_restart": True}
            switch_timer_on(self._api, self.pk, self._server, self._challenge, **wanted)
        else:
            request = {"key_name": name, "key_use": "tls", "challenge_password": self._challenge}
            self._api.call("POST", f"devices/{self.pk}/issuance-requests/", request)
        found: list[Key] = []

        def came() -> bool:
            rows = self._api.every(f"devices/{self.pk}/keys/")
            found[:] = [Key(row["id"], row["fingerprint_sha256"]) for row in rows if row["name"] == name]
            return bool(found)

        wait_until(came, timeout=LONGEST, what=f"a certificate for {self.outside.name}", interval=0.2)
        return found[0]

    def first_certificate(self) -> Key:
        """The one that it has and serves when something goes wrong."""
        key = self.certificate()
        self.until(key, "verified")
        if self.outside.served != key.fingerprint:
            raise AssertionError(f"{self.outside.name} does not serve its first certificate")
        self._messages.clear()
        return key

    def until(self, key: Key, *states: str, saying: str = "", hurried: bool = False) -> dict[str, Any]:
        """The delivery, as soon as its state is one of `states` and its explanation has `saying`; not at work.

        `hurried`: what is left until the device is next looked at passes at once, again and again.
        """
        rows: list[dict[str, Any]] = []

        def reached() -> bool:
            rows[:] = [self._api.call("GET", f"devices/{self.pk}/keys/{key.pk}/deployment/")]
            self._read(rows[0])
            row = rows[0]
            if row["state"] in states and saying in row["explanation"]:
                return True
            if hurried:
                self._time.go_on(self.pk)
            return False

        what = f"{self.outside.name} being {' or '.join(states)} {saying}"
        try:
            wait_until(reached, timeout=LONGEST, what=what, interval=0.1)
        except TimeoutError as error:
            raise AssertionError(f"{error}; it is {rows[0]['state']}: {rows[0]['explanation']}") from error
        return rows[0]

    def _read(self, row: dict[str, Any]) -> None:
        """Look at the page when there is something new on it."""
        said = " ".join(row["explanation"].split())
        if said and said not in self._messages and said in self._reader.device(self.pk).explanations:
            self._messages.append(said)

    def restart_until(self, state: str) -> dict[str, Any]:
        """Its newest restart, as soon as it is in `state`."""
        rows: list[dict[str, Any]] = []

        def reached() -> bool:
            rows[:] = self._api.call("GET", f"devices/{self.pk}/restarts/")["results"][:1]
            return bool(rows) and rows[0]["state"] == state

        wait_until(
            reached, timeout=LONGEST, what=f"{self.outside.name}'s restart being {state}", interval=0.1
        )
        return rows[0]

    def let_pass(self, time: timedelta) -> None:
        """So much time passes for it."""
        what = "a worker giving the device's rows back"
        wait_until(lambda: self._time.go_on(self.pk, time), timeout=LONGEST, what=what)

    def change(self, **settings: Any) -> None:
        """Somebody changes some settings of its connector."""
        stored = self._api.call("GET", f"devices/{self.pk}/")["connector_settings"]
        self._api.call("PATCH", f"devices/{self.pk}/", {"connector_settings": stored | settings})

    def confirm(self) -> None:
        """Somebody compares the fingerprint that it shows now with the device itself, and confirms it."""
        path = f"devices/{self.pk}/fingerprint/"
        seen = self._api.call("GET", path)["fingerprint"]
        if seen != self.outside.recognized():
            raise AssertionError(f"{self.outside.name} was seen with {seen}")
        self._api.call("POST", path, {"fingerprint": seen})

    def deliver_again(self, key: Key) -> None:
        """Somebody presses the button."""
        self._api.call("POST", f"devices/{self.pk}/keys/{key.pk}/deployment/")

    def serves(self, old: Key, new: Key) -> str:
        """`old`, `new`, `another` or `nothing`."""
        try:
            served = self.outside.served
        except subprocess.CalledProcessError:
            return "nothing"
        return {old.fingerprint: "old", new.fingerprint: "new"}.get(served, "another")

    def row(self, fault: str, old: Key, new: Key, delivery: dict[str, Any]) -> Row:
        """What is to be said of it now."""
        held = {
            each["id"]: each["fingerprint_sha256"] for each in self._api.every(f"devices/{self.pk}/keys/")
        }
        return Row(
            *(fault, self.outside.peer, tuple(self._messages), delivery["tries"], delivery["state"]),
            goes_on=delivery["next_try_at"] is not None,
            key_is_held=held.get(new.pk) == new.fingerprint,
            serves=self.serves(old, new),
        )

    def mended(self, row: Row, then: str, old: Key, new: Key, *, hurried: bool = False) -> Row:
        """`row`, and that the very key arrived after somebody did `then`."""
        delivery = self.until(new, "verified", hurried=hurried)
        return replace(row, then=then, end=delivery["state"], serves_at_the_end=self.serves(old, new))

    def page(self) -> str:
        """All that its page says."""
        return self._reader.device(self.pk).text
