"""Dockerfile and docker-compose.yml by themselves: valid, complete, and agreeing with the repository."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
_SCHEMA = ("--builtin-schema", "vendor.compose-spec")
OURS = ("migrate", "web", "worker", "beat")


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (name, rest)
        for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


COPIED = [
    source.removeprefix("./")
    for name, rest in _instructions()
    if name == "COPY" and not rest.startswith("--from")
    for source in rest.split()[:-1]
]
"""What the Dockerfile copies out of the repository."""


def test_compose_file_follows_the_compose_specification() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *_SCHEMA, "docker-compose.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert len(COPIED) >= 6
    for source in COPIED:
        assert (ROOT / source).exists(), source
        assert source in allowed, f".dockerignore leaves {source} out"


def test_the_image_runs_as_an_ordinary_user_without_development_requirements() -> None:
    instructions = _instructions()
    assert [rest for name, rest in instructions if name == "USER"] == ["10001"]
    assert not [rest for _, rest in instructions if "requirements-dev" in rest]
    last_stage = instructions[max(i for i, (name, _) in enumerate(instructions) if name == "FROM") :]
    assert not [rest for name, rest in last_stage if name == "RUN" and "pip" in rest]


def test_the_image_alone_starts_what_the_service_web_starts() -> None:
    command = next(json.loads(rest) for name, rest in _instructions() if name == "CMD")
    assert command == SERVICES["web"]["command"]
    health = next(rest for name, rest in _instructions() if name == "HEALTHCHECK")
    assert json.loads(health[health.index("[") :]) == SERVICES["web"]["healthcheck"]["test"][1:]


def test_every_service_is_watched_and_ours_wait_for_the_migration() -> None:
    assert set(SERVICES) == {"postgres", "redis", *OURS}
    for name, service in SERVICES.items():
        assert "healthcheck" in service, name
    for name in ("web", "worker", "beat"):
        waits = SERVICES[name]["depends_on"]
        assert waits["migrate"] == {"condition": "service_completed_successfully"}
        assert waits["redis"] == {"condition": "service_healthy"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", OURS)
def test_our_services_can_do_no_more_than_they_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service


def test_only_the_site_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in published["web"])


def test_secrets_are_files_and_each_is_made_by_the_script(tmp_path: Path) -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|KEY|DATABASE_URL", name)
            assert not secret or (name.endswith("_FILE") and value.startswith("/run/secrets/")), name
    folder = tmp_path / "secrets"
    for _ in range(2):
        subprocess.run([ROOT / "scripts" / "new-secrets", folder], check=True, capture_output=True)
    assert {file.name for file in folder.iterdir()} == set(COMPOSE["secrets"])
    assert folder.stat().st_mode & 0o777 == 0o700


def test_secrets_that_exist_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "encryption_keys").write_text("the only key to the fleet")
    subprocess.run([ROOT / "scripts" / "new-secrets", tmp_path], check=True, capture_output=True)
    assert (tmp_path / "encryption_keys").read_text() == "the only key to the fleet"


def test_commands_of_the_compose_file_are_lists_so_that_signals_reach_the_program() -> None:
    for name, service in SERVICES.items():
        command = service.get("command", [])
        assert isinstance(command, list), f"{name}: {shlex.quote(str(command))}"
