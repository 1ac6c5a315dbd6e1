# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
This package beside its peers at equal time: the network of `examples/bnn_digits.py`,
four chains, against long NUTS. ::

    python tests/benchmarks/bench_peers.py [--seconds 30 60] [--only NAME ...]
        [--reference FILE.npz] [--out FILE.json] [--picture FILE.svg] [--quick]

Each competitor with each setting of its grid (`peers/grid.py`) has a process of its own
for the largest number of seconds. The clock starts when JAX is imported and the data
are loaded: tracing, compiling, warmup and tuning count. At each number of seconds a
peer has the best setting of its grid, and the best share of its first draws is left
out; this package's kernels have their defaults, and all draws after their warmup count.

The reference takes several minutes and is made if its file is missing. The peers beside
NumPyro's are in the extra `benchmarks`; those that are not installed are skipped.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from bnn_digits import CHAINS
from documented.pictures.files import save
from documented.record import machine, versions
from peers import curves, grid, picture, race, reference, table

STARTING = 60
"""Seconds beyond its time after which a process is ended."""

PEERS = ("blackjax", "nutpie")
"""Packages of peers, which need not be there."""


def in_a_process(*arguments: str, limit: float | None = None, devices: int = 1) -> str:
    """
    Run this script anew; what is wrong, if it fails or takes too long.

    :param devices: into which JAX divides the processor.
    """
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags if devices > 1 else ""}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    try:
        done = subprocess.run(
            [sys.executable, __file__, *arguments],
            capture_output=True,
            text=True,
            timeout=limit,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return "took too long"
    if done.returncode == 0:
        return ""
    told = [line for line in done.stderr.splitlines() if "Error" in line]
    return told[-1] if told else done.stderr[-200:]


def raced(name: str, setting: dict, seed: int, limit: float, file: Path) -> str:
    """Race one competitor with one setting in its process; what went wrong, if so."""
    one = json.dumps({"name": name, "setting": setting, "seed": seed, "limit": limit})
    devices = CHAINS if setting.get("parallel") else 1
    most = limit + STARTING
    return in_a_process("--one", one, "--to", str(file), limit=most, devices=devices)


def summary(record: race.Record, known: reference.Reference, peer: bool) -> dict:
    """What is kept of a run in the file."""
    points = curves.errors(record, known, peer)
    return {
        "points": points,
        "first_draw": float(record.seconds[0]) if points else None,
        "compiling": record.compiling,
        "cores": record.cores,
        "recording": record.recording,
        "finite": record.finite,
    }


def race_all(
    names: list[str], known: reference.Reference, options: argparse.Namespace
) -> tuple[dict[str, list[dict]], dict[str, str]]:
    """Runs of all competitors by name, and who was skipped and why."""
    runs: dict[str, list[dict]] = {}
    skipped, limit = dict(grid.SKIPPED), max(options.seconds)
    for name in names:
        one = grid.COMPETITORS[name]
        why = grid.missing(one)
        if why is not None:
            skipped[name] = why
            print(f"{name}: skipped, {why}", flush=True)
            continue
        runs[name] = []
        for setting in one.grid[:1] if options.quick else one.grid:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "record.npz"
                wrong = raced(name, setting, options.seed, limit, file)
                found = {} if wrong else summary(race.load(file), known, one.peer)
            empty = {"points": [], "finite": True, "wrong": wrong}
            runs[name].append({"setting": setting, **(found or empty)})
            print(progress(name, runs[name][-1], options.seconds), flush=True)
    return runs, skipped


def progress(name: str, run: dict[str, Any], seconds: list[float]) -> str:
    """A line about a run that has ended."""
    told = [f"{name} ({table.words(run['setting'])}):"]
    if run.get("wrong"):
        told.append(run["wrong"])
    elif not run["finite"]:
        told.append("draws that are not finite")
    for most in seconds:
        point = curves.at(run["points"], "seconds", most)
        error = "no draw" if point is None else f"error {point['error']:.4f}"
        told.append(f"{error} at {most:g} s,")
    if run["points"]:
        told.append(
            f"first draw {run['first_draw']:.1f} s, "
            f"compiling {run['compiling']:.1f} s, "
            f"{run['points'][-1]['passes']:.0f} passes, recording "
            f"{run['recording']:.1f} s, {run['cores']:.1f} cores"
        )
    return " ".join(told).rstrip(",")


def all_versions() -> dict[str, str]:
    """Versions that the figures depend on, with those of the peers that are there."""
    there = [name for name in PEERS if importlib.util.find_spec(name)]
    return versions() | {name: metadata.version(name) for name in there}


def compare(options: argparse.Namespace) -> None:
    """The whole benchmark."""
    if not options.reference.exists():
        print("making the reference ...", flush=True)
        wrong = in_a_process("--make", str(options.reference))
        if wrong:
            raise SystemExit(f"no reference: {wrong}")
    known, begin = reference.load(options.reference), time.perf_counter()
    runs, skipped = race_all(options.only, known, options)
    found = {
        "seconds": options.seconds,
        "passes": options.passes,
        "runs": runs,
        "skipped": skipped,
        "reference": {
            name: getattr(known, name)
            for name in ("noise", "squares_noise", "chain_variation", "seconds")
        },
        "seed": options.seed,
        "quick": options.quick,
        "versions": all_versions(),
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "race_seconds": time.perf_counter() - begin,
    }
    peers = [name for name in runs if grid.COMPETITORS[name].peer]
    print("\n" + table.text(found, peers))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    if options.picture:
        save(picture.ERRORS, found, options.picture)


def one_run(what: dict[str, Any], file: Path) -> None:
    competitor = grid.COMPETITORS[what["name"]]
    race.run_one(competitor, what["setting"], what["seed"], what["limit"], file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    names = list(grid.COMPETITORS)
    parser.add_argument("--seconds", type=float, nargs="+")
    parser.add_argument("--passes", type=float, nargs="+", default=[2000, 10000])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--reference", type=Path, default=Path("peers_reference.npz"))
    parser.add_argument("--out", type=Path, help="a JSON file with everything")
    parser.add_argument("--picture", type=Path, help="error against seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="first settings, 10 s")
    for hidden in ("--one", "--to", "--make"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seconds = sorted(options.seconds or ([10] if options.quick else [30, 60]))
    if options.one:
        one_run(json.loads(options.one), Path(options.to))
    elif options.make:
        reference.make(Path(options.make))
    else:
        compare(options)


if __name__ == "__main__":
    main()
