"""docs/command.md and the --help texts say what the command does, and the examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scep.command.commands import COMMANDS, parser_of
from scep.command.outcome import EXIT_OF, Exit
from tests.peers.process import free_port, is_listening, running
from tests.scep.command.running import ROOT, UMASK, check_issued, environment, scep

MANUAL = (ROOT / "docs" / "command.md").read_text()


def options_of(command: str) -> set[str]:
    """The options that a command's --help lists."""
    ended = scep(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", ended.out)) - {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_and_option_is_in_the_manual(command: str) -> None:
    assert f"python -m scep {command}" in re.sub(" +", " ", MANUAL)
    assert f"**{command}**" in MANUAL
    written = set(re.findall(r"--[a-z][a-z0-9-]*", MANUAL))
    # how serve behaves is for its --help
    missing = options_of(command) - written - ({"--name", "--days"} if command == "serve" else set())
    assert missing == set()


def test_the_manual_names_no_option_that_is_none() -> None:
    known = set().union(*map(options_of, COMMANDS))
    of_others = {"--help", "--scep"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", MANUAL)) - known - of_others == set()


def test_the_exit_codes_are_those_of_the_table() -> None:
    table = MANUAL.partition("## Exit codes")[2].partition("## ")[0]
    rows = dict(re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|$", table, re.MULTILINE))
    assert set(map(int, rows)) == set(Exit)
    for error, code in EXIT_OF.items():
        assert error.__name__ in rows[str(int(code))].replace("_", " ").title().replace(" ", "")
    summary = parser_of().format_help()
    for code in Exit:
        assert re.search(rf"\b{int(code)} ", summary) or code in (Exit.FAULT, Exit.BROKEN_PIPE)


def test_a_command_is_needed() -> None:
    ended = scep()
    assert (ended.code, "COMMAND" in ended.err, "--help" in ended.err) == (2, True, True)
    assert scep("--help").code == 0


def test_the_examples_run(tmp_path: Path) -> None:
    examples = MANUAL.partition("## Examples")[2]
    first, *rest = re.findall(r"```sh\n(.*?)```", examples, re.DOTALL)
    port = free_port()
    (tmp_path / "python").symlink_to(sys.executable)

    def script(text: str) -> list[str]:
        return ["bash", "-euc", text.replace("8080", str(port)).replace("python ", f"{sys.executable} ")]

    prepare, serve = first.splitlines()
    env = environment()
    subprocess.run(script(prepare), cwd=tmp_path, check=True, env=env, timeout=120, umask=UMASK)
    server = script(f"exec {serve.removesuffix('&')}")
    with running(server, ready=lambda: is_listening(port), log=tmp_path / "log", env=env, cwd=tmp_path):
        ended = subprocess.run(
            script("\n".join(rest)),
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            umask=UMASK,
        )
    assert ended.returncode == 0, ended.stderr
    assert "certificate.pem: OK" in ended.stdout
    assert ended.stdout.endswith("\n0\n")
    (tmp_path / "mfp-07" / "ca.crl").unlink()
    check_issued(tmp_path / "mfp-07")
    assert (tmp_path / "challenge").stat().st_mode & 0o077 == 0
