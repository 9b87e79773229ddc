"""A worker killed in an import: `python -m tests.end_to_end.killed_import [--rows 10000] [--whole]`.

A file of devices with settings is handed in over REST, checked and applied. When half of it is done, the worker gets
kill -9: between two chunks of the good rows, or with --whole inside the one transaction. Another worker is started,
and the figures say what the user saw, how long the import stood still, and that nothing is doubled or half done.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from tests.end_to_end.deployment import Api, Deployment, deployed
from tests.peers.process import wait_until

TENTH = 10
"""Every tenth row changes a device that is there already; the others add one."""

SERVER = "CA"
_BATCH = 500
_LONGEST = 600
"""Seconds for each part of a run: reached in failure only."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a user sees of a job over REST."""

    state: str
    done: int
    refused: int
    total: int
    message: str

    def __str__(self) -> str:
        counts = f"{self.state}, {self.done} done, {self.refused} refused, of {self.total}"
        return f"{counts}: {self.message}" if self.message else counts


@dataclass(frozen=True, slots=True)
class Fleet:
    """The rows of the file, told apart by what an export says of them."""

    as_in_the_file: int
    as_before: int
    half_done: int
    """Neither the one nor the other."""
    others: int
    """Devices that the file does not name."""


@dataclass
class Figures:
    """What a run came to; seconds count from the kill."""

    rows: int
    whole: bool
    before: list[tuple[float, Seen]] = field(default_factory=list)
    """What was seen from the start to the kill, with seconds since the start."""
    after: list[tuple[float, Seen]] = field(default_factory=list)
    """What was seen from the kill to the end."""
    fleet_after_kill: Fleet = field(default_factory=lambda: Fleet(0, 0, 0, 0))
    fleet_at_end: Fleet = field(default_factory=lambda: Fleet(0, 0, 0, 0))
    worker_ready: float = 0
    taken_over: float = 0
    ended: float = 0
    audited: Counter[str] = field(default_factory=Counter)
    """How many devices have an event of the import, by action."""
    audited_twice: Counter[str] = field(default_factory=Counter)
    """How many have more than one."""
    next_requests: Counter[int] = field(default_factory=Counter)
    """How many devices have how many lines in their status logs."""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"rows                       {self.rows}, {'all or nothing' if self.whole else 'the good rows only'}"
        for title, seen in (("seen until the kill", self.before), ("seen after the kill", self.after)):
            for number, (second, one) in enumerate(seen):
                yield f"{'' if number else title:26} {second:6.1f} s  {one}"
        yield f"fleet after the kill       {self.fleet_after_kill}"
        yield f"fleet at the end           {self.fleet_at_end}"
        yield (
            f"seconds since the kill     next worker ready {self.worker_ready:.1f}, "
            f"taken over {self.taken_over:.1f}, ended {self.ended:.1f}"
        )
        yield f"devices with audit events  {dict(self.audited)}, with more than one: {dict(self.audited_twice)}"
        yield f"lines in status logs       {dict(self.next_requests)}"

    @property
    def is_right(self) -> bool:
        """True when every row was applied, once."""
        changed = len(range(0, self.rows, TENTH))
        return (
            self.after[-1][1].state == "finished"
            and self.fleet_at_end == Fleet(self.rows, 0, 0, 0)
            and self.fleet_after_kill.half_done == 0
            and self.audited
            == Counter(
                {
                    "device.create": self.rows - changed,
                    "device.update": changed,
                    "scep_settings.update": self.rows,
                }
            )
            and not self.audited_twice
            and self.next_requests == Counter({1: self.rows})
        )


def run(
    directory: Path,
    *,
    rows: int,
    whole: bool,
    say: Callable[[str], None] = lambda _line: None,
) -> Figures:
    """One whole run. `rows`: at least 400, two chunks of what is applied at once."""
    figures = Figures(rows, whole)
    with deployed(directory, workers=1) as (deployment, api):
        content = _file(rows)
        before = _prepare(api, content)
        say("prepared")
        import_id = api.upload("imports/?format=csv&file_name=fleet.csv", _as_csv(content), "text/csv")["id"]
        _wait_for(lambda: api.call("GET", f"imports/{import_id}/")["state"] == "checked", "the check")
        say("checked")
        with _locked(deployment, content[_middle(rows)]["name"]) as is_reached:
            began, since = time.monotonic(), datetime.now(UTC)
            started = api.call("POST", f"imports/{import_id}/apply/", {"good_rows_only": not whole})
            job = int(started["apply_job"])
            watch = _Watch(api, job, began, figures.before, say)
            _wait_for(lambda: watch.look() is not None and is_reached(), "half of the import")
            lease = _lease(deployment, job)
            killed = time.monotonic()
            deployment.kill_worker("worker-1")
        watch = _Watch(api, job, killed, figures.after, say)
        watch.look()
        _wait_for(lambda: not _working(deployment), "the end of the dead worker's transaction")
        figures.fleet_after_kill = _fleet(api, content, before)
        deployment.start_worker("worker-2")
        figures.worker_ready = time.monotonic() - killed

        def has_ended() -> bool:
            if not figures.taken_over and _lease(deployment, job) != lease:
                figures.taken_over = time.monotonic() - killed
            return watch.look().state not in {"waiting", "running"}

        _wait_for(has_ended, "the end of the import")
        figures.ended = time.monotonic() - killed
        figures.fleet_at_end = _fleet(api, content, before)
        _count(api, figures, since)
    return figures


