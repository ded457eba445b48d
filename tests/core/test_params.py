"""Parameters: what is accepted, what is converted, and what a group of them holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from dfutils.core import params
from dfutils.core.errors import InputError
from dfutils.core.params import GROUPS, FaceSettings, Params, PreprocessSettings, TrainingSettings


def test_places_pair_datasets_with_layouts_and_roots():
    first, second = Params(dataset="ffpp, mine", layout="ffpp,folder", root="/a,/b").places
    assert (first.name, first.layout, first.root) == ("ffpp", "ffpp", Path("/a").resolve())
    assert (second.name, second.layout, second.root) == ("mine", "folder", Path("/b").resolve())
    (alone,) = Params(dataset="dfdc").places
    assert (alone.layout, alone.root) == ("dfdc", alone.folder / "videos")


def test_every_parameter_says_what_it_is():
    for name, field in Params.model_fields.items():
        assert field.description, name
        assert field.default is not None, name


def test_every_parameter_has_one_home():
    """The seed apart, which several groups inherit from its own."""
    homes = [name for group in GROUPS for name in vars(group).get("__annotations__", {})]
    assert homes == list(Params.model_fields)
    assert len(homes) == len(set(homes))


def test_a_group_is_taken_out_of_all_parameters():
    everything = Params(epochs=3, frames_per_video=4, workers=2)
    assert TrainingSettings.of(everything) == TrainingSettings(epochs=3)
    assert everything.face_settings == FaceSettings(frames_per_video=4)
    assert PreprocessSettings.of(everything).face_settings == FaceSettings(frames_per_video=4)
    assert type(everything.face_settings) is FaceSettings


def test_a_group_refuses_what_is_not_possible_and_what_is_not_its_own():
    with pytest.raises(InputError, match=r"^There is no parameter 'face_sise': did you mean 'face_size'\?$"):
        FaceSettings(face_sise=64)
    with pytest.raises(InputError, match="There is no parameter 'epochs'"):
        FaceSettings(epochs=3)
    with pytest.raises(InputError, match="frames_per_video is larger than max_frames"):
        FaceSettings(max_frames=5)
    with pytest.raises(InputError, match=r"epochs = 0 is not possible: .*greater than or equal to 1"):
        TrainingSettings(epochs=0)
    with pytest.raises(ValueError, match="frozen"):
        FaceSettings().face_size = 64


def test_lasting_leaves_out_what_changes_no_result():
    lasting = params.lasting(Params())
    assert "workers" not in lasting
    assert lasting["seed"] == 0
    assert set(params.lasting(Params(), ["epochs", "workers"])) == {"epochs"}


def test_neither_torch_nor_pandas_is_loaded():
    script = "import sys; from dfutils.core import params; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
