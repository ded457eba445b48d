"""Writes the model card of a published detector from its figures: a template, and the sentences that depend on them."""

import json
from pathlib import Path
from typing import Any

from dfutils.evaluation.metrics_json import unequal_coverage, worse_calibration
from dfutils.metrics.intervals import value_and_interval, with_interval
from dfutils.reporting.wording import figure_name


def card(config: dict[str, Any], metrics: dict[str, Any], repo: str, robustness: dict[str, Any] | None = None) -> str:
    """Return the model card in Markdown, with the YAML header that the hub reads.

    Args:
        config: the detector's `config.json`.
        metrics: its `metrics.json`.
        repo: owner/name on the hub.
        robustness: its `robustness.json`, None if robustness was not measured.
    """
    from huggingface_hub import ModelCard, ModelCardData

    name = repo.rpartition("/")[2]
    header = ModelCardData(
        library_name="dfutils",
        pipeline_tag="video-classification",
        tags=["deepfake-detection", "video"],
        model_name=name,
        eval_results=_results(metrics),
    )
    written = ModelCard.from_template(
        header,
        template_path=str(Path(__file__).parent / "templates" / "model_card.md.j2"),
        name=name,
        repo=repo,
        config=config,
        training=config.get("training", {}),
        m=metrics,
        limits=[*metrics["caveats"], *_unsaid(metrics), *_ALWAYS],
        calibration=_calibration(config),
        answers=_answers(metrics),
        fewer=[
            (entry["frames"], with_interval(entry["false_alarms"]), with_interval(entry["misses"]))
            for entry in config.get("frames_error_rates", [])
        ],
        baseline=metrics.get("baselines", {}).get("container facts", {}).get("roc_auc", {}).get("value"),
        robustness=robustness and [_disturbed(row) for row in robustness["figures"]],
        scored=robustness and robustness["figures"][0]["scored"],
        rows=_rows,
        json=lambda values: json.dumps(values, indent=1, sort_keys=True),
    )
    return str(written).rstrip() + "\n"


_ALWAYS = [
    "A score is a reason to look further, never proof.",
    "Forgeries by methods it was not trained on, wholly synthetic people and heavy compression can pass it.",
    "Detectors fail unevenly across people: look at the errors by person before you use one on many.",
]


def _calibration(config: dict[str, Any]) -> str:
    """Return how logits become probabilities, from a detector's config.json of this version or an earlier one."""
    if "slope" not in config:
        return f"Temperature: {config.get('temperature', 1.0):.3g}."
    formula = f"Probability: sigmoid({config['slope']:.3g} · logit {config['offset']:+.3g})"
    if config.get("prior_fake") is None:
        return f"{formula}, not calibrated."
    return f"{formula}, calibrated for {config['prior_fake']:.0%} fakes; where fakes are rarer, it is too high."


def _answers(metrics: dict[str, Any]) -> str:
    """Return what the three answers are, and what they are worth, with intervals; "" for figures without borders."""
    borders = metrics.get("borders")
    if not borders:
        return ""
    lower, upper = borders["lower"], borders["upper"]
    between = f"*cannot tell* from {lower:.3f} up to {upper:.3f}, *fake* from there on"
    if lower == upper:
        between = "*fake* from there on; *cannot tell* is not needed, as few validation videos of both kinds meet"
    said = f"Its answers: *real* below {lower:.3f}, {between}."
    for name, found in (("validation", borders["validation"]), ("test", metrics["test"]["answers"])):
        if found:
            share = {figure: with_interval(found[figure]) for figure in found}
            said += (
                f" Of the {name} videos' reals {share['reals_called_fake']} are answered *fake*, of the fakes "
                f"{share['fakes_called_real']} *real*; {share['answered']} of all get one of the two answers, of which "
                f"{share['right']} are right."
            )
    return said


def _unsaid(metrics: dict[str, Any]) -> list[str]:
    """Return caveats that figures of an earlier version call for and do not name."""
    found = metrics.get("calibration") or metrics.get("temperature")
    said = [worse_calibration(found), unequal_coverage(metrics["test"])]
    return [sentence for sentence in said if sentence and sentence not in metrics["caveats"]]


def _results(metrics: dict[str, Any]) -> list[Any] | None:
    """Return the figures that the hub displays, None if there are none."""
    from huggingface_hub import EvalResult

    values = {name: metrics["test"]["video"].get(name, {}).get("value") for name in ("roc_auc", "balanced_accuracy")}
    return [
        EvalResult(
            task_type="video-classification",
            dataset_type="custom",
            dataset_name=metrics["experiment"],
            metric_type=name,
            metric_value=round(value, 4),
            metric_name=f"{figure_name(name)} (test videos)",
        )
        for name, value in values.items()
        if value is not None
    ] or None


def _rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and interval of each figure, as text."""
    stated = {name: figure for name, figure in figures.items() if isinstance(figure, dict) and "value" in figure}
    return [(figure_name(name), *value_and_interval(figure)) for name, figure in stated.items()]


def _disturbed(row: dict[str, Any]) -> tuple[str, int, str, str, str]:
    """Return the cells of a row of `robustness.json`: disturbance, level, share lost, AUC and its change."""
    auc = {"value": row["roc_auc"], "low": row["low"], "high": row["high"]}
    change = {"value": row["change"], "low": row["change_low"], "high": row["change_high"]}
    changed = with_interval(change) if row["level"] else ""
    return row["perturbation"], row["level"], f"{row['lost']:.0%}", with_interval(auc), changed
