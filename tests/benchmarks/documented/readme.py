# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The example of README.md: its code and what it prints."""

import re
import subprocess
import sys

from documented.record import ROOT


def code() -> str:
    """The first Python block that imports anything."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return next(block for block in blocks if block.startswith("import"))


def printed() -> str:
    """What the example prints, run as it is."""
    run = subprocess.run(
        [sys.executable, "-c", code()],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return "\n".join(line.rstrip() for line in run.stdout.strip("\n").splitlines())
