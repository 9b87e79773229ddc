"""Write the lifecycle diagrams into docs/architecture.md, from the tables that the program runs on.

`python scripts/lifecycle_diagram.py` writes; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from devices.rules import deployment, restart  # noqa: E402
from devices.rules.deployment import CLOSED_DEPLOYMENT_STATES, DeploymentState  # noqa: E402
from devices.rules.lifecycle import CLOSED_STATES, STATUS, TRANSITIONS, State  # noqa: E402
from devices.rules.restart import CLOSED_RESTART_STATES, RestartState  # noqa: E402

DOCUMENT = ROOT / "docs" / "architecture.md"

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def arrows(transitions: Mapping[tuple[S, E], S], first: S, closed: Collection[S]) -> list[str]:
    """The Mermaid source: one arrow for each pair of states, with every event that leads there."""
    events: dict[tuple[S, S], list[str]] = {}
    for (before, event), after in transitions.items():
        events.setdefault((before, after), []).append(event.value)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [
        f"    {before.value} --> {after.value}: {', '.join(names)}"
        for (before, after), names in events.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in type(first) if state in closed]
    return [*lines, "```"]


MEANING = {
    State.SCHEDULED: "waits for its request time; nothing was made or sent",
    State.PREPARED: "key, CSR and transaction ID are stored; the server has certainly not seen the request",
    State.SENT: "the request may have reached the server; its outcome is not known",
    State.PENDING: "the server answered PENDING; it is polled",
    State.SUCCESSFUL: "the certificate was issued and registered",
    State.FAILED: "ended with one of R17's [Details]",
}

RESTART_MEANING = {
    RestartState.WAITING: "the device was certainly not asked, or certainly did not take it",
    RestartState.REQUESTED: "the device may have been asked; its answer is not known",
    RestartState.COMING_BACK: "the device said that it restarts, or was seen doing so",
    RestartState.DONE: "the device is back, and has started anew since it was asked",
    RestartState.FAILED: "given up; the explanation says what to look at",
    RestartState.REFUSED: "the device said no, and another try would not change that",
}


def request() -> list[str]:
    """The lifecycle of a certificate issuance request."""
    lines = arrows(TRANSITIONS, State.SCHEDULED, CLOSED_STATES)
    lines += ["", "| state | shown as [Status] (R16) | what it means |", "|---|---|---|"]
    return lines + [f"| `{state.value}` | `{STATUS[state].value}` | {MEANING[state]} |" for state in State]


def of_restart() -> list[str]:
    """The lifecycle of a restart."""
    lines = arrows(restart.TRANSITIONS, RestartState.WAITING, CLOSED_RESTART_STATES)
    lines += ["", "| state | what it means |", "|---|---|"]
    return lines + [f"| `{state.value}` | {RESTART_MEANING[state]} |" for state in RestartState]


DEPLOYMENT_MEANING = {
    DeploymentState.ISSUED: "the device has not said that it took the key; it may have got it all the same",
    DeploymentState.DELIVERED: "the device said that it took it; it is told to use it, and restarts if wanted",
    DeploymentState.ACTIVE: "the device was told to use it; whether it serves the certificate is looked at",
    DeploymentState.VERIFIED: "a TLS handshake showed the certificate",
    DeploymentState.NOT_VERIFIABLE: "delivered for a use that no handshake shows, such as IEEE 802.1X",
    DeploymentState.ROLLING_BACK: "the certificate is not served: the former key is brought back",
    DeploymentState.ROLLED_BACK: "the device serves the former certificate again",
    DeploymentState.FAILED: "given up; the explanation says what to look at",
}


def of_deployment() -> list[str]:
    """The lifecycle of a delivery. What leads back to its beginning is in the text."""
    forward = {
        (before, event): after
        for (before, event), after in deployment.TRANSITIONS.items()
        if event is not deployment.DeploymentEvent.AGAIN
    }
    lines = arrows(forward, DeploymentState.ISSUED, CLOSED_DEPLOYMENT_STATES)
    lines += ["", "| state | what it means |", "|---|---|"]
    return lines + [f"| `{state.value}` | {DEPLOYMENT_MEANING[state]} |" for state in DeploymentState]


DIAGRAMS = {"lifecycle": request, "restart": of_restart, "deployment": of_deployment}


def with_diagram(text: str) -> str:
    """`text` with the parts between the markers written anew. Raises ValueError without the markers."""
    for name, lines in DIAGRAMS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, rest = text.split(begin, 1)
        _old, tail = rest.split(end, 1)
        text = "\n".join([head + begin, *lines(), end + tail])
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(with_diagram(DOCUMENT.read_text()))
