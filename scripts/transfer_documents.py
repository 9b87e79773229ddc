"""The documents that are made from the list of columns: the XML schema, and the table in the guide.

`python scripts/transfer_documents.py` writes both; a test compares.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "docs" / "fleetseal-devices.xsd"
GUIDE = ROOT / "docs" / "transfer.md"
_BEGIN, _END = "<!-- columns: begin -->\n", "<!-- columns: end -->"


def schema() -> str:
    """The XSD."""
    from devices.transfer import xml_format

    return xml_format.schema()


def with_table(text: str) -> str:
    """The guide with the table of the columns as they are."""
    before, rest = text.split(_BEGIN)
    return before + _BEGIN + _table() + _END + rest.split(_END)[1]


def _table() -> str:
    from django.utils import translation

    from devices.transfer.columns import columns

    lines = ["| column | on the pages | holds | an empty cell |", "|---|---|---|---|"]
    with translation.override("en"):
        for column in columns().values():
            holds = str(column.kind) + (f": {column.help}" if column.help else "")
            empty = (
                "empties it" if column.clearable else "new devices need it" if column.required else "keeps it"
            )
            lines.append(f"| `{column.name}` | {column.label} | {holds} | {empty} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write both."""
    import django

    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    os.environ.setdefault("FLEETSEAL_DATA_DIR", str(ROOT / "build" / "check"))
    django.setup()
    SCHEMA.write_text(schema())
    GUIDE.write_text(with_table(GUIDE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
