"""What is known of a server, stored and read again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scep.authority import Authority
from scep.capabilities import Capabilities
from scep.profile import ServerProfile
from scep.responder import KEYWORDS


@pytest.fixture
def profile() -> ServerProfile:
    authority = Authority.create("Profile CA", now=datetime.now(UTC), with_ra=True)
    return ServerProfile(Capabilities.of(KEYWORDS), (authority.ra_certificate, authority.certificate))


def test_it_survives_json(profile: ServerProfile) -> None:
    assert ServerProfile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize(
    "stored", [None, [], {}, {"capabilities": []}, {"capabilities": 1, "ca_certificates": ["x"]}]
)
def test_anything_else_is_refused(stored: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        ServerProfile.from_json(stored)
