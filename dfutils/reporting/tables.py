"""What tables hold for readers: names in words, figures with their intervals, shares in percent."""

from typing import Any

import pandas as pd

from dfutils.core.files import plain_rows
from dfutils.evaluation.errors import largest_gaps
from dfutils.evaluation.method_figures import FIGURES as METHOD_FIGURES
from dfutils.evaluation.reference_scores import FIGURES as REFERENCE_FIGURES
from dfutils.evaluation.robustness import FIGURES as ROBUSTNESS_FIGURES
from dfutils.metrics.intervals import value_and_interval, with_interval
from dfutils.reporting.table import Table, or_none
from dfutils.reporting.wording import Text, figure_name, property_name


def rounded(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Return a table for the reader: numbered rows headed by their first column, names in words, "–" where is none."""
    numbered = pd.api.types.is_integer_dtype(table.index)
    headed = table.set_index(table.columns[0]).rename_axis(None) if numbered else table
    texts = {name: headed[name].map(f"{{:.{digits}f}}".format) for name in headed.select_dtypes("float")}
    return headed.assign(**texts).astype(object).where(headed.notna(), "–").rename(columns=figure_name)


def summary(measured: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return a summary as a table for the reader: value and 95% interval, or `undefined`."""
    rows = {figure_name(name): value_and_interval(figure) for name, figure in measured.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "95% interval"])


def compared(summaries: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return a few figures of several summaries side by side, with intervals, a row each."""
    names = [figure_name(name) for name in ("roc_auc", "eer", "balanced_accuracy", "recall_fake", "recall_real")]
    tables = {name: summary(measured).loc[names].agg("  ".join, axis=1) for name, measured in summaries.items()}
    return pd.DataFrame(tables).T


def by_method(measured: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return the figures that need no threshold, one column per test set and, below it, one per method of its fakes.

    Args:
        measured: `video`, `counts` and `methods` of each test set, as metrics.json has them, by name.
    """
    columns = {}
    for name, part in measured.items():
        columns[name, "all"] = {**part["counts"], **part["video"]}
        if len(part["methods"]) > 1:
            columns |= {(name, f"{row['method']} {row['compression']}".strip()): row for row in part["methods"]}
    texts = {
        column: {
            "real videos": f"{row['real']:,}",
            "fakes": f"{row['fake']:,}",
            **{figure_name(figure): with_interval(row[figure]) for figure in METHOD_FIGURES},
        }
        for column, row in columns.items()
    }
    return pd.DataFrame(texts)


def answers(measured: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return what three answers are worth (`metrics.answers.rates`), one column per set of videos, with intervals."""
    names = {
        "reals_called_fake": "reals answered fake",
        "fakes_called_real": "fakes answered real",
        "answered": "answered fake or real",
        "right": "right, of those answered",
    }
    return pd.DataFrame(
        {part: {name: with_interval(found[key]) for key, name in names.items()} for part, found in measured.items()}
    )


def reference_scores(measured: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return the figures as texts for the reader, one row each: value and 95% interval."""
    columns = dict.fromkeys([*REFERENCE_FIGURES, "gain"])
    rows = {
        name: {column: with_interval(figures[column], digits=2) if column in figures else "" for column in columns}
        for name, figures in measured.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename(columns={"gain": "detector's gain in ROC AUC"})
    return table.rename(columns=figure_name)


def robustness(measured: pd.DataFrame) -> pd.DataFrame:
    """Return what `measure` returned as texts for the reader, one row per disturbance and level."""
    rows = [
        {
            "scored": row["scored"],
            "lost": f"{row['lost']:.0%}",
            "ROC AUC": with_interval({"value": row["roc_auc"], "low": row["low"], "high": row["high"]}),
            "its change": with_interval({"value": row["change"], "low": row["change_low"], "high": row["change_high"]}),
            **{figure_name(name): with_interval({"value": row[name]}) for name in ROBUSTNESS_FIGURES[1:]},
        }
        for row in plain_rows(measured)
    ]
    rows[0]["its change"] = ""  # the undisturbed videos have none
    return pd.DataFrame(rows, index=[measured["perturbation"], measured["level"]]).rename_axis([None, None])


def paired_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return what `paired` returned as texts for the reader, differences with their intervals."""
    rows = []
    for row in table.to_dict("records"):
        texts = {"run": row["run"], "common videos": row["videos"]}
        texts |= {"AUC here": f"{row['mine']:.3f}", "AUC there": f"{row['theirs']:.3f}"}
        for name, words in (("roc_auc", "AUC"), ("balanced_accuracy", "balanced accuracy")):
            low, high = (row[f"{name}_{end}"] for end in ("low", "high"))
            interval = " (too few people)" if pd.isna(low) else f" ({low:+.3f} to {high:+.3f})"
            texts[f"{words}, here less there"] = f"{row[name]:+.3f}{interval}"
        rows.append(texts)
    return pd.DataFrame(rows)


def gaps(sliced: pd.DataFrame) -> Table | Text:
    """Return the largest difference between the error rates of an attribute's values, one row per attribute.

    Args:
        sliced: the errors by property, as `errors.by_properties` gives them.
    """
    rows = {
        property_name(row["attribute"]): {
            **{
                words: f"{row[end]}: {row[f'{end}_rate']:.0%} ({row[f'{end}_low']:.0%} – {row[f'{end}_high']:.0%})"
                for end, words in (("lowest", "fewest mistakes"), ("highest", "most mistakes"))
            },
            "difference": f"{row['gap']:.0%}",
        }
        for row in plain_rows(largest_gaps(sliced))
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return or_none(table, "Largest gaps between values of an attribute", "The dataset names no attributes to compare.")


def slices(table: pd.DataFrame, caption: str = "Mistakes by slice") -> Table:
    """Return slices as a table for the reader, shares in percent, below their `property` where the table has one."""

    def percent(share: float) -> str:
        return "–" if pd.isna(share) else f"{share:.0%}"

    rows = [
        {
            "mistaken": f"{row.errors:,} of {row.n:,}",
            "share": percent(row.error_rate),
            "95% interval": "–" if pd.isna(row.low) else f"{percent(row.low)} – {percent(row.high)}",
            "reals kept": percent(row.recall_real),
            "fakes caught": percent(row.recall_fake),
            "corrected p": "–" if pd.isna(row.p_holm) else "< .001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
        }
        for row in table.itertuples()
    ]
    heads = pd.Index(table["slice"].to_numpy())
    if "property" in table:
        heads = pd.MultiIndex.from_arrays([table["property"].map(property_name), heads], names=[None, None])
    return Table(pd.DataFrame(rows, index=heads), caption)
