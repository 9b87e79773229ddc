"""Runs targets on changed messages, and keeps what should not have happened."""

from __future__ import annotations

import random
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.scep.fuzz.corpus import Corpus
from tests.scep.fuzz.mutation import Mutator
from tests.scep.fuzz.targets import Target

SLOW = 3.0
"""Seconds of CPU that one message may take; the longest sound ones take 0.01."""


@dataclass(slots=True)
class Finding:
    """What should not have happened, with the changed message that did it; `times` counts those like it."""

    target: str
    problem: str
    where: str
    message: bytes
    times: int = 1

    def __str__(self) -> str:
        return f"{self.target}: {self.problem} ({self.times} times)\n    at {self.where}"


@dataclass(slots=True)
class Tally:
    """How often each target ran and what it came to, and the findings."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    octets: int = 0
    slowest: float = 0

    @property
    def runs(self) -> int:
        """How many messages were read."""
        return sum(counted.total() for counted in self.outcomes.values())

    def find(self, target: str, problem: str, where: str, message: bytes) -> None:
        """Keep a finding; one of each kind and place, with the shortest message."""
        found = self.findings.setdefault(
            (problem.split(":")[0], where), Finding(target, problem, where, message, 0)
        )
        found.times += 1
        if len(message) < len(found.message):
            found.message = message

    def save(self, directory: Path) -> None:
        """Write each finding's message into a file of its own."""
        directory.mkdir(parents=True, exist_ok=True)
        for number, found in enumerate(self.findings.values()):
            (directory / f"{number:02}.txt").write_text(f"{found}\n")
            (directory / f"{number:02}.bin").write_bytes(found.message)

    def __str__(self) -> str:
        lines = [
            f"  {name:36} {counted.total():8,}  "
            + ", ".join(f"{outcome} {times:,}" for outcome, times in counted.most_common(4))
            for name, counted in sorted(self.outcomes.items())
        ]
        lines.append(
            f"{self.runs:,} messages, {self.octets / 1e6:.1f} MB; the slowest took {self.slowest:.2f} s of CPU; "
            f"{len(self.findings)} findings"
        )
        return "\n".join([*lines, *map(str, self.findings.values())])


class Fuzzer:
    """Draws messages from `corpus` and changes them as `seed` says."""

    def __init__(self, corpus: Corpus, targets: Iterable[Target], seed: int) -> None:
        self._corpus = corpus
        self._targets = [target for target in targets for _ in range(target.weight)]
        self._dice = random.Random(seed)
        everything = [message for found in corpus.kinds.values() for message in found]
        self._mutator = Mutator(self._dice, everything)

    def run(self, tally: Tally, *, most: int | None = None, until: float = float("inf")) -> None:
        """Run `most` messages, or as many as go until `until` (time.monotonic)."""
        done = 0
        with warnings.catch_warnings():
            # the library warns of negative serial numbers, and of names that are longer than X.520 permits
            warnings.simplefilter("ignore")
            while done != most and time.monotonic() < until:
                target = self._targets[done % len(self._targets)]
                samples = [message for kind in target.kinds for message in self._corpus.kinds[kind]]
                self.one(target, self._mutator.mutate(self._dice.choice(samples)), tally)
                done += 1

    def one(self, target: Target, message: bytes, tally: Tally) -> None:
        """Run `target` on one message."""
        began = time.process_time()
        try:
            outcome = target.run(message)
        except Exception as error:  # whatever it is: that is the question
            outcome = "FOUND"
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if "/scep/" in frame.filename
            ]
            at = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(at.filename).name}:{at.lineno}"
            tally.find(target.name, f"{type(error).__name__}: {str(error)[:200]}", where, message)
        taken = time.process_time() - began
        if taken > SLOW:
            tally.find(target.name, f"slow: {taken:.1f} s", target.name, message)
        tally.slowest = max(tally.slowest, taken)
        tally.octets += len(message)
        tally.outcomes[target.name][outcome] += 1
