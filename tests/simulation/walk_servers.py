"""The walk's part about SCEP servers: their allowance, by what they saw and by what was claimed."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import datetime, timedelta

from tests.simulation.records import Claimed, Message, Server

_MINUTE = timedelta(minutes=1)


class Allowances:
    """Counts for each server what was claimed and has not ended, and what it was asked within a minute."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._claimed: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._asked: dict[str, deque[datetime]] = defaultdict(deque)

    def server(self, server: Server) -> None:
        """From now on."""
        self._servers[server.server] = server

    def claimed(self, claimed: Claimed) -> Iterator[str]:
        """What is wrong with a claim."""
        held = self._claimed[claimed.server]
        held.update(claimed.requests)
        limit = self._servers[claimed.server].at_once
        if limit is not None and len(held) > limit:
            yield f"{len(held)} requests are claimed at once, {limit} allowed"

    def released(self, device: str, sequence: int) -> None:
        """Nobody acts on this request any more."""
        for held in self._claimed.values():
            held.discard((device, sequence))

    def forgotten(self, device: str) -> None:
        """The device is gone."""
        for server, held in self._claimed.items():
            self._claimed[server] = {each for each in held if each[0] != device}

    def sent(self, message: Message) -> Iterator[str]:
        """What is wrong with the first message of a step: any minute sees no more than the allowance."""
        asked = self._asked[message.server]
        asked.append(message.sent_at)
        while asked[0] <= message.sent_at - _MINUTE:
            asked.popleft()
        limit = self._servers[message.server].per_minute
        if limit is not None and len(asked) > limit:
            yield f"{message.server} was asked {len(asked)} times within a minute, {limit} allowed"
