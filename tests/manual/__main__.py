"""`python -m tests.manual`: run the manual's tests and print the table; further arguments go to pytest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.manual.table import Table

if __name__ == "__main__":
    table = Table()
    status = pytest.main([str(Path(__file__).parent), *sys.argv[1:]], plugins=[table])
    print(table)
    sys.exit(status)
