"""Time that passes for one device without anybody waiting for it.

What is due stands in the database, so a time passes when everything that is written there lies as much further back:
the processes, their code and their clocks are those of every installation. It is as if all workers had been away for
so long. Rows that a worker has taken up are left alone until it has given them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

_COLUMNS = {
    "devices_restart": ("created_at", "requested_at", "completed_at", "next_action_at"),
    "devices_deployment": ("created_at", "since", "sent_at", "completed_at", "next_action_at"),
}


class PassingTime:
    """For the devices in the database at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def stopped(self, device: int) -> Iterator[None]:
        """Until the block ends nothing of the device is taken up, though it is due: dispatchers pass it over.

        As they do while another one works on it. What a worker does with it already goes on.
        """
        with psycopg.connect(self._url) as connection, connection.transaction(force_rollback=True):
            connection.execute("SELECT 1 FROM devices_device WHERE id = %s FOR NO KEY UPDATE", [device])
            yield

    def go_on(self, device: int, by: timedelta | None = None) -> bool:
        """Let `by` pass for the device, or what is left until it is next looked at.

        False, and nothing has happened, while a worker has taken something of it up.
        """
        with psycopg.connect(self._url) as connection, connection.transaction():
            due: list[datetime] = []
            for table in _COLUMNS:
                query = sql.SQL(
                    "SELECT next_action_at, lease FROM {} WHERE device_id = %s AND next_action_at IS NOT NULL "
                    "FOR UPDATE"
                ).format(sql.Identifier(table))
                for next_action_at, lease in connection.execute(query, [device]):
                    if lease is not None:
                        return False
                    due.append(next_action_at)
            if by is None:
                by = min(due) - datetime.now(due[0].tzinfo) if due else timedelta(0)
            if by > timedelta(0):
                for table, columns in _COLUMNS.items():
                    moved = sql.SQL(", ").join(
                        sql.SQL("{0} = {0} - %(by)s").format(sql.Identifier(column)) for column in columns
                    )
                    connection.execute(
                        sql.SQL("UPDATE {} SET {} WHERE device_id = %(device)s").format(
                            sql.Identifier(table), moved
                        ),
                        {"by": by, "device": device},
                    )
            return True