def _middle(rows: int) -> int:
    """The row that stands still: it changes a device that is there."""
    return rows // 2 // TENTH * TENTH


def _file(rows: int) -> list[dict[str, str]]:
    start = (datetime.now(UTC) + timedelta(days=60)).replace(microsecond=0)
    return [
        {
            "name": f"mfp-{number:05}",
            "host": f"mfp-{number:05}.example.com",
            "location": f"Room {number}",
            "server": SERVER,
            "timer_enabled": "true",
            "request_start_at": start.isoformat().replace("+00:00", "Z"),
            "request_interval_days": "90",
            "organization": "Example",
        }
        for number in range(rows)
    ]


def _as_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _prepare(api: Api, content: list[dict[str, str]]) -> Mapping[str, Mapping[str, str]]:
    """The SCEP server, which nobody asks, and the devices that are there already; these as an export says them."""
    api.call("POST", "scep-servers/", {"name": SERVER, "url": "http://127.0.0.1:9/scep"})
    there = [{"name": row["name"], "host": "before.example.com"} for row in content[::TENTH]]
    for first in range(0, len(there), _BATCH):
        api.call("POST", "devices/", there[first : first + _BATCH])
    return _exported(api)


@contextmanager
def _locked(deployment: Deployment, name: str) -> Iterator[Callable[[], bool]]:
    """Hold the settings of one device, as somebody does who edits them; yields whether a worker waits for them."""
    with (
        psycopg.connect(deployment.database_url) as holder,
        psycopg.connect(deployment.database_url, autocommit=True) as watcher,
    ):
        holder.execute(
            "SELECT 1 FROM devices_scepsettings WHERE device_id = "
            "(SELECT id FROM devices_device WHERE name = %s) FOR UPDATE",
            [name],
        )
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"

        def is_reached() -> bool:
            return _number(watcher, blocked, holder.info.backend_pid) > 0

        yield is_reached
        holder.rollback()


def _number(connection: psycopg.Connection[Any], query: str, *values: object) -> int:
    row = connection.execute(query.encode(), values).fetchone()
    return int(row[0]) if row else 0


def _working(deployment: Deployment) -> bool:
    """True while somebody's transaction holds rows of the import."""
    with psycopg.connect(deployment.database_url, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = %s"
        return _number(connection, query, connection.info.dbname) > 0


def _lease(deployment: Deployment, job: int) -> str:
    with psycopg.connect(deployment.database_url, autocommit=True) as connection:
        row = connection.execute("SELECT lease FROM devices_job WHERE id = %s", [job]).fetchone()
        return str(row and row[0])


class _Watch:
    """Notes what a user sees of a job each time that it changes."""

    def __init__(
        self, api: Api, job: int, began: float, seen: list[tuple[float, Seen]], say: Callable[[str], None]
    ) -> None:
        self._api, self._job, self._began, self._seen, self._say = api, job, began, seen, say

    def look(self) -> Seen:
        """Ask once."""
        found = self._api.call("GET", f"jobs/{self._job}/")
        seen = Seen(*(found[name] for name in ("state", "done", "refused", "total", "message")))
        if not self._seen or self._seen[-1][1] != seen:
            self._seen.append((time.monotonic() - self._began, seen))
            self._say(str(seen))
        return seen


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, timeout=_LONGEST, what=what, interval=0.1)


def _exported(api: Api) -> Mapping[str, Mapping[str, str]]:
    text = api.download("exports/devices.csv").decode("utf-8-sig")
    return {row["name"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}


def _fleet(api: Api, content: list[dict[str, str]], before: Mapping[str, Mapping[str, str]]) -> Fleet:
    """What became of the rows so far."""
    now = _exported(api)
    done = untouched = 0
    for row in content:
        device = now.get(row["name"])
        if device == before.get(row["name"]):
            untouched += 1
        elif device is not None and all(_is_same(device[name], cell) for name, cell in row.items()):
            done += 1
    others = len(now.keys() - {row["name"] for row in content})
    return Fleet(done, untouched, len(content) - done - untouched, others)


def _is_same(exported: str, handed_in: str) -> bool:
    # texts that a spreadsheet would change carry an apostrophe
    return exported.removeprefix("'") == handed_in


def _count(api: Api, figures: Figures, since: datetime) -> None:
    """Audit events of devices since the import was applied, and the lines of the status logs."""
    per_device: Counter[tuple[str, int]] = Counter()
    for action in ("device.", "scep_settings."):
        for event in api.every("audit-events/", action=action, since=since.isoformat(), page_size=500):
            per_device[event["action"], event["target_id"]] += 1
    figures.audited = Counter(action for action, _device in per_device)
    figures.audited_twice = Counter(action for (action, _device), count in per_device.items() if count > 1)
    text = api.download("exports/status-log.csv").decode("utf-8-sig")
    lines = Counter(row["device"] for row in csv.DictReader(io.StringIO(text, newline="")))
    figures.next_requests = Counter(lines.values())


def main() -> int:
    """Print the figures. Exit code 0 when every row was applied, once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="at least 400")
    parser.add_argument("--whole", action="store_true", help="all or nothing, in one transaction")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetseal-killed-import-") as folder:
        figures = run(
            Path(folder),
            rows=options.rows,
            whole=options.whole,
            say=lambda line: print(f"\r{line:100}", end="", file=sys.stderr, flush=True),
        )
    print(file=sys.stderr)
    print("\n".join(figures.lines()))
    return 0 if figures.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
