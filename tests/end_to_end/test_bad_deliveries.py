"""Deliveries that go wrong (F5): what a user reads, what is tried again, and that no key is lost.

Every part is a process of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.end_to_end import bad_deliveries
from tests.end_to_end.faults import CASES
from tests.end_to_end.watched import Row


class Expected(NamedTuple):
    """Of one case."""

    peer: str
    state: str
    tries: int
    serves: str
    messages: tuple[str, ...]
    """A part of each that the device's page said, in their order; the last one to the end."""


ANSWERS_NO_MORE = (
    "The device took the key and has not answered since. The certificate is verified as soon as it does.",
    "has not answered for a week, so the certificate was never seen. Look at the device itself",
)
NOT_SERVED = (
    "The device said that it took the key, and still serves another certificate. It is looked at again.",
    "went on serving another certificate, so the old key was brought back and is in use. The new key is kept.",
)
EXPECTED = {
    "wrong_password": Expected(
        *("PAPPL", "failed", 1, "old"),
        ("did not accept the user name and password in its connector's settings. Correct them",),
    ),
    "wrong_ssh_password": Expected(
        *("OpenSSH, nginx", "failed", 1, "old"),
        ("sign in with this password. Correct it in the connector's settings",),
    ),
    "another_printer": Expected("PAPPL", "failed", 1, "another", ("Neither password nor key was sent.",)),
    "another_host_key": Expected(
        *("OpenSSH, nginx", "failed", 1, "old"),
        ("Nothing was sent. If the host got a new key, confirm it; if not, somebody else answers",),
    ),
    "full_key_store": Expected(
        "virtual MFP",
        "failed",
        1,
        "old",
        ("The key store of the device is full. Delete a key at the device",),
    ),
    "answer_lost": Expected(
        *("PAPPL", "issued", 1, "new"),
        ("It is looked at before the key is sent again. The connection to the device broke before it had",),
    ),
    "not_reloaded": Expected("OpenSSH, nginx", "rolled_back", 0, "old", NOT_SERVED),
    "keeps_old": Expected("virtual MFP", "rolled_back", 0, "old", NOT_SERVED),
    "never_comes_back": Expected("virtual MFP", "failed", 2, "nothing", ANSWERS_NO_MORE),
    "server_gone": Expected("OpenSSH, nginx", "failed", 2, "nothing", ANSWERS_NO_MORE),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    found = bad_deliveries.run(tmp_path_factory.mktemp("bad"))
    return {case.__name__: row for case, row in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("name", [case.__name__ for case in CASES])
def test_it_is_said_on_the_devices_page_and_the_very_key_arrives_in_the_end(
    name: str, rows: dict[str, Row]
) -> None:
    row, expected = rows[name], EXPECTED[name]
    said = (row.peer, row.state, row.serves)
    assert said == (expected.peer, expected.state, expected.serves), row.messages
    # one that is away is looked at now and then before its week is let pass: the slower the machine, the more often
    more = 5 if name in {"never_comes_back", "server_gone"} else 0
    assert expected.tries <= row.tries <= expected.tries + more
    assert row.goes_on == (name == "answer_lost"), "what somebody has to change is not tried again"
    assert expected.messages[-1] in row.messages[-1]
    remaining = iter(row.messages)
    assert all(any(part in message for message in remaining) for part in expected.messages), row.messages
    assert row.key_is_held
    assert (row.end, row.serves_at_the_end) == ("verified", "new")


def test_no_message_holds_a_secret(rows: dict[str, Row]) -> None:
    said = " ".join(message for row in rows.values() for message in row.messages)
    assert "no longer right" not in said
    assert "the printer's own password" not in said
    assert "PRIVATE KEY" not in said


def test_the_table_has_a_row_for_each_and_the_messages_under_it(rows: dict[str, Row]) -> None:
    printed = list(bad_deliveries.lines(list(rows.values())))
    assert len([line for line in printed if not line.startswith("    ")]) == 1 + len(CASES)
    assert "LOST" not in "".join(printed)
