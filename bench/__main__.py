"""`python -m bench [GROUP]`: run the benchmarks; a table on the terminal and build/bench.json.

Each group is a module of this package with `run() -> dict[str, Figure]`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path

import bench
from bench.figures import Figure

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "bench.json"
GROUPS = sorted(
    module.name
    for module in pkgutil.iter_modules(bench.__path__)
    if module.name not in ("__main__", "figures", "fleet")
)


def main() -> int:
    """Exit code 1 when a figure misses its aim."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("group", nargs="?", default="", help=f"one of {', '.join(GROUPS)}; all by default")
    chosen = parser.parse_args().group
    if chosen and chosen not in GROUPS:
        parser.error(f"there is no group {chosen!r}; choose one of {', '.join(GROUPS)}")
    figures: dict[str, Figure] = {}
    for name in [chosen] if chosen else GROUPS:
        began = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures |= importlib.import_module(f"bench.{name}").run()
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    width = max(map(len, figures))
    for name, figure in figures.items():
        print(f"{name:{width}}  {figure.value:10.2f}  aim {figure.aim:12}  {figure.remark}")
    OUTPUT.parent.mkdir(exist_ok=True)
    stored = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    stored |= {name: round(figure.value, 3) for name, figure in figures.items()}
    OUTPUT.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
    return 0 if all(figure.met for figure in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
