"""Write the lifecycle diagram into docs/architecture.md, from the table that the program runs on.

`python scripts/lifecycle_diagram.py` writes; a test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from devices.rules.lifecycle import CLOSED_STATES, STATUS, TRANSITIONS, State  # noqa: E402

DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- lifecycle: begin -->", "<!-- lifecycle: end -->"


def diagram() -> str:
    """The Mermaid source: one arrow for each pair of states, with every event that leads there."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        arrows.setdefault((before, after), []).append(event.value)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.SCHEDULED.value}"]
    lines += [
        f"    {before.value} --> {after.value}: {', '.join(events)}"
        for (before, after), events in arrows.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in State if state in CLOSED_STATES]
    lines += ["```", "", "| state | shown as [Status] (R16) | what it means |", "|---|---|---|"]
    lines += [f"| `{state.value}` | `{STATUS[state].value}` | {MEANING[state]} |" for state in State]
    return "\n".join(lines)


MEANING = {
    State.SCHEDULED: "waits for its request time; nothing was made or sent",
    State.PREPARED: "key, CSR and transaction ID are stored; the server has certainly not seen the request",
    State.SENT: "the request may have reached the server; its outcome is not known",
    State.PENDING: "the server answered PENDING; it is polled",
    State.SUCCESSFUL: "the certificate was issued and registered",
    State.FAILED: "ended with one of R17's [Details]",
}


def with_diagram(text: str) -> str:
    """`text` with the part between the markers written anew. Raises ValueError without the markers."""
    head, rest = text.split(BEGIN, 1)
    _old, tail = rest.split(END, 1)
    return f"{head}{BEGIN}\n{diagram()}\n{END}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_diagram(DOCUMENT.read_text()))
