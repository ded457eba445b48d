"""The command line. Each command imports what it needs when it runs, so that `--help` starts fast."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dfutils.core.errors import InputError, StageError

app = typer.Typer(
    help="Find deepfake videos, say how sure, and show where the detector fails.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_STOPPED = 130  # exit status after Ctrl-C
_File = Annotated[Path, typer.Argument(help="The experiment's parameter file, such as params/sample.yaml.")]
_Overrides = Annotated[list[str] | None, typer.Option("--param", "-p", help="Set one parameter.", metavar="NAME=VALUE")]
_Model = Annotated[
    str, typer.Option(help="A detector's folder, published weights, or hf://owner/name; default: the suite's own.")
]


@app.command()
def run(
    params: _File,
    first: Annotated[str, typer.Option("--from", help="Start at this stage.", metavar="STAGE")] = "",
    only: Annotated[str, typer.Option(help="Run only this stage.", metavar="STAGE")] = "",
    override: _Overrides = None,
    seeds: Annotated[
        str, typer.Option(help="Train and evaluate once per seed, and report the spread.", metavar="0,1,2")
    ] = "",
) -> None:
    """Run the notebooks of an experiment and write its report."""
    from dfutils.core.parameter_files import load_params

    values = load_params(params, **_overrides(override or []))
    seed_values = _seeds(seeds)
    from dfutils import pipeline  # takes seconds, and a mistake in the arguments is said at once
    from dfutils.splits.division import EACH

    stages = pipeline.choose(first, only)
    pipeline.prepare_kernel()
    if values.test_methods == EACH:
        index = pipeline.run_methods(values, stages, seed_values)
    else:
        index = pipeline.run_seeds(values, stages, seed_values) if seed_values else pipeline.run(values, stages)
    typer.echo(f"Report: {index}")


@app.command("params")
def show_params(
    params: _File,
    override: _Overrides = None,
) -> None:
    """Print every parameter of an experiment: its value, range and meaning, and where the value comes from."""
    from dfutils.core.parameter_files import listing

    typer.echo(listing(params, **_overrides(override or [])))


@app.command()
def train(
    params: _File,
    override: _Overrides = None,
) -> None:
    """Train the detector of an experiment after preprocessing and splitting. torchrun starts this command."""
    from dfutils.core.experiments import claim, headline
    from dfutils.core.parameter_files import load_params
    from dfutils.detector import experiment

    values = claim(load_params(params, **_overrides(override or [])), "train")
    if os.environ.get("RANK", "0") == "0":
        typer.echo(headline(values), err=True)
    typer.echo(f"Detector: {experiment.train(values)}")


@app.command()
def calibrate(
    params: _File,
    override: _Overrides = None,
) -> None:
    """Judge the validation videos whole, and keep the threshold for verdicts on whole videos in the detector."""
    from dfutils.core.parameter_files import load_params

    values = load_params(params, **_overrides(override or []))
    from dfutils.metrics import answers
    from dfutils.serving import whole_videos

    found = whole_videos.calibrate(values)
    lower, upper = answers.around(found.get("borders"), found["threshold"])
    typer.echo(
        f"{found['videos']} validation videos judged whole: fake at or above {upper:.3f}, real below {lower:.3f}, "
        f"threshold {found['threshold']:.3f}; kept in {values.run_folder / 'detector'}."
    )


@app.command()
def compare(
    reports: Annotated[Path | None, typer.Argument(help="The folder of reports; default: the project's.")] = None,
    matrix: Annotated[bool, typer.Option("--matrix", help="Print ROC AUC by training and test dataset.")] = False,
) -> None:
    """Compare all evaluated runs on one page: figures, intervals, parameters that differ."""
    from dfutils.core import params as parameters
    from dfutils.evaluation import comparison
    from dfutils.reporting import overview

    folder = reports or parameters.ROOT / "reports"
    page = overview.write_overview(folder)
    if matrix:
        typer.echo(comparison.train_test_matrix(folder).to_string())
    else:
        typer.echo(f"Runs side by side: {page}")


@app.command("score-import")
def score_import(
    scores: Annotated[Path, typer.Argument(help="CSV or Parquet with video_id or path, and scores.")],
    params: Annotated[Path | None, typer.Argument(help="The parameter file of the dataset that they are of.")] = None,
    higher: Annotated[str, typer.Option(help="What a higher score means: fake or real.", metavar="LABEL")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column of scores, or a pattern such as 'prob_*': a detector each. Default: score."),
    ] = None,
    experiment: Annotated[
        str, typer.Option(help="Without a dataset: the experiment's name; the file has a column label.", metavar="NAME")
    ] = "",
    override: _Overrides = None,
) -> None:
    """Judge the scores of a detector that ran elsewhere, or of several, like those of one's own.

    The file may also have method, identity and split, and one row per frame (column frame), whose scores are averaged.
    """
    from dfutils.core.parameter_files import load_params, with_overrides
    from dfutils.evaluation import imported, score_files

    values, own = _overrides(override or []), params is None
    if own == (not experiment):
        raise InputError("Name the parameter file of the dataset, or --experiment NAME where the file has the labels.")
    if params is not None:
        settings = load_params(params, **values)
    else:
        named = {"experiment": experiment, "dataset": experiment, "layout": "folder"}
        settings = with_overrides(named, {**values, "experiment": experiment})
    file = score_files.read(scores, higher, column or ["score"], settings.label_one)
    found = imported.import_scores(settings, file, own=own)
    for sentence in found.said:
        typer.echo(sentence, err=True)
    from dfutils.reporting import score_page

    folders = score_page.judge(found.experiments)
    page = folders[0] / "index.html"
    if len(folders) > 1:
        page = score_page.write_comparison(found.experiments, imported.base_name(settings, file, own=own))
    typer.echo(f"Report: {page}")


@app.command()
def runs(
    delete: Annotated[str, typer.Option(help="Delete this run, after asking.", metavar="NAME")] = "",
) -> None:
    """List the runs on this machine: size on disk, finished stages, and what was changed; or delete one."""
    from dfutils.core import experiments

    known = experiments.runs()
    chosen = [run for run in known if run.name == delete]
    for run in chosen if chosen else known if not delete else ():
        shared = f" ({_size(run.shared)} shared)" if run.shared else ""
        typer.echo(
            f"{run.name}  {_size(run.size)}{shared}  {', '.join(run.finished) or 'nothing finished'}  {run.about}"
        )
    if not known:
        typer.echo("There are no runs yet: dfutils run PARAMS makes one.")
    if not delete:
        return
    if not chosen or typer.confirm(f"Delete runs/{delete} and reports/{delete}?"):
        experiments.delete(delete)
        typer.echo(f"Deleted: {delete}. Videos and face strips in data/ stay.")
    else:
        typer.echo("Nothing was deleted.")


def _size(count: float) -> str:
    """Return a number of bytes in megabytes, or in gigabytes from one on."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _seeds(text: str) -> list[int]:
    """Return the seeds of a text such as `0,1,2`, without repetitions, in order."""
    numbers = [number.strip() for number in text.split(",") if number.strip()]
    if any(not number.isdecimal() or int(number) >= 2**31 for number in numbers):
        raise InputError(f"--seeds {text} is not possible: give whole numbers such as 0,1,2.")
    return list(dict.fromkeys(int(number) for number in numbers))


