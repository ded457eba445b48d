"""A table as readers see it: in notebooks and pages, as CSV and in LaTeX."""

import re
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from dfutils.core.files import digest
from dfutils.reporting.wording import Text

_SHORT, _LONG = 20, 30  # characters: texts up to the one stay on a line, words longer than the other are broken


class Table(pd.DataFrame):
    """A table that a notebook shows with a caption, words to the left, numbers to the right, and no row numbers.

    What is computed from it is a plain DataFrame.
    """

    _metadata = ("caption",)
    caption: str

    def __init__(self, data: pd.DataFrame, caption: str) -> None:
        """Show `data` under `caption`."""
        super().__init__(data)
        self.caption = caption

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _styled(self, markup: str) -> Styler:
        shown = Styler(self, uuid=digest([self.caption, self.to_csv()])[:8], cell_ids=False)
        shown = shown.format(precision=3, thousands=",", na_rep="–", escape=markup)
        texts = [name for name in self if all(isinstance(value, str) for value in self[name])]
        shown = shown.format(lambda text: text.replace(" – ", "\u00a0–\u00a0"), subset=texts, escape=markup)
        for axis in (0, 1):
            shown = shown.format_index(escape=markup, axis=axis)
        return shown.hide(axis="index") if self._numbered else shown

    @property
    def _numbered(self) -> bool:
        return self.index.name is None and pd.api.types.is_integer_dtype(self.index)

    def _repr_html_(self) -> str:
        left, whole = "text-align: left", "white-space: nowrap"
        heads = max(map(len, map(str, self.index.to_frame().to_numpy().ravel())), default=0)
        rules = [_rule("caption, tbody th", left), _rule("tbody th", whole if heads <= _LONG else left)]
        styles = {}
        for name in self.select_dtypes(["object", "str"]):
            texts = self[name].map(str)
            longest = texts.str.len().max()
            wide = "min-width: 9rem; overflow-wrap: anywhere" if longest > _LONG else ""
            styles[name] = [_rule("td", whole if longest <= _SHORT else wide)]
            if texts.str.contains("[A-Za-z]").any():
                styles[name].append(_rule("", left))
        shown = self._styled("html").set_table_styles(rules).set_table_styles(styles, overwrite=False)
        return shown.set_caption(escape(self.caption)).set_table_attributes('class="dataframe"').to_html()

    def csv(self) -> str:
        """Return the table as CSV, as it is shown."""
        return self.to_csv(index=not self._numbered)

    def latex(self, label: str) -> str:
        """Return the table in LaTeX, for the package booktabs, with its caption and a label."""
        caption = re.sub(r"([%&#_$])", r"\\\1", self.caption)
        return self._styled("latex").to_latex(
            hrules=True, caption=caption, label=f"tab:{label}", position_float="centering", multirow_align="naive"
        )


def _rule(selector: str, declaration: str) -> dict[str, str]:
    return {"selector": selector, "props": declaration}


def or_none(table: pd.DataFrame, caption: str, sentence: str = "None.") -> Table | Text:
    """Return a table under a caption, or a sentence in its place if it has no rows."""
    return Table(table, caption) if len(table) else Text(sentence)
