"""Parameter files: what is read, what is converted, what each mistake says, and the listing."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dfutils import cli
from dfutils.core.errors import InputError
from dfutils.core.parameter_files import load_params
from dfutils.core.params import Params

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "params").glob("*.yaml"))


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_numbers_written_as_text_are_converted(tmp_path):
    loaded = load_params(write(tmp_path, "learning_rate: 1e-4\nepochs: '3'\nthreshold: 0.5\n"))
    assert loaded.learning_rate == 1e-4
    assert loaded.epochs == 3
    assert loaded.threshold == "0.5"


def test_experiment_is_the_files_stem_unless_it_names_one(tmp_path):
    assert load_params(write(tmp_path, "epochs: 3")).experiment == "mine"
    assert load_params(write(tmp_path, "experiment: other")).experiment == "other"
    assert load_params(write(tmp_path, "experiment: other"), experiment="third").experiment == "third"


def test_an_empty_file_is_all_defaults(tmp_path):
    assert load_params(write(tmp_path, "")).epochs == Params().epochs


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch: 3", "did you mean 'epochs'"),
        ("zzz: 3", "There is no parameter 'zzz'"),
        ("epochs: many", "epochs = 'many' is not possible"),
        ("epochs: 2.5", "epochs = 2.5 is not possible"),
        ("epochs: yes", "must be a whole number"),
        ("epochs: 0", "greater than or equal to 1"),
        ("dropout: 1.0", "less than 1"),
        ("faces: two", "'one', 'all' or 'cropped'"),
        ("faces: [one]", "single value"),
        ("- epochs\n- 3", "not a list"),
        ("just text", "not a str"),
        ("a: b: c", "is not YAML"),
        ("experiment: ../x", "experiment = '../x' is not possible: use at most 100 letters, digits"),
        ("experiment: a/b", "experiment = 'a/b' is not possible: use at most 100 letters, digits"),
        (f"experiment: {'x' * 101}", "use at most 100 letters, digits"),
        ("val_fraction: 0.45\ntest_fraction: 0.5", "less than a tenth"),
        ("frames_per_video: 20\nmax_frames: 10", "larger than max_frames"),
        ("train_frames: 20", "larger than frames_per_video"),
        ("dataset: a,b\nroot: x", "as many as dataset"),
        (
            "epochs: 3\n\tseed: 1",
            "mine.yaml, line 2, is not YAML (found character '\\t' that cannot start any token): put",
        ),
        ('epochs: 3\n\nroot: "C:\\Users\\me"', "line 3, is not YAML"),
        ('root: "C:\\Users\\me"', "in single quotes, or write slashes"),
        ("epochs: 3\nseed: 1\nepochs: 4", "line 3: epochs stands in line 1, too; delete one"),
        ("epochs: 3\nroot: [a", "line 2, is not YAML"),
        ("eval_datasets: a,b\neval_root: x", "eval_root must name as many as eval_datasets"),
    ],
)
def test_a_mistake_ends_in_a_sentence(tmp_path, text, says):
    with pytest.raises(InputError) as caught:
        load_params(write(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_other_editors_is_read_or_told(tmp_path):
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "a.yaml").write_text("epochs: 3  # caf\u00e9\n", encoding=encoding)
        assert load_params(tmp_path / "a.yaml").epochs == 3
    (tmp_path / "a.yaml").write_text("epochs: 3\n# caf\u00e9\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"a\.yaml, line 2, cannot be read: save the file as UTF-8\.$"):
        load_params(tmp_path / "a.yaml")


def test_a_root_may_hold_a_comma(tmp_path):
    alone = load_params(write(tmp_path, f"dataset: a\nroot: {tmp_path}/one, two\nlayout: folder"))
    assert [place.root for place in alone.places] == [tmp_path / "one, two"]
    both = load_params(write(tmp_path, f"dataset: a, b\nroot: '\"{tmp_path}/one, two\", {tmp_path}/b'"))
    assert [place.root for place in both.places] == [tmp_path / "one, two", tmp_path / "b"]


def test_a_missing_file_names_its_neighbour(tmp_path):
    write(tmp_path, "", "sample.yaml")
    with pytest.raises(InputError, match=r"did you mean .*sample\.yaml"):
        load_params(tmp_path / "sampel.yaml")


def test_a_folder_and_bytes_are_no_parameter_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: it is a folder"):
        load_params(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot be read|is not YAML"):
        load_params(tmp_path / "bytes.yaml")


def test_an_override_that_changes_results_names_the_experiment(tmp_path):
    path = write(tmp_path, "epochs: 14\nseed: 2\n", "sample.yaml")
    assert load_params(path, epochs=3).experiment == "sample-epochs_3"
    assert load_params(path, epochs="14", workers=1).experiment == "sample"
    assert load_params(path, learning_rate="1e-5", align=True).experiment == "sample-align_true-learning_rate_1e-05"
    assert load_params(path, epochs=3, experiment="mine").experiment == "mine"
    long = load_params(path, root="a/b", layout="folder").experiment
    assert re.fullmatch("sample-[0-9a-f]{8}", long)
    assert load_params(path, layout="folder", root="a/b").experiment == long
    assert load_params(path, layout="folder", root="a/c").experiment != long


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_parameter_file_names_what_differs_from_the_defaults(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    for name, value in yaml.safe_load(text).items():
        if name == "params_file":
            continue
        assert getattr(Params(**{name: value}), name) != Params.model_fields[name].default, name
    for line in text.splitlines():
        assert len(line) <= 120
    assert text.startswith("# ")  # which says what the experiment is


def test_half_of_the_parameter_files_have_twenty_lines_at_most():
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES)
    assert lengths[len(lengths) // 2] <= 20


def test_a_complete_file_of_an_earlier_version_gives_the_same_parameters():
    earlier = load_params(Path(__file__).with_name("complete_sample.yaml"), experiment="sample")
    assert earlier.model_copy(update={"params_file": "params/sample.yaml"}) == load_params(
        ROOT / "params" / "sample.yaml"
    )


def test_a_file_gives_all_parameters_so_that_a_record_holds_them_all(tmp_path):
    loaded = load_params(write(tmp_path, "epochs: 3"))
    assert loaded.model_fields_set == set(Params.model_fields)


def test_a_name_that_python_uses_is_no_parameter(tmp_path):
    for name in ("path", "self", "7"):
        with pytest.raises(InputError, match=f"There is no parameter '{name}'"):
            load_params(write(tmp_path, f"{name}: 3"))
        with pytest.raises(InputError, match=f"There is no parameter '{name}'"):
            load_params(write(tmp_path, ""), **{name: 3})


def test_the_listing_says_of_every_parameter_what_it_is_and_where_it_comes_from(tmp_path):
    path = write(tmp_path, "epochs: 3\nlearning_rate: 1e-5\nfaces: cropped\n")
    result = CliRunner().invoke(cli.app, ["params", str(path), "-p", "learning_rate=0.01", "-p", "jpeg=0.5"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if line and not line.startswith(" ")}
    assert set(Params.model_fields) <= set(rows)
    assert rows["epochs"] == "epochs 3 >= 1, <= 10000 file passes over the training videos"
    assert rows["learning_rate"] == "learning_rate 0.01 > 0, <= 1 command line peak learning rate"
    assert rows["jpeg"].startswith("jpeg 0.5 >= 0, <= 1 command line probability of JPEG compression")
    assert rows["seed"].startswith("seed 0 >= 0, < 2147483648 default every random draw")
    assert rows["experiment"].startswith("experiment mine-jpeg_0.5- text file's name ")
    assert rows["faces"].startswith("faces cropped one, all, cropped file ")
    assert rows["align"].startswith("align false true, false default ")
    for heading in ("Faces (02)", "Training (03)", "Robustness (07)"):
        assert any(line.startswith(heading) for line in lines)


def test_the_listing_of_a_file_as_it_stands_names_the_experiment_after_it(tmp_path):
    lines = CliRunner().invoke(cli.app, ["params", str(write(tmp_path, "epochs: 3"))]).stdout.splitlines()
    assert any(" ".join(line.split()).startswith("experiment mine text file's name ") for line in lines)


def test_the_listing_ends_in_the_sentence_of_a_wrong_file(tmp_path):
    result = CliRunner().invoke(cli.app, ["params", str(write(tmp_path, "epochs: 0"))])
    assert isinstance(result.exception, InputError)
    assert "epochs = 0 is not possible" in str(result.exception)
