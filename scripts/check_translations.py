"""Fail when a catalog of fleet/locale misses a translation, or marks one as doubtful."""

from __future__ import annotations

import sys
from pathlib import Path

from babel.messages.catalog import Message
from babel.messages.pofile import read_po

LOCALES = Path(__file__).resolve().parent.parent / "fleet" / "locale"


def _is_missing(message: Message) -> bool:
    strings = message.string if isinstance(message.string, tuple) else (message.string,)
    return bool(message.id) and (message.fuzzy or not all(strings))


def missing(catalog: Path) -> list[str]:
    """The texts of `catalog` without a translation to rely on."""
    with catalog.open("rb") as file:
        return [str(message.id) for message in read_po(file) if _is_missing(message)]


def main() -> int:
    """One line for each missing translation; exit status 1 when there is one."""
    found = [(path, text) for path in sorted(LOCALES.glob("*/LC_MESSAGES/*.po")) for text in missing(path)]
    for path, text in found:
        print(f"{path.relative_to(LOCALES.parent)}: not translated: {text}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
