"""Writes the model card of a published detector from its figures."""

import json
from typing import Any

from dfutils.evaluation.metrics_json import unequal_coverage, worse_calibration
from dfutils.metrics.intervals import value_and_interval, with_interval
from dfutils.reporting.wording import figure_name

PREFIX = "hf://"
"""Prefix of the name of a detector on the hub: hf://owner/name."""


def card(config: dict[str, Any], metrics: dict[str, Any], repo: str, robustness: dict[str, Any] | None = None) -> str:
    """Return the model card in Markdown, with the YAML header that the hub reads.

    Args:
        config: the detector's `config.json`.
        metrics: its `metrics.json`.
        repo: owner/name on the hub.
        robustness: its `robustness.json`, None if robustness was not measured.
    """
    training, test = config.get("training", {}), metrics["test"]
    parameters, architecture = training.get("parameters", {}), config["architecture"]
    audit = metrics.get("audit", {})
    sections = [
        _header(metrics, repo),
        f"# {repo.rpartition('/')[2]}: is the face in a video real or fake?",
        f"{metrics['verdict']}",
        _bullets("## What limits it", [*metrics["caveats"], *_unsaid(metrics), *_ALWAYS]),
        "## Use",
        f"```sh\ndfutils predict video.mp4 --model {PREFIX}{repo}\ndfutils serve --model {PREFIX}{repo}\n```",
        "Made for looking further into a video whose origin is in doubt, by people who see the whole case. Not made "
        "for accusing a person, for publishing or deleting without a human look, or for watching people.",
        "## What it is",
        f"Video → first frames → faces (dlib) → {config['frames_per_video']} face crops of {config['face_size']} "
        f"pixels → {architecture['backbone']} → {architecture['temporal']} ({architecture['hidden_size']}) → real (0) "
        f"or fake (1). It calls a video fake from {metrics['threshold']['value']:.3f} on, chosen on "
        f"{metrics['threshold']['validation_videos']} validation videos (rule: {metrics['threshold']['rule']}). "
        f"{_calibration(config)}",
        "## Figures",
        f"On {test['counts']['real']} real and {test['counts']['fake']} fake test **videos**, with 95% intervals "
        f"({metrics['no_face']} where no face was found{_prior(metrics)}):",
        _table(test["video"]),
        _confusion(test["confusion"]),
        _other_datasets(metrics.get("eval", {})),
        _robustness(robustness),
        "## Data and splits",
        f"Layouts: {', '.join(training.get('layouts', [])) or 'unknown'}. Trained as experiment "
        f"`{metrics['experiment']}`, data and splits `{metrics['fingerprints'].get('data and splits', 'unknown')}`.",
        _bullets("What the audit of the splits found:", audit.get("alarms") or ["No alarm."]),
        _baselines(metrics.get("baselines", {})),
        "## Training",
        "```json\n" + json.dumps(parameters, indent=1, sort_keys=True) + "\n```",
        "## Made by",
        ", ".join(f"{name} {value}" for name, value in metrics.get("made_by", {}).items() if name != "platform") + ".",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


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


def _prior(metrics: dict[str, Any]) -> str:
    prior = metrics.get("prior_fake")
    return "" if prior is None else f"; log loss, Brier score and ECE as if {prior:.0%} were fake"


def _unsaid(metrics: dict[str, Any]) -> list[str]:
    """Return caveats that figures of an earlier version call for and do not name."""
    found = metrics.get("calibration") or metrics.get("temperature")
    said = [worse_calibration(found), unequal_coverage(metrics["test"])]
    return [sentence for sentence in said if sentence and sentence not in metrics["caveats"]]


def _header(metrics: dict[str, Any], repo: str) -> str:
    """Return the card's YAML header, with the figures that the hub displays."""
    values = {name: metrics["test"]["video"].get(name, {}).get("value") for name in ("roc_auc", "balanced_accuracy")}
    rows = [
        f"    - type: {name}\n      value: {value:.4f}\n      name: {figure_name(name)} (test videos)"
        for name, value in values.items()
        if value is not None
    ]
    index = ""
    if rows:
        index = (
            f"model-index:\n- name: {repo.rpartition('/')[2]}\n  results:\n  - task:\n"
            f"      type: video-classification\n    dataset:\n      type: custom\n"
            f"      name: {json.dumps(metrics['experiment'])}\n    metrics:\n" + "\n".join(rows) + "\n"
        )
    return (
        "---\nlibrary_name: dfutils\npipeline_tag: video-classification\ntags:\n- deepfake-detection\n- video\n"
        f"{index}---"
    )


def _bullets(head: str, items: list[str]) -> str:
    return f"{head}\n\n" + "\n".join(f"- {item}" for item in items)


def _table(figures: dict[str, Any]) -> str:
    rows = ["| figure | value | 95% interval |", "| --- | --- | --- |"]
    for name, figure in figures.items():
        if not isinstance(figure, dict) or "value" not in figure:
            continue
        value, interval = value_and_interval(figure)
        rows.append(f"| {figure_name(name)} | {value} | {interval} |")
    return "\n".join(rows)


def _confusion(counts: list[list[int]]) -> str:
    (rr, rf), (fr, ff) = counts
    return f"| | called real | called fake |\n| --- | --- | --- |\n| real | {rr} | {rf} |\n| fake | {fr} | {ff} |"


def _other_datasets(metrics: dict[str, Any]) -> str:
    tables = [
        f"### On {name}{_which(figures)}, which it was not trained on\n\n{_table(figures['video'])}"
        for name, figures in metrics.items()
    ]
    return "\n\n".join(tables)


def _which(figures: dict[str, Any]) -> str:
    """Return which videos of a dataset were scored, in brackets; "" where an earlier version did not record it."""
    which = figures.get("videos", {}).get("which")
    return f" ({which})" if which else ""


def _robustness(robustness: dict[str, Any] | None) -> str:
    if not robustness:
        return "Robustness against compression, blur and noise was not measured."
    rows = ["| disturbance | level | lost | ROC AUC | change |", "| --- | --- | --- | --- | --- |"]
    for row in robustness["figures"]:
        auc = {"value": row["roc_auc"], "low": row["low"], "high": row["high"]}
        change = {"value": row["change"], "low": row["change_low"], "high": row["change_high"]}
        cells = f"| {row['perturbation']} | {row['level']} | {row['lost']:.0%} |"
        rows.append(f"{cells} {with_interval(auc)} | {with_interval(change) if row['level'] else ''} |")
    count = robustness["figures"][0]["scored"]
    return (
        f"### Under disturbance\n\n{count} test videos, disturbed before any face is looked for (the disturbances of "
        "DeeperForensics-1.0, and JPEG; levels 1 to 5). *Lost* have no score any more; "
        "*change* is that of the AUC on the videos that still have one.\n\n" + "\n".join(rows)
    )


def _baselines(baselines: dict[str, Any]) -> str:
    value = baselines.get("container facts", {}).get("roc_auc", {}).get("value")
    if value is None:
        return ""
    return (
        f"A classifier that sees no face at all, only size, rate, length and bitrate of the files, reaches a ROC AUC "
        f"of {value:.3f} on the same test videos: what lies above that is owed to faces."
    )
