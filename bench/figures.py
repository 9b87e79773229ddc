"""What a benchmark comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with what it is to be; exactly one of the two bounds is given."""

    value: float
    remark: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def aim(self) -> str:
        """For people."""
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"

    @property
    def met(self) -> bool:
        """Whether the aim is reached."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return self.at_least is not None and self.value >= self.at_least
