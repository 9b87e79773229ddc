"""fleet/supervisor.py: programs are watched, and nothing of them is left when the supervisor ends or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.supervisor import Program, Supervisor
from tests.peers.process import wait_until

_ROOT = Path(__file__).resolve().parent.parent.parent

# a parent with a child of its own, both deaf to nothing; it tells their pids
_FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("pids", os.getpid(), child.pid, flush=True)
try:
    time.sleep(300)
finally:
    child.kill()
"""

_SUPERVISOR = """
import signal
import sys
from pathlib import Path
from fleet import supervisor as s
# whoever runs the tests under nohup ignores SIGHUP, and programs inherit that
signal.signal(signal.SIGHUP, signal.SIG_DFL)
s.BACKOFF_SECONDS = (0.1,)
tree = s.Supervisor(Path(sys.argv[1]))
tree.install_signals()
python = [sys.executable, "-c"]
try:
    tree.start(s.Program("needed", [*python, sys.argv[2]], needed_by_others=True))
    tree.start(s.Program("family", [*python, sys.argv[2]]))
    tree.start(s.Program("deaf", [*python, "import signal, time; signal.signal(15, signal.SIG_IGN); "
        "import os; print('pids', os.getpid(), flush=True); time.sleep(300)"], grace=0.5))
    tree.watch()
except s.Interrupted:
    pass
finally:
    tree.stop()
s.say("ended")
"""


def _pids(log: Path) -> list[int]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(word) for line in lines if line.startswith("pids") for word in line.split()[1:]]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Tree:
    """A supervisor in a process of its own."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        self.output = log_dir.parent / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(_SUPERVISOR), str(log_dir), textwrap.dedent(_FAMILY)],
                cwd=_ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: len(self.pids()) == 5, timeout=180, what="three programs with two children")

    def pids(self) -> list[int]:
        """Of all programs and their children, the dead ones of earlier starts too."""
        return [pid for name in ("needed", "family", "deaf") for pid in _pids(self.log_dir / f"{name}.log")]

    def nothing_left(self) -> bool:
        """True when no process of the tree lives."""
        return not any(_alive(pid) for pid in self.pids())


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    started = Tree(tmp_path / "log")
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()
    for pid in started.pids():
        if _alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_order(tree: Tree, number: signal.Signals) -> None:
    tree.process.send_signal(number)
    assert tree.process.wait(180) == 0
    assert tree.nothing_left()
    output = tree.output.read_text().splitlines()
    assert "deaf did not end within 0.5 s: killed" in output
    assert output[-1] == "ended"


def test_kill_9_of_the_supervisor_leaves_no_program_behind(tree: Tree) -> None:
    programs = [_pids(tree.log_dir / f"{name}.log")[0] for name in ("needed", "family", "deaf")]
    tree.process.kill()
    tree.process.wait()
    wait_until(
        lambda: not any(_alive(pid) for pid in programs), timeout=180, what="the end of all three programs"
    )


def test_what_crashes_starts_again_and_its_children_do_not_pile_up(tree: Tree) -> None:
    before = _pids(tree.log_dir / "family.log")
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(_pids(tree.log_dir / "family.log")) == 4, timeout=180, what="the restart")
    assert not any(_alive(pid) for pid in before)
    assert "family ended unexpectedly (SIGKILL)" in tree.output.read_text()
    tree.process.terminate()
    assert tree.process.wait(180) == 0
    assert tree.nothing_left()


# what is left of a group dies slowly where the kernel has much memory to take back, and other things to do
_STRAGGLER = """
import subprocess, sys, time
child = "x = bytearray(200_000_000); print('up', flush=True); import time; time.sleep(300)"
left = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
left.stdout.readline()
print("pids", left.pid, flush=True)
time.sleep(300)
"""


def test_the_end_is_the_end_of_what_programs_left_behind(tmp_path: Path) -> None:
    tree = Supervisor(tmp_path)
    for _ in range(3):
        tree.start(Program("straggler", [sys.executable, "-c", _STRAGGLER]))
    wait_until(lambda: len(_pids(tmp_path / "straggler.log")) == 3, timeout=180, what="three with a child")
    tree.stop()
    assert not [pid for pid in _pids(tmp_path / "straggler.log") if _alive(pid)]


_INTERRUPTED = """
import signal, subprocess, sys
from pathlib import Path
from fleet import supervisor as s

def interrupted(*words, **options):
    made.append(start(*words, **options))
    signal.raise_signal(signal.SIGTERM)
    return made[0]

made, start, s.subprocess.Popen = [], subprocess.Popen, interrupted
tree = s.Supervisor(Path(sys.argv[1]))
tree.install_signals()
try:
    tree.start(s.Program("just started", [sys.executable, "-c", "import time; time.sleep(300)"]))
except s.Interrupted:
    tree.stop()
s.say(f"interrupted, and {made[0].poll()} came of it")
"""


def test_a_signal_that_comes_with_the_start_of_a_program_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(tmp_path)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.stdout, ended.stderr) == (f"interrupted, and {-signal.SIGTERM} came of it\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_make_is_the_end_of_the_program(tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    program = (
        "import os, sys, time; from fleet.supervisor import end_with_parent; end_with_parent(); "
        "print('pids', os.getpid(), file=open(sys.argv[1], 'w'), flush=True); time.sleep(300)"
    )
    (tmp_path / "program.py").write_text(program)
    makefile = tmp_path / "Makefile"
    makefile.write_text(f'all:\n\t@exec "{sys.executable}" {tmp_path}/program.py "{pids}"\n')
    make = subprocess.Popen(
        ["make", "-f", makefile],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(_pids(pids)) == 1, timeout=180, what="the program being up")
    make.send_signal(number)
    make.wait(180)
    wait_until(lambda: not _alive(_pids(pids)[0]), timeout=180, what="the end of the program")
