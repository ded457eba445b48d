"""Parameters: what is accepted, what is converted, and what each mistake says."""

from pathlib import Path

import pytest

from dfutils.core import params
from dfutils.core.errors import InputError


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_numbers_written_as_text_are_converted(tmp_path):
    loaded = params.load_params(write(tmp_path, "learning_rate: 1e-4\nepochs: '3'\nthreshold: 0.5\n"))
    assert loaded.learning_rate == 1e-4
    assert loaded.epochs == 3
    assert loaded.threshold == "0.5"


def test_experiment_is_the_files_stem_unless_it_names_one(tmp_path):
    assert params.load_params(write(tmp_path, "epochs: 3")).experiment == "mine"
    assert params.load_params(write(tmp_path, "experiment: other")).experiment == "other"
    assert params.load_params(write(tmp_path, "experiment: other"), experiment="third").experiment == "third"


def test_an_empty_file_is_all_defaults(tmp_path):
    assert params.load_params(write(tmp_path, "")).epochs == params.Params().epochs


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
        ("experiment: ../x", "experiment = '../x' is not possible"),
        ("val_fraction: 0.45\ntest_fraction: 0.5", "less than a tenth"),
        ("frames_per_video: 20\nmax_frames: 10", "larger than max_frames"),
        ("train_frames: 20", "larger than frames_per_video"),
        ("dataset: a,b\nroot: x", "as many as dataset"),
    ],
)
def test_a_mistake_ends_in_a_sentence(tmp_path, text, says):
    with pytest.raises(InputError) as caught:
        params.load_params(write(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbour(tmp_path):
    write(tmp_path, "", "sample.yaml")
    with pytest.raises(InputError, match=r"did you mean .*sample\.yaml"):
        params.load_params(tmp_path / "sampel.yaml")


def test_a_folder_and_bytes_are_no_parameter_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        params.load_params(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot be read|is not YAML"):
        params.load_params(tmp_path / "bytes.yaml")


def test_places_pair_datasets_with_layouts_and_roots():
    first, second = params.resolve({"dataset": "ffpp, mine", "layout": "ffpp,folder", "root": "/a,/b"}).places
    assert (first.name, first.layout, first.root) == ("ffpp", "ffpp", Path("/a").resolve())
    assert (second.name, second.layout, second.root) == ("mine", "folder", Path("/b").resolve())
    (alone,) = params.resolve({"dataset": "dfdc"}).places
    assert (alone.layout, alone.root) == ("dfdc", alone.folder / "videos")


def test_every_parameter_says_what_it_is():
    for name, field in params.Params.model_fields.items():
        assert field.description, name
        assert field.default is not None, name


def test_lasting_leaves_out_what_changes_no_result():
    lasting = params.lasting(params.Params())
    assert "workers" not in lasting
    assert lasting["seed"] == 0
    assert set(params.lasting(params.Params(), ["epochs", "workers"])) == {"epochs"}


def test_a_notebooks_cell_is_checked():
    good = {"__annotations__": {"epochs": int}, "epochs": "3", "helper": 1}
    assert params.from_notebook(good).epochs == 3
    assert params.from_notebook(good).model_fields_set == {"epochs"}
    # How many frames a video has is another notebook's parameter.
    assert params.from_notebook({"__annotations__": {"train_frames": int}, "train_frames": 20}).train_frames == 20
    with pytest.raises(InputError, match="did you mean 'epochs'"):
        params.from_notebook({"__annotations__": {"epoch": int}, "epoch": 3})


def test_papermills_injected_cell_may_only_name_what_the_notebook_declares():
    namespace = {"__annotations__": {"epochs": int}, "epochs": 3, "In": ["", "# Parameters\nepoch = 4\n"]}
    with pytest.raises(InputError, match="takes no parameter 'epoch': did you mean 'epochs'"):
        params.from_notebook(namespace)
    namespace["In"] = ["", "# Parameters\nepochs = 4\n"]
    assert params.from_notebook(namespace).epochs == 3
