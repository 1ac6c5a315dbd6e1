# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How often `report` calls runs right: 100 seeds of good ones and of ones that are wrong
in a known way. ::

    python tests/benchmarks/bench_report.py [seeds]
"""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import report_runs as runs

from numpyro_pl import report

EXPECTED = {
    "good": (),
    "unsettled": ("warmup",),
    "mode": ("chains",),
    "short": ("length",),
    "kernel as it is": (),
    "thermostat 10 % hot": ("temperature",),
    "noise not compensated": ("temperature",),
    "noise estimate frozen": ("noise",),
}


def show(found):
    for kind, several in found.items():
        subjects = [{v.subject for v in report(run).problems} for run in several]
        bad = sum(map(bool, subjects))
        right = sum(set(EXPECTED[kind]) <= s and bool(s) for s in subjects)
        reasons = dict(Counter(s for one in subjects for s in one))
        shown = f"{right:d}" if EXPECTED[kind] else "-"
        print(f"{kind:24s}{bad:8d}{shown:>18s}      {reasons}", flush=True)


def main(num_seeds):
    print(f"{num_seeds} seeds of each")
    print(f"{'run':24s}{'called bad':>8s}{'of that rightly':>20s}      all reasons")
    for kind in ("good", "unsettled", "mode", "short"):
        show({kind: [runs.synthetic(kind, seed) for seed in range(num_seeds)]})
    show(runs.simulated(["kernel as it is", "thermostat 10 % hot"], num_seeds))
    kinds = ["noise not compensated", "noise estimate frozen"]
    show(runs.simulated(kinds, num_seeds, **runs.FROZEN))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
