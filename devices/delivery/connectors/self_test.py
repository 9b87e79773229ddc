"""A look at a device with its connector's settings that changes nothing: what was found, and what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    step: str
    is_good: bool
    message: str
    """What was found, or what was expected, what came and what to do. Holds no secret."""


class SelfTesting(ABC):
    """A connector that can try its settings without changing anything."""

    @abstractmethod
    def self_test(self) -> Sequence[Finding]:
        """What was found, in the order in which it was looked at; ends at what keeps it from going on. Never raises
        DeliveryError: that is a finding."""
