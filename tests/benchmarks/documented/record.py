# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The record of all figures, `docs/figures.json`: by part, what was measured, with which
versions, where, when and for how long.
"""

import json
import math
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PATH = ROOT / "docs" / "figures.json"
DIGITS = 4
"""Significant digits that are kept of a number."""

Record = dict[str, dict[str, Any]]


def entry(figures: Mapping[str, Any], seconds: float, quick: bool) -> dict[str, Any]:
    """
    What is kept of a part.

    :param figures: what was measured; numbers, strings, lists and dicts of them.
    :param seconds: time it took.
    :param quick: whether it was a run that only proves that it works.
    """
    one = {
        "figures": rounded(figures),
        "versions": versions(),
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds),
    }
    return one | {"quick": True} if quick else one


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    import numpyro_pl

    others = {name: version(name) for name in ("jax", "numpyro", "arviz")}
    own = {"numpyro_pl": numpyro_pl.__version__, "python": platform.python_version()}
    return own | others


def machine() -> dict[str, Any]:
    """The processor, how many of its cores this process may use, and JAX's device."""
    import jax

    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        processor = named[0].split(":", 1)[1].strip() if named else processor
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count()
    return {"processor": processor, "cores": cores, "device": jax.default_backend()}


def rounded(value: Any) -> Any:
    """Numbers to four significant digits, those that are not finite to None."""
    if isinstance(value, Mapping):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, bool | int | str | None):
        return value
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None


def load(path: Path = PATH) -> Record:
    """The record; empty where there is none yet."""
    return json.loads(path.read_text()) if path.exists() else {}


def save(record: Record, path: Path = PATH) -> None:
    """Write the record, the same figures always to the same bytes."""
    text = json.dumps(
        record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    path.write_text(text + "\n")