@app.command()
def predict(
    videos: Annotated[list[str], typer.Argument(help="Videos, folders of videos, patterns such as 'clips/*.mp4'.")],
    model: _Model = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write one line of JSON per video.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write a table with one row per video.", metavar="FILE")] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Write a one-file HTML report per video, with Grad-CAM.", metavar="DIR")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write one page that lists all videos, most suspicious first, and a report of each.", metavar="DIR"
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of computing per video; default: 20, more for over 4 minutes of video."),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(min=0, help="Look at five seconds every so many seconds of video."),
    ] = None,
    first: Annotated[
        int | None, typer.Option(min=1, help="Look at the first frames alone, as the notebooks do.", metavar="FRAMES")
    ] = None,
) -> None:
    """Judge videos: everyone in them, from beginning to end. Exit status 3 if some videos were not judged.

    An answer is a reason to look further, never proof. The detector that comes with the suite is for research and other
    non-commercial use.
    """
    from dfutils.serving import commands

    wishes = {"as_json": as_json, "csv": csv, "explain": explain, "report": report}
    scored = commands.predict(videos, model, **wishes, first=first, budget=budget, every=every)
    raise typer.Exit(0 if scored else 3)


@app.command()
def serve(
    model: _Model = "",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 accepts other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 chooses a free one.")] = 7860,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of a web page, such as https://example.org, that may call the service."),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path prefix that a reverse proxy adds, such as /detector.", metavar="PREFIX")
    ] = "",
) -> None:
    """Serve a detector: the web page at /, POST /predict, GET /health, /docs."""
    from dfutils.serving import commands

    commands.serve(model, host, port, allow_origin or [], root_path.rstrip("/"))


@app.command()
def publish(
    model: Annotated[Path, typer.Option(help="The detector's folder.")],
    repo: Annotated[str, typer.Option(help="Repository on the hub: owner/name.")],
    metrics: Annotated[
        Path | None, typer.Option(help="Its metrics.json; default: that of the experiment that trained it.")
    ] = None,
    private: Annotated[bool, typer.Option(help="Create the repository as private.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only write the folder that would be uploaded.")] = False,
    half: Annotated[bool, typer.Option(help="Store weights in half precision: half the file size.")] = False,
) -> None:
    """Publish a detector on the Hugging Face hub, with a card written from its figures."""
    from dfutils.serving import commands

    typer.echo(commands.publish(model, repo, metrics, private=private, dry_run=dry_run, half=half))


def _overrides(texts: list[str]) -> dict[str, object]:
    """Return the parameters given as `name=value`; a value is parsed as YAML, as in a parameter file."""
    import yaml

    values = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise InputError(f"-p {text} is not of the form name=value, such as -p epochs=3.")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
        values[name.strip()] = value if parsed is None or isinstance(parsed, list | dict) else parsed
    return values


def main() -> None:
    """Run the command line: exit status 2 and one sentence after an input error, 1 after a failed stage."""
    for stream in (sys.stdout, sys.stderr):  # what the encoding of a terminal or file lacks is escaped
        stream.reconfigure(errors="backslashreplace")
    try:
        status = app(standalone_mode=False)  # typer returns the status that it would exit with
    except InputError as error:
        _stop(str(error), 2)
    except StageError as error:
        _stop(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        status = _STOPPED
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors: an unknown option, a missing argument
            _stop(error.format_message() or "dfutils --help lists the commands.", 2)
        raise
    if status == _STOPPED:
        _stop("Stopped. What was finished stays; dfutils run and train resume from there.", status)
    sys.exit(status)


def _stop(message: str, status: int) -> None:
    sys.stderr.write(f"dfutils: {message}\n")
    sys.exit(status)
