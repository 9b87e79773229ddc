"""`python -m tests.scep.fuzz --minutes 10 --seed 1`: the long run; prints its size and its findings.

The messages of findings are written to build/fuzz/. Exit code 1 when there are any.
"""

from __future__ import annotations

import argparse
import faulthandler
import resource
import sys
import time
from pathlib import Path

from tests.scep.fuzz.corpus import collect
from tests.scep.fuzz.running import Fuzzer, Tally
from tests.scep.fuzz.targets import Target, targets_of
from tests.scep.fuzz.wire import answers, wire

OUTPUT = Path(__file__).resolve().parents[3] / "build" / "fuzz"
_STUCK = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scep.fuzz", description="Fuzz the package scep.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--seed", type=int, default=1, help="what the changes depend on (default: %(default)s)"
    )
    options = parser.parse_args()
    corpus = collect()
    print(f"corpus: {corpus}", flush=True)
    before = _megabytes()
    tally, until = Tally(), time.monotonic() + 60 * options.minutes
    with wire() as over_http:
        corpus.kinds["http"] = answers(corpus)
        http = Target("HTTP", ("http",), over_http.run, 3)
        fuzzer = Fuzzer(corpus, [*targets_of(corpus), http], options.seed)
        while time.monotonic() < until:
            # says where, should a message never come to an end
            faulthandler.dump_traceback_later(_STUCK, exit=True)
            fuzzer.run(tally, most=200, until=until)
        faulthandler.cancel_dump_traceback_later()
    print(tally)
    print(f"seed {options.seed}, {options.minutes:g} minutes; memory grew by {_megabytes() - before:.0f} MB")
    if tally.findings:
        tally.save(OUTPUT)
        print(f"the messages are in {OUTPUT}")
    return 1 if tally.findings else 0


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
