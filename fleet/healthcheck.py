"""`python -I fleet/healthcheck.py`: what a container's HEALTHCHECK runs; exit status 0 when all is well.

An http:// address must answer 200; a file whose path begins like the given one must have been written
within so many seconds. Needs neither curl nor the rest of Fleetseal; -I keeps this folder, with its
logging.py, off the module path.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path


def problem_of(what: str, written_within: float) -> str:
    """Why `what` is not well; empty when it is."""
    try:
        if what.startswith("http://"):
            # the container's own port is not behind the network's proxy, whatever http_proxy says
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(what, timeout=4) as response:
                return "" if response.status == 200 else f"HTTP {response.status}"
        # Python's dbm, which beat writes, adds an ending of its own on some systems
        path = Path(what)
        written = max((file.stat().st_mtime for file in path.parent.glob(f"{path.name}*")), default=None)
    except OSError as error:  # urllib's errors are too
        return str(error)
    if written is None:
        return "there is no such file"
    age = time.time() - written
    return "" if age <= written_within else f"not written for {age:.0f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", help="an http:// address, or the path of a file")
    parser.add_argument("--written-within", type=float, default=60, metavar="SECONDS")
    options = parser.parse_args(arguments)
    problem = problem_of(options.what, options.written_within)
    if problem:
        sys.stderr.write(f"{options.what}: {problem}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
