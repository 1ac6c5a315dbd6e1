# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Scripts that a test runs as the processes of one run, and ends itself."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parent
SECONDS = 600
"""Most that any wait takes; on a machine that does nothing else, a tenth of it."""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def processes(script, folder, *what, number=2):
    """
    Processes of one run, all of which are gone at the end of the context:
    `python script PORT PROCESS NUMBER FOLDER *WHAT`.
    """
    folders = [TESTS, TESTS.parent, TESTS.parent / "examples"]
    paths = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
    # Not the devices that the tests themselves simulate.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "XLA_FLAGS": ""}
    port, started = str(free_port()), []
    try:
        for i in range(number):
            arguments = [port, str(i), str(number), str(folder), *what]
            with open(folder / f"log_{i}.txt", "w") as file:
                started.append(
                    subprocess.Popen(
                        [sys.executable, str(script), *arguments],
                        env=environment,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )
        yield started
    finally:
        for process in started:
            # JAX catches the signal that asks a process to end.
            process.kill()
            process.wait()


def logs(folder):
    return "".join(file.read_text()[-2000:] for file in folder.glob("log_*.txt"))


def finish(folder, started, seconds=SECONDS):
    """Wait until all processes have ended well."""
    for process in started:
        assert process.wait(seconds) == 0, logs(folder)
