"""`python -m scep`: see docs/command.md."""

from __future__ import annotations

import sys


def _run() -> int:
    try:
        from scep.command.main import main
    except KeyboardInterrupt:
        # Ctrl-C while the modules load
        return 130
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_run())
