"""Executed notebooks to pages that open anywhere: one self-contained HTML file a notebook, and one that leads to them.

Nothing is loaded from outside and nothing runs: no scripts, no fonts, pictures inside the file.
"""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbformat import v4

from dfutils.core.files import atomic, read_json
from dfutils.core.params import Params
from dfutils.core.stages import STAGES
from dfutils.evaluation import metrics_json
from dfutils.metrics.intervals import value_and_interval

GLOSSARY = Path(__file__).resolve().parents[2] / "notebooks" / "glossary.md"
_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = _TEMPLATES / "report" / "style.css"
_BAR = r"\d+%\||\d+\w* \[\d\d:\d\d"  # what tqdm writes, with and without a total
HEADLINE = {
    "roc_auc": "ROC AUC",
    "balanced_accuracy": "Balanced accuracy",
    "recall_fake": "Recall of fakes",
    "recall_real": "Recall of reals",
    "accuracy": "Accuracy",
}
"""The figures of the first page, by their names in metrics.json."""


def title(notebook: Path) -> str:
    """Return the text of a notebook's first heading, or its name."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        match = re.search(r"^# +(.+)$", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else None
        if match:
            return match[1].strip()
    return notebook.stem


def write_page(notebook: Path, page: Path, pages: list[dict[str, Any]]) -> None:
    """Render an executed notebook as a self-contained page with folded code, contents and links to the other pages."""
    document = nbformat.read(notebook, as_version=4)
    _tidy(document)
    _write(document, title(notebook), page, pages)


def write_glossary(page: Path, pages: list[dict[str, Any]]) -> None:
    """Render the notebooks' glossary, which they link to, as a page that leads back to theirs."""
    text = GLOSSARY.read_text(encoding="utf-8")
    _write(v4.new_notebook(cells=[v4.new_markdown_cell(text)]), "Glossary", page, pages)


def _write(document: nbformat.NotebookNode, name: str, page: Path, pages: list[dict[str, Any]]) -> None:
    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(_TEMPLATES)],
        embed_images=True,
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        jupyter_widgets_base_url="",
        mermaid_js_url="",
        mermaid_layout_elk_js_url="",
    )
    report = {
        "title": name,
        "style": _STYLE.read_text(encoding="utf-8"),
        "pages": [{**entry, "current": entry["href"] == page.name} for entry in pages],
        "headings": _headings(document),
    }
    body, _ = exporter.from_notebook_node(document, resources={"report": report})
    with atomic(page) as temporary:
        temporary.write_text(body, encoding="utf-8")


def _tidy(document: nbformat.NotebookNode) -> None:
    """Leave out what only a running notebook needs: progress bars, the injected parameters' banner, empty output."""
    document.cells = [cell for cell in document.cells if cell.cell_type != "code" or cell.source.strip()]
    for cell in document.cells:
        if cell.cell_type != "code":
            cell.source = cell.source.replace("(glossary.md#", "(glossary.html#")
            continue
        for output in cell.outputs:
            if output.output_type == "stream":
                lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[\w", "", output.text))
                output.text = "\n".join(line for line in lines if not re.search(_BAR, line)).strip("\n")
        cell.outputs = [output for output in cell.outputs if output.output_type != "stream" or output.text.strip()]


def _headings(document: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """Return level, text and anchor of the second- and third-level headings, with the anchors that nbconvert makes."""
    found = []
    for cell in document.cells:
        if cell.cell_type != "markdown":
            continue
        for level, inner in re.findall(r"<h([23])[^>]*>(.*?)</h\1>", markdown2html(cell.source), flags=re.DOTALL):
            anchor = re.search(r'href="#([^"]+)"', inner)
            text = html.unescape(re.sub(r"<[^>]+>", "", inner)).replace("¶", "").strip()
            if anchor:
                found.append({"level": int(level), "text": text, "anchor": html.unescape(anchor[1])})
    return found


def write_index(params: Params, run: dict[str, Any]) -> Path:
    """Write an experiment's `index.html` from its run record and, if it was evaluated, `metrics.json`; return its path.

    Args:
        params: the experiment's parameters.
        run: `stages` (by name: title, seconds, finished), `made_by` (name to text), `failed` (a sentence or ""), and
            the `parameters` of finished stages, which win over `params`.
    """
    folder = params.report_folder
    metrics_path, picture = folder / "metrics.json", folder / "figures" / "confusion.png"
    metrics = read_json(metrics_path) if metrics_path.exists() else None
    values = {name: getattr(params, name) for name in type(params).model_fields} | run.get("parameters", {})
    return render(
        folder / "index.html",
        "summary.html.j2",
        experiment=params.experiment,
        pages=[{**entry, "current": entry["href"] == "index.html"} for entry in page_links(run["stages"])],
        failed=run.get("failed", ""),
        metrics=metrics,
        cards=_cards(metrics) if metrics else [],
        conditions=metrics_json.in_words(metrics["conditions"]) if metrics and "conditions" in metrics else "",
        confusion=base64.b64encode(picture.read_bytes()).decode() if metrics and picture.exists() else "",
        stages=run["stages"],
        files=STAGES,
        made_by=run["made_by"],
        parameters={
            name: (_shown(values[name]), field.description) for name, field in type(params).model_fields.items()
        },
    )


def render(page: Path, template: str, **values: Any) -> Path:
    """Write a page, whole or not at all, from a template of the reports, and return its path."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES / "report"), autoescape=True)
    style = Markup(_STYLE.read_text(encoding="utf-8"))
    with atomic(page) as temporary:
        temporary.write_text(environment.get_template(template).render(style=style, **values), encoding="utf-8")
    return page


def page_links(stages: dict[str, Any]) -> list[dict[str, Any]]:
    """Return title and file name of every page of a report, the first page first."""
    links = [{"title": entry["title"], "href": f"{STAGES[stage]}.html"} for stage, entry in stages.items()]
    return [{"title": "Summary", "href": "index.html"}, *links]


def _shown(value: Any) -> str:
    return "(empty)" if value == "" else json.dumps(value) if isinstance(value, bool) else str(value)


def _cards(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """Return the headline figures of the test videos as texts."""
    video = metrics["test"]["video"]
    cards = []
    for name, shown in HEADLINE.items():
        figure = video.get(name, {"value": None})
        value, interval = value_and_interval(figure)
        said = "not defined on this test split" if figure["value"] is None else interval and f"95%: {interval}"
        cards.append({"name": shown, "value": value, "interval": said})
    return cards
