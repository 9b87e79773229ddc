"""Asking many devices over SNMP at the same time, with one engine: making one takes longer than asking a device."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from pysnmp.hlapi.v3arch.asyncio import SnmpEngine

from devices.delivery.connectors.snmp import Access, Rows, first_rows_with
from devices.delivery.errors import DeliveryError

TARGETS_PER_ENGINE = 256
"""Devices that one engine is used for: what it keeps of each SNMPv3 device makes the next one a little slower."""


class SnmpMany:
    """One engine and its event loop, for one thread, until the block ends."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        # pysnmp has no types for it
        self._engine: Any = None
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close_engine()
        self._runner.close()

    def first_rows(self, accesses: Sequence[Access], columns: Sequence[str]) -> list[Rows | DeliveryError]:
        """What `snmp.first_rows` returns or raises for each of `accesses`, in their order, asked at the same time."""
        return self._runner.run(self._first_rows(accesses, columns))

    async def _first_rows(
        self, accesses: Sequence[Access], columns: Sequence[str]
    ) -> list[Rows | DeliveryError]:
        if self._asked + len(accesses) > TARGETS_PER_ENGINE:
            self._close_engine()
        if self._engine is None:
            # here, for it takes the loop that runs
            self._engine, self._asked = SnmpEngine(), 0
        self._asked += len(accesses)
        asking = (self._one(self._engine, access, columns) for access in accesses)
        return await asyncio.gather(*asking)

    @staticmethod
    async def _one(engine: Any, access: Access, columns: Sequence[str]) -> Rows | DeliveryError:
        try:
            return await first_rows_with(engine, access, columns)
        except DeliveryError as error:
            return error

    def _close_engine(self) -> None:
        if self._engine is not None:
            self._engine.close_dispatcher()
            self._engine = None
