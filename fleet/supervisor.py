"""A foreground process tree: programs started in order, watched, restarted, and ended together.

Each program runs in a process group of its own, so that Ctrl-C reaches the supervisor alone and the
programs end in order. On Linux each also gets a signal from the kernel when the supervisor dies (prctl
PR_SET_PDEATHSIG), so that nothing is left behind even after kill -9.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Wait before the first, second, ... restart in a row; the last value for all further ones."""
STEADY_SECONDS = 60.0
"""A program that ran this long is steady: its next crash counts as the first."""
GONE_SECONDS = 10.0
"""Nobody waits longer for what was killed; on a machine that is not very busy it is gone at once."""
LOG_LIMIT_BYTES = 10_000_000
"""A log longer than this is put aside (one generation) when its program starts."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the tree."""

    name: str
    """Also the name of its log, `<name>.log`."""
    command: Sequence[str]
    ready: Callable[[], bool] | None = None
    """Asked until True before the next program starts; None: no wait."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the supervisor dies. SIGTERM for programs with children of their own."""
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL at the end."""
    needed_by_others: bool = False
    """Ended after the programs that are not."""
    env: Mapping[str, str] = field(default_factory=dict)


class StartFailed(Exception):
    """A program ended, or was not ready in time, while the tree was started; says why."""


class Interrupted(BaseException):
    """A signal asked for the end while something else than `watch` ran."""


def say(line: str = "") -> None:
    """One line for the person at the terminal. A terminal that is gone is no reason to end."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _die_with(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    """What the child does between fork and exec."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return prepare


def end_with_parent() -> None:
    """End like on SIGTERM when the process that started this one dies, even of kill -9. Linux only."""
    parent = os.getppid()
    if prepare := _die_with(parent, signal.SIGTERM):
        prepare()


class _Running:
    """A program with its process and its history of crashes."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.crashes = 0
        self.restart_at: float | None = None


class Supervisor:
    """Starts programs, watches them, ends them."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        log_dir.mkdir(parents=True, exist_ok=True)
        self._tree: list[_Running] = []
        self._ending = False
        self._watching = False
        self._spawning = False

    def install_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP end the tree; a signal that is ignored (nohup) stays so."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGINT:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._ending:
            self._hurry()
        self._ending = True
        # a program that was just started and is not known yet would be left behind
        if not self._watching and not self._spawning:
            raise Interrupted

    def log_of(self, program: Program) -> Path:
        """Where the output of `program` goes."""
        return self.log_dir / f"{program.name}.log"

    def _spawn(self, running: _Running) -> None:
        program = running.program
        log = self.log_of(program)
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self._spawning = True
        try:
            with log.open("ab") as output:
                running.process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                    program.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **program.env},
                    process_group=0,
                    # one thread only here, which is what makes preexec_fn safe
                    preexec_fn=_die_with(os.getpid(), program.death_signal),
                )
        finally:
            self._spawning = False
        running.started_at = time.monotonic()
        running.restart_at = None
        if self._ending and not self._watching:
            raise Interrupted

    def start(self, program: Program, *, timeout: float = 60) -> None:
        """Start `program` and wait until it is ready. Raises StartFailed with the end of its log."""
        running = _Running(program)
        self._tree.append(running)
        self._spawn(running)
        deadline = time.monotonic() + timeout
        while program.ready is not None and not program.ready():
            self._require_all_alive()
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{program.name} was not ready within {timeout:g} s:\n{self._tail(program)}"
                )
            time.sleep(0.05)

    def _require_all_alive(self) -> None:
        """Raise StartFailed when a program that was started is gone: while starting, none may fail."""
        for running in self._tree:
            if running.process is not None and running.process.poll() is not None:
                outcome = _outcome(running.process.returncode)
                raise StartFailed(f"{running.program.name} ended ({outcome}):\n{self._tail(running.program)}")

    def _tail(self, program: Program, lines: int = 15) -> str:
        log = self.log_of(program)
        return f"({log})\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    def watch(self, tick: Callable[[], None] | None = None) -> None:
        """Restart what crashes, and call `tick` every second, until a signal asks for the end."""
        next_tick = 0.0
        self._watching = True
        while not self._ending:
            now = time.monotonic()
            for running in self._tree:
                self._look_after(running, now)
            if tick is not None and now >= next_tick:
                tick()
                next_tick = now + 1.0
            time.sleep(0.1)

    def _look_after(self, running: _Running, now: float) -> None:
        process, name = running.process, running.program.name
        if process is None or process.poll() is None:
            return
        if running.restart_at is None:
            self._kill_group(process.pid)
            if now - running.started_at > STEADY_SECONDS:
                running.crashes = 0
            wait = BACKOFF_SECONDS[min(running.crashes, len(BACKOFF_SECONDS) - 1)]
            running.crashes += 1
            running.restart_at = now + wait
            say(
                f"{name} ended unexpectedly ({_outcome(process.returncode)}); it starts again in {wait:g} s. "
                f"Its log: {self.log_of(running.program)}"
            )
        elif now >= running.restart_at:
            self._spawn(running)

    def stop(self) -> None:
        """End everything, what others need last. Returns when all of it is gone."""
        self._ending = self._watching = True
        for needed in (False, True):
            ending = [
                (running.program, running.process)
                for running in reversed(self._tree)
                if running.process is not None and running.program.needed_by_others is needed
            ]
            for _, process in ending:
                if process.poll() is None:
                    process.terminate()
            started = time.monotonic()
            for program, process in ending:
                try:
                    process.wait(max(0.1, started + program.grace - time.monotonic()))
                except subprocess.TimeoutExpired:
                    say(f"{program.name} did not end within {program.grace:g} s: killed")
                    process.kill()
                    process.wait()
                self._kill_group(process.pid)
        self._tree.clear()

    def _hurry(self) -> None:
        """A second Ctrl-C."""
        for running in self._tree:
            if running.process is not None and running.process.poll() is None:
                running.process.kill()

    @staticmethod
    def _kill_group(leader: int) -> None:
        """End what a dead leader left of its group, and return when it is gone; mostly it left nothing."""
        deadline = time.monotonic() + GONE_SECONDS
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
            while _runs(leader) and time.monotonic() < deadline:
                time.sleep(0.01)


def _runs(group: int) -> bool:
    """True while a process of the group lives. Linux only, elsewhere False.

    What has ended and was collected by nobody yet (a zombie) does not live: in a container it may stay for ever.
    """
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            state, _parent, of_group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in ("Z", "X"):
                return True
    return False


def _outcome(returncode: int) -> str:
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-returncode).name
    return f"exit status {returncode}"
