# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A report as text and as HTML."""

import html
import textwrap
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["as_html", "as_text"]

WIDTH, INDENT = 88, 14
"""Columns of the text, and of the subjects of the verdicts."""

MOST_ROWS = 20
"""Rows of a table that are shown."""

MARKS = {"good": "ok", "bad": "BAD", "unknown": "?"}


def as_text(report: Any) -> str:
    """A report as text of at most 88 columns, tables apart."""
    lines = [_title(report), _summary(report), ""]
    for verdict in report.verdicts:
        head = f"{MARKS[verdict.status]:>4s}  {verdict.subject}"
        body = f"{verdict.sentence} {_remedy(verdict)}".strip()
        space = " " * (INDENT + 6)
        lines.append(
            textwrap.fill(
                body,
                WIDTH,
                initial_indent=f"{head:<{INDENT + 6}s}",
                subsequent_indent=space,
            )
        )
    for title, table in _tables(report).items():
        shown = table.head(MOST_ROWS).to_string(na_rep="")
        lines += ["", title, textwrap.indent(shown, "  ", lambda line: True)]
        lines += _left_out(table)
    return "\n".join([*lines, "", _cost(report)])


def as_html(report: Any) -> str:
    """A report as HTML for a notebook."""
    rows = []
    for verdict in report.verdicts:
        cells = [MARKS[verdict.status], verdict.subject, verdict.sentence]
        cells.append(verdict.remedy)
        weight = "bold" if verdict.status == "bad" else "normal"
        cell = f'<td style="text-align:left;font-weight:{weight}">'
        rows.append("".join(f"{cell}{html.escape(c)}</td>" for c in cells))
    head = "".join(f"<th>{c}</th>" for c in ("", "question", "answer", "what to do"))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    parts = [
        f"<p><b>{html.escape(_title(report))}</b><br>{html.escape(_summary(report))}</p>",
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
    ]
    for title, table in _tables(report).items():
        shown = table.head(MOST_ROWS).to_html(na_rep="", border=0)
        parts += [f"<p>{html.escape(title)}</p>", shown]
        parts += [f"<p>{html.escape(line)}</p>" for line in _left_out(table)]
    return "\n".join([*parts, f"<p>{html.escape(_cost(report))}</p>"])


def _title(report: Any) -> str:
    num_chains, num_draws = report.shape
    chains = "1 chain" if num_chains == 1 else f"{num_chains} chains"
    kernel = f" of {report.kernel}" if report.kernel else ""
    return f"Report on {chains} of {num_draws:,} draws{kernel}"


def _summary(report: Any) -> str:
    if report.ok:
        return "Nothing is wrong, as far as these draws tell."
    subjects = ", ".join(v.subject for v in report.problems)
    return f"Not to be trusted yet: {subjects}."


def _remedy(verdict: Any) -> str:
    return f"-> {verdict.remedy}" if verdict.remedy else ""


def _tables(report: Any) -> dict[str, pd.DataFrame]:
    """Tables as they are shown: values with their errors, names in words."""
    chains, sites = report.chains, report.sites
    one_group = "group" in chains.index.names and (
        chains.index.get_level_values("group").nunique() == 1
    )
    chains = chains.droplevel("group") if one_group else chains
    shown = {
        "kinetic T": _with_error(chains, "kinetic_temperature", "kinetic_se"),
        "positions T": _with_error(
            chains, "configurational_temperature", "configurational_se"
        ),
        "target T": chains.get("target"),
        "noise": _rounded(chains, "noise_fraction"),
        "eigenvalue": _rounded(chains, "noise_eigenvalue"),
        "diverged": chains.get("divergences"),
    }
    convergence = {
        "scalars": sites.get("scalars"),
        "R-hat worst": _rounded(sites, "r_hat_worst"),
        "median": _rounded(sites, "r_hat_median"),
        "ESS worst": _rounded(sites, "ess_worst", ",.0f"),
        "median ": _rounded(sites, "ess_median", ",.0f"),
    }
    with_data = {
        "group": None if one_group else sites.get("group"),
        "positions T / target": _with_error(sites, "temperature", "temperature_se"),
        "noise skewness": _with_error(sites, "skewness", "skewness_se"),
        "excess kurtosis": _with_error(sites, "excess_kurtosis", "excess_kurtosis_se"),
    }
    tables = {
        "Chains": _joined(shown),
        "Convergence": _joined(convergence),
        "Sites, from the model and its data": _joined(with_data),
    }
    return {name: t for name, t in tables.items() if len(t.columns)}


def _joined(columns: dict[str, Any]) -> pd.DataFrame:
    known = {name: x for name, x in columns.items() if x is not None}
    return pd.DataFrame(known).dropna(how="all").rename_axis(columns=None)


def _rounded(table: pd.DataFrame, name: str, form: str = ".3f") -> Any:
    return None if name not in table else table[name].map(lambda x: _shown(x, form))


def _with_error(table: pd.DataFrame, name: str, error: str) -> Any:
    if name not in table:
        return None
    pairs = zip(table[name], table[error], strict=True)
    text = [f"{x:.3f} ± {e:.3f}" if np.isfinite(x) else np.nan for x, e in pairs]
    return pd.Series(text, table.index, dtype=object)


def _shown(value: float, form: str) -> Any:
    return f"{value:{form}}" if np.isfinite(value) else "-"


def _left_out(table: pd.DataFrame) -> list[str]:
    more = len(table) - MOST_ROWS
    return [f"  and {more} more rows."] if more > 0 else []


def _cost(report: Any) -> str:
    cost = report.cost
    known = [
        f"{cost[name]:,.3g} {name}"
        if cost[name] < 1000
        else f"{cost[name]:,.0f} {name}"
        for name in ("gradients", "seconds")
        if cost[name] is not None
    ]
    spent = f" for {' and '.join(known)} each" if known else ""
    text = (
        f"Cost: {cost['draws']:,} draws are {cost['effective_draws']:,.0f} effective "
        f"ones of the slowest scalar{spent}."
    )
    return textwrap.fill(text, WIDTH)
