"""What the tests of imports and exports share."""

from __future__ import annotations

import pytest

from devices.models import ScepServer
from tests.devices.factories import make_server


@pytest.fixture
def server() -> ScepServer:
    """The one that the files name."""
    return make_server(name="CA")
