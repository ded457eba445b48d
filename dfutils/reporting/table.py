"""A table as readers see it: in notebooks and pages, as CSV and in LaTeX."""

import re
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from dfutils.core.files import digest
from dfutils.reporting.wording import Text

_LONG = 30  # characters; longer texts are broken over several lines


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
        for axis in (0, 1):
            shown = shown.format_index(escape=markup, axis=axis)
        return shown.hide(axis="index") if self._numbered else shown

    @property
    def _numbered(self) -> bool:
        return self.index.name is None and pd.api.types.is_integer_dtype(self.index)

    def _repr_html_(self) -> str:
        left, whole = "text-align: left", "white-space: nowrap"
        styles = {}
        for name in self.select_dtypes(["object", "str"]):
            texts = self[name].map(str)
            wide = texts.str.len().max() > _LONG
            words = [left] if texts.str.contains("[A-Za-z]").any() else []
            styles[name] = _rule("", *words, "min-width: 9rem; overflow-wrap: anywhere" if wide else whole)
        shown = (
            self._styled("html")
            .set_table_styles(_rule("caption, tbody th", left))
            .set_table_styles(styles, overwrite=False)
        )
        return shown.set_caption(escape(self.caption)).set_table_attributes('class="dataframe"').to_html()

    def csv(self) -> str:
        """Return the table as CSV, as it is shown."""
        return self.to_csv(index=not self._numbered)

    def latex(self, label: str) -> str:
        """Return the table in LaTeX, for the package booktabs, with its caption and a label."""
        caption = re.sub(r"([%&#_$])", r"\\\1", self.caption)
        return self._styled("latex").to_latex(
            hrules=True, caption=caption, label=f"tab:{label}", position_float="centering", multicol_align="c"
        )


def _rule(selector: str, *declarations: str) -> list[dict[str, str]]:
    return [{"selector": selector, "props": "; ".join(declarations)}]


def or_none(table: pd.DataFrame, caption: str, sentence: str = "None.") -> Table | Text:
    """Return a table under a caption, or a sentence in its place if it has no rows."""
    return Table(table, caption) if len(table) else Text(sentence)
