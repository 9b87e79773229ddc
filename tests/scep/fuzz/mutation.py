"""Changes to messages: blind ones to bytes, and ones that know BER and keep the lengths around them right."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Self

from scep import ber

_DEEPEST = 24
_INTERESTING = (
    b"",
    b"\0",
    b"\x80",
    b"\xff",
    b"\x7f",
    b"\0" * 8,
    b"\xff" * 9,
    b"\x30\x80",
    b"\0\0",
    b"<",
    b"%s\n",
)
_TAGS = (
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x0C,
    0x13,
    0x17,
    0x18,
    0x1E,
    0x24,
    0x30,
    0x31,
    0x80,
    0xA0,
    0xA1,
    0xA3,
)
_LONGEST = 64 * 1024
"""Octets of what is made: large messages have tests of their own, and here many count."""


@dataclass(slots=True)
class Node:
    """A BER value that can be changed: primitive with `body`, or constructed of `members`."""

    tag: int
    body: bytes = b""
    members: list[Node] | None = None

    @classmethod
    def read(cls, der: bytes, depth: int = 0) -> Self:
        """The value, its constructed parts opened. Raises ValueError for what is no DER."""
        tag = der[0] if der else 0
        if tag & 0x20 and depth < _DEEPEST:
            return cls(tag, members=[cls.read(each, depth + 1) for each in ber.children(der)])
        head = 2 if der[1:2] < b"\x80" else 2 + (der[1] & 0x7F)
        return cls(tag, der[head:])

    def all(self) -> list[Node]:
        """This value and all inside."""
        found = [self]
        for member in self.members or ():
            found += member.all()
        return found

    def copy(self) -> Node:
        """The same once more, all inside too."""
        members = None if self.members is None else [each.copy() for each in self.members]
        return Node(self.tag, self.body, members)

    def write(self, dice: random.Random, oddness: float = 0) -> bytes:
        """DER; with `oddness` (0 to 1) some lengths are indefinite, too long or wrong."""
        members = self.members
        body = self.body if members is None else b"".join(each.write(dice, oddness) for each in members)
        if dice.random() >= oddness:
            return ber.wrap(self.tag, body)
        match dice.randrange(4):
            case 0:
                return bytes((self.tag, 0x84)) + len(body).to_bytes(4, "big") + body
            case 1:
                return bytes((self.tag, 0x84)) + dice.randbytes(4) + body
            case 2:
                return bytes((self.tag, dice.randrange(256))) + body
            case _:
                return bytes((self.tag | (0x20 if dice.random() < 0.5 else 0), 0x80)) + body + b"\0\0"


class Mutator:
    """Changes messages as `dice` fall; `others` are what pieces are taken from."""

    def __init__(self, dice: random.Random, others: list[bytes]) -> None:
        self._dice = dice
        self._others = others
        self._nodes: list[Node] = []
        for each in others:
            try:
                self._nodes += Node.read(each).all()
            except ValueError:
                continue

    def mutate(self, data: bytes) -> bytes:
        """A changed `data`, most often as BER where it is that."""
        if self._dice.random() < 0.65:
            try:
                return self.restructure(data)[:_LONGEST]
            except ValueError:
                pass
        return self.scramble(data)[:_LONGEST]

    def restructure(self, der: bytes) -> bytes:
        """One to three values inside changed, the lengths around them right unless it wants them wrong.

        Raises ValueError for what is no DER.
        """
        dice, root = self._dice, Node.read(der)
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            self._change(dice.choice(root.all()))
        return root.write(dice, dice.choice((0, 0, 0, 0, 0.02, 0.2)))

    def _change(self, node: Node) -> None:
        dice = self._dice
        members = node.members
        match dice.randrange(9):
            case 0:
                node.tag = dice.choice(_TAGS) if dice.random() < 0.7 else dice.randrange(256)
            case 1 if self._nodes:
                # a copy: a value that is changed later must not be found inside of itself
                other = dice.choice(self._nodes).copy()
                node.tag, node.body, node.members = other.tag, other.body, other.members
            case 2:
                node.body, node.members = dice.choice(_INTERESTING), None
            case 3 if members:
                del members[dice.randrange(len(members))]
            case 4 if members:
                members.insert(dice.randrange(len(members) + 1), dice.choice(members))
            case 5 if members:
                dice.shuffle(members)
            case 6:
                inner = Node(node.tag, node.body, node.members)
                for _ in range(dice.choice((1, 2, 40))):
                    inner = Node(dice.choice((0x24, 0x30, 0x31, 0xA0)), members=[inner])
                node.tag, node.members = inner.tag, inner.members
            case 7 if members is None:
                node.body = node.body * dice.choice((2, 50))
            case _:
                if members is None:
                    node.body = self.scramble(node.body)

    def scramble(self, data: bytes) -> bytes:
        """Bytes flipped, cut, doubled, put in, or taken from another message."""
        dice, changed = self._dice, bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 4, 8))):
            at = dice.randrange(len(changed) + 1)
            match dice.randrange(7):
                case 0 if at < len(changed):
                    changed[at] ^= 1 << dice.randrange(8)
                case 1 if at < len(changed):
                    changed[at] = dice.randrange(256)
                case 2:
                    del changed[at : at + dice.choice((1, 2, 16, 400))]
                case 3:
                    changed[at:at] = dice.choice(_INTERESTING)
                case 4:
                    piece = changed[at : at + dice.randrange(1, 64)]
                    changed[at:at] = piece * dice.choice((1, 3))
                case 5:
                    del changed[at:]
                case _:
                    other = dice.choice(self._others)
                    start = dice.randrange(len(other) + 1)
                    changed[at : at + dice.randrange(32)] = other[start : start + dice.randrange(200)]
        return bytes(changed)
