# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The figures in README and documentation are those of `docs/figures.json`."""

import copy
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LINEAR = {
    "figures": {
        correlation: {
            "largest_mean_error": 0.0331,
            "sd_ratio": 1.002,
            "sd_ratio_range": [0.99, 1.01],
            "noise_eigenvalue": eigenvalue,
            "noise_fraction": 0.0489,
            "kinetic_temperature": 1.0,
        }
        for correlation, eigenvalue in (("0.0", 0.0494), ("0.5", 0.241))
    },
    "versions": {"numpyro_pl": "1.2", "python": "3.11", "jax": "0.10", "arviz": "1.0"},
    "machine": {"processor": "a processor", "cores": 2, "device": "cpu"},
    "date": "2026-11-21",
    "seconds": 57,
}
RECORD = {"linear": LINEAR}

PAGE = """Before.

<!-- figures: linear_table -->
An old table.
<!-- end figures -->

<!-- figures: linear_source -->
<!-- end figures -->

After.
"""
FILLED = """Before.

<!-- figures: linear_table -->

| correlation of the columns | 0.0 | 0.5 |
| --- | --- | --- |
| largest error of a mean, sd | 0.033 | 0.033 |
| ratio of sd to the exact one, mean | 1.002 | 1.002 |
| the same, smallest to largest | 0.990 to 1.010 | 0.990 to 1.010 |
| noise eigenvalue | 0.049 | 0.241 |
| noise fraction (aimed at: 0.2) | 0.049 | 0.049 |
| kinetic temperature | 1.000 | 1.000 |

<!-- end figures -->

<!-- figures: linear_source -->

Measured with numpyro_pl 1.2, arviz 1.0, jax 0.10 and Python 3.11 on 2 cores (a
processor), 2026-11-21, in 57 seconds.

<!-- end figures -->

After.
"""
RST_TABLE = """
.. list-table::
   :header-rows: 1

   * - correlation of the columns
     - 0.0
     - 0.5
   * - largest error of a mean, sd
     - 0.033
     - 0.033
"""


@pytest.fixture
def figures(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import figures

    return figures


def test_a_page_is_filled_from_the_record_alone(figures):
    filled = figures.places.filled(PAGE, ".md", RECORD)
    assert filled == FILLED
    assert figures.places.filled(filled, ".md", RECORD) == FILLED


def test_sphinx_pages_have_list_tables(figures):
    page = ".. figures: linear_table\n.. end figures\n"
    assert RST_TABLE in figures.places.filled(page, ".rst", RECORD)


def test_quick_and_missing_parts_are_told(figures):
    quick = {"linear": LINEAR | {"quick": True}}
    assert figures.places.filled(PAGE, ".md", quick).count("(quick run)") == 2
    assert figures.places.filled(PAGE, ".md", {}).count("Not measured yet.") == 2


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<!-- figures: nonsense -->\n<!-- end figures -->", "no text .*nonsense"),
        ("<!-- figures: linear_table -->\n", "pairs"),
        ("<!-- end figures -->\n", "pairs"),
    ],
)
def test_a_mark_without_its_text_or_its_end_is_an_error(figures, page, message):
    with pytest.raises(ValueError, match=message):
        figures.places.filled(page, ".md", RECORD)


def test_the_record_is_small_and_has_no_nan(figures, tmp_path):
    part = {3: 0.123456, "ratio": [12345.6, float("nan")], "kernel": "SGLD", "n": 12345}
    kept = {"3": 0.1235, "ratio": [12350.0, None], "kernel": "SGLD", "n": 12345}
    assert figures.record.rounded(part) == kept
    path = tmp_path / "figures.json"
    figures.record.save(kept, path)
    assert figures.record.load(path) == kept


def test_pages_say_what_the_record_says(figures):
    assert figures.main(["--check"]) == 0


def test_every_text_has_a_place(figures):
    names = figures.places.names_in()
    texts = figures.places.TEXTS
    assert {n for n in texts if not n.endswith("_source")} <= names
    assert {part for n in names for part in texts[n].parts} == set(figures.PARTS)


def test_a_changed_record_is_seen(figures, monkeypatch):
    changed = copy.deepcopy(figures.record.load())
    for seed in changed["digits"]["figures"]["seeds"].values():
        seed["noise_fraction"] = 0.5
    monkeypatch.setattr(figures.record, "load", lambda: changed)
    names = {p.name for p in figures.places.differing(changed)}
    assert {"benchmarks.md", "kernels.rst", "accuracy.rst"} <= names
    assert figures.main(["--check"]) == 1


def test_pictures_were_drawn_from_the_record(figures, tmp_path):
    record = copy.deepcopy(figures.record.load())
    assert figures.pictures.stale(record) == []
    record["tall"]["figures"]["32735"]["NUTS"]["seconds"]["sampling"] *= 2
    assert figures.pictures.stale(record) == ["tall"]
    for name in figures.pictures.PICTURES:
        figures.pictures.draw(name, record, tmp_path)
    assert figures.pictures.stale(record, tmp_path) == []


def test_getting_started_runs_the_example_of_the_readme(figures):
    readme = figures.places.ROOT / "README.md"
    page = (figures.places.ROOT / "docs" / "getting_started.rst").read_text()
    block = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", page)
    code = textwrap.dedent(block.group(1)).strip("\n")
    assert f"```python\n{code}\n```" in readme.read_text()
