"""R9 to R18 over months: a small fleet in fake time, and a walk over what it left behind.

The whole year of a thousand devices: `python -m tests.simulation.year`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.figures import report
from tests.simulation.records import Deleted, Final, Line, Message
from tests.simulation.simulation import Simulation
from tests.simulation.walk import walk

DEVICES, DAYS = 50, 100


@pytest.mark.django_db
def test_r9_to_r18_hold_over_months() -> None:
    simulation = Simulation(devices=DEVICES, days=DAYS, seed=1)
    simulation.run()
    breaches = walk(simulation.log)
    figures = report(simulation, breaches, days=DAYS)
    print(figures)
    assert not breaches, "\n".join(map(str, breaches[:20]))
    # what was simulated was worth it: successes, errors of several kinds, polls, renewals
    ended = [r for r in simulation.log if isinstance(r, Line) and r.completed_at is not None]
    statuses = Counter(line.status for line in ended)
    assert statuses["successful"] > 2 * DEVICES
    assert len({line.details for line in ended}) >= 5
    kinds = Counter(r.kind for r in simulation.log if isinstance(r, Message))
    assert kinds["CertPoll"] > 10
    # and everybody has a certificate, as the walk has looked at one by one
    gone = {r.device for r in simulation.log if isinstance(r, Deleted)}
    certified = {r.device for r in simulation.log if isinstance(r, Final) and not r.key.is_default}
    assert len(certified) == DEVICES - len(gone)
