"""Every parameter of the suite: its name, type, range, default and meaning, once.

The parameters stand in groups, one for each job that needs them; `Params` inherits them all. A function takes the group
that it needs, and a `Params` is one of each. An experiment is a flat YAML file that names what differs from the
defaults. The same names stand in the notebooks' parameter cells and on the command line after `-p`; a name or a value
that is not valid ends in one sentence that says what is.
"""

import csv
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from dfutils.core.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(os.environ.get("DFUTILS_HOME") or Path(__file__).resolve().parents[2])
"""Where `data/`, `runs/`, `reports/` and relative paths begin: the checkout, or the folder that DFUTILS_HOME names."""

SAFE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What the name of an experiment looks like: that of a folder on every system."""


class Place(NamedTuple):
    """Where one dataset lies: `root` holds its videos as published, `folder` what the suite makes of them."""

    name: str
    layout: str
    root: Path
    folder: Path


class Indexed(NamedTuple):
    """A dataset that notebook 01 has indexed: its videos table, the folder that its paths begin in, and its layout."""

    name: str
    root: Path
    folder: Path
    videos: "pd.DataFrame"
    layout: str = ""
    left_out: frozenset[str] = frozenset()  # ids of the videos that the experiment does not use


def _free(default: Any, description: str, **limits: Any) -> Any:
    """A parameter that changes how a result is reached, not the result: a finished experiment may see it change."""
    return Field(default, description=description, json_schema_extra={"changes_results": False}, **limits)


def _from_root(path: str) -> Path:
    """Return a path of the parameters; a relative one begins at `ROOT`."""
    return (ROOT / Path(path).expanduser()).resolve()


def _split_paths(text: str, count: int) -> list[str]:
    """Return the paths of comma-separated text; one that holds a comma stands in double quotes if it is not alone."""
    if not text or count == 1:
        return [text.strip().strip('"')] if text else []
    return [path.strip() for path in next(csv.reader([text], skipinitialspace=True)) if path.strip()]


def _places(datasets: str, layouts: str, roots: str) -> tuple[Place, ...]:
    """Return where comma-separated datasets lie; an empty layout is the dataset's name, an empty root in `data/`."""
    names = split_list(datasets)
    paths = _split_paths(roots, len(names)) or [""] * len(names)
    folders = [(ROOT / "data" / name).resolve() for name in names]
    return tuple(
        Place(name, layout, _from_root(root) if root else folder / "videos", folder)
        for name, layout, root, folder in zip(names, split_list(layouts) or names, paths, folders, strict=True)
    )


def split_list(text: str) -> list[str]:
    """Return the parts of comma-separated text, without surrounding blanks; an empty list for empty text."""
    return [part.strip() for part in text.split(",") if part.strip()]


class ExperimentSettings(Settings):
    """Names and places."""

    params_file: str = _free("", "parameter file that all other values come from, such as params/sample.yaml")
    experiment: str = Field("experiment", description="name of the folder in runs/ and reports/")
    dataset: str = Field("sample", description="dataset to train on; several, comma-separated, are pooled")
    layout: str = Field("", description="how its files are laid out; empty: the layout of the dataset's name")
    root: str = Field("", description="folder of the videos as published; empty: data/<dataset>/videos")
    eval_datasets: str = Field("", description="datasets to score without training on them, comma-separated")
    eval_layout: str = Field("", description="layouts of eval_datasets, in their order; empty: those of their names")
    eval_root: str = Field("", description="folders of eval_datasets, in their order; empty: data/<dataset>/videos")
    detector: str = Field("", description="judge this one, do not train: shipped, a folder, or hf://owner/name")

    @field_validator("experiment")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(SAFE_NAME, name):
            raise ValueError(
                "use at most 100 letters, digits, dots, hyphens and underscores, beginning with a letter or digit"
            )
        return name

    @model_validator(mode="after")
    def _datasets_agree(self) -> Self:
        if set(split_list(self.dataset)) & set(split_list(self.eval_datasets)):
            raise ValueError("eval_datasets names a dataset that is trained on")
        for prefix, datasets in (("", "dataset"), ("eval_", "eval_datasets")):
            count = len(split_list(getattr(self, datasets)))
            layouts, roots = getattr(self, f"{prefix}layout"), getattr(self, f"{prefix}root")
            for name, found in (
                (f"{prefix}layout", split_list(layouts)),
                (f"{prefix}root", _split_paths(roots, count)),
            ):
                if found and len(found) != count:
                    raise ValueError(f"{name} must name as many as {datasets} does, comma-separated, or be empty")
        return self

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each dataset of `dataset` lies, in the order named."""
        return _places(self.dataset, self.layout, self.root)

    @property
    def eval_places(self) -> tuple[Place, ...]:
        """The same for each dataset of `eval_datasets`."""
        return _places(self.eval_datasets, self.eval_layout, self.eval_root)

    @property
    def run_folder(self) -> Path:
        """The experiment's folder for splits and detector."""
        return (ROOT / "runs" / self.experiment).resolve()

    @property
    def report_folder(self) -> Path:
        """The experiment's folder for scores, figures and pages."""
        return (ROOT / "reports" / self.experiment).resolve()


class SeedSettings(Settings):
    """Seed."""

    seed: int = Field(0, ge=0, lt=2**31, description="every random draw is a function of it")


class DownloadSettings(Settings):
    """Download (01)."""

    label_one: Literal["", "real", "fake"] = Field("", description="what 1 means in a list or detector of others")
    sample_variants: int = Field(60, ge=4, le=1000, multiple_of=2, description="variants of the two sample portraits")
    sample_frames: int = Field(60, ge=10, le=300, description="frames of a clip of the sample or of a photograph")
    sample_size: int = Field(256, ge=128, le=1024, multiple_of=2, description="side of such a clip in pixels")
    sample_seed: int = Field(0, ge=0, lt=2**31, description="seed of such clips")
    forge_fakes: bool = Field(False, description="make fakes out of the real videos (layout folder, without fake/)")
    kaggle_dataset: str = Field("", description="Kaggle dataset to fetch, owner/name")
    kaggle_competition: str = Field("", description="Kaggle competition whose data to fetch")
    archive: str = Field("", description="zip or tar of the dataset, as its owners sent it")


class SelectionSettings(Settings):
    """Which videos of the datasets that are trained on are used (02). A dataset that knows none of the names is used
    whole, so that names of one of several pooled datasets leave the others as they are."""

    methods: str = Field("", description="methods of forgery to use, comma-separated; empty: all")
    compressions: str = Field("", description="compressions to use, such as c23, comma-separated; empty: all")
    sources: str = Field("", description="parts to take real videos and their fakes from, such as youtube; empty: all")


class FaceSettings(Settings):
    """Faces (02): everything that changes a face strip."""

    max_frames: int = Field(150, ge=1, le=100_000, description="only this many first frames of a video are looked at")
    frames_per_video: int = Field(10, ge=1, le=300, description="face frames kept of a video, evenly spread")
    faces: Literal["one", "all", "cropped"] = Field(
        "one", description="one: the main person; all: everybody, a strip each; cropped: frames are faces"
    )
    face_size: int = Field(112, ge=32, le=512, description="side of a face crop in pixels")
    face_margin: float = Field(0.3, ge=0.0, le=2.0, description="added on each side of the face box, as a share of it")
    align: bool = Field(False, description="turn crops so that the eyes are level")
    min_face_score: float = Field(0.0, ge=-2.0, le=5.0, description="least score of dlib's detector for a valid face")
    min_face_px: int = Field(32, ge=8, le=2000, description="least side of a valid face in source pixels")
    min_sharpness: float = Field(3.0, ge=0.0, description="least variance of the Laplacian of a valid face crop")
    views: Literal["face", "face,native", "face,motion", "face,native,motion"] = Field(
        "face", description="what a detector is shown of a frame, each by a network of its own (`dfutils.faces.views`)"
    )

    @model_validator(mode="after")
    def _frames_suffice(self) -> Self:
        if self.faces == "cropped" and self.views != "face":
            raise ValueError("cropped faces have no native resolution, so that views must be face")
        if self.frames_per_video > self.max_frames:
            raise ValueError("frames_per_video is larger than max_frames")
        return self

    @property
    def face_settings(self) -> "FaceSettings":
        """These settings alone, as the records of an experiment hold them."""
        return FaceSettings.of(self)


class SplitSettings(Settings):
    """Splits (02)."""

    split_policy: Literal["official", "identity", "source", "method", "random", "test"] = Field(
        "identity",
        description="what never stands in two splits (random leaks, and the report says so); test: no splits",
    )
    test_methods: str = Field("", description="split_policy method: methods in the test alone; each: a run per method")
    test_sources: str = Field("", description="split_policy method: datasets or parts of them in the test alone")
    eval_videos: Literal["official", "all"] = Field(
        "official", description="of what is only scored: official test lists where there are any, or all"
    )
    val_fraction: float = Field(0.15, gt=0.0, lt=0.5, description="share of the videos for validation")
    test_fraction: float = Field(0.2, gt=0.0, lt=0.8, description="share of the videos for the test")
    audit_faces: int = Field(240, ge=0, le=100_000, description="videos whose faces the audit compares, at most")

    @model_validator(mode="after")
    def _training_is_left(self) -> Self:
        if self.val_fraction + self.test_fraction >= 0.9:
            raise ValueError("val_fraction and test_fraction leave less than a tenth for training")
        if (self.split_policy == "method") != bool(self.test_methods or self.test_sources):
            raise ValueError("split_policy: method and test_methods or test_sources go together")
        return self


class PreprocessSettings(FaceSettings):
    """Processes that make face strips (02)."""

    workers: int = _free(0, "processes for preprocessing; 0: one a core", ge=0, le=512)
    video_timeout_s: float = _free(600.0, "seconds after which a video is given up in preprocessing", gt=0.0, le=1e6)
    scheduler: str = _free("", "address of a Dask scheduler that preprocesses, tcp://…; empty: local processes")


class NetworkSettings(SeedSettings):
    """Network (03)."""

    backbone: str = Field(
        "resnext50_32x4d", description="image network: a name of torchvision, tf_efficientnet_lite0, or timm:NAME"
    )
    pretrained: str = Field(
        "imagenet", description="imagenet, packaged, none, or the path of a state dict or detector folder"
    )
    hidden_size: int = Field(256, ge=1, le=8192, description="width of the LSTM's state")
    lstm_layers: int = Field(1, ge=1, le=8, description="LSTM layers")
    bidirectional: bool = Field(False, description="read the clip in both directions")
    temporal: Literal["lstm", "mean"] = Field("lstm", description="lstm, or the plain mean of the frames (ablation)")
    dropout: float = Field(0.4, ge=0.0, lt=1.0, description="dropout before the last layer")

    @property
    def first_weights(self) -> str:
        """`pretrained`; a path begins where all paths of parameters do."""
        if self.pretrained in ("imagenet", "packaged", "none"):
            return self.pretrained
        return str(_from_root(self.pretrained))


class TrainingSettings(SeedSettings):
    """Training (03).

    The schedule `plateau` halves the learning rate after more than 2 epochs without improvement of `monitor`; `cosine`
    lowers it to 0. At equal `val_auc` the lower loss is better; `last` is for a validation split too small to choose
    an epoch by. With `family_batches` and `balanced_sampling` one fake follows each real clip, paired as in Shiohara
    and Yamasaki (CVPR 2022).
    """

    epochs: int = Field(20, ge=1, le=10_000, description="passes over the training videos")
    batch_size: int = Field(8, ge=1, le=4096, description="clips a step")
    train_frames: int = Field(0, ge=0, le=300, description="frames of a clip seen in an epoch; 0: all")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="optimiser")
    learning_rate: float = Field(1e-4, gt=0.0, le=1.0, description="peak learning rate")
    backbone_learning_rate: float = Field(0.0, ge=0.0, le=1.0, description="the backbone's peak; 0: learning_rate")
    weight_decay: float = Field(1e-4, ge=0.0, le=1.0, description="weight decay")
    schedule: Literal["plateau", "cosine", "none"] = Field("plateau", description="how the learning rate falls")
    warmup_epochs: float = Field(0.0, ge=0.0, le=100.0, description="epochs of linear warm-up")
    patience: int = Field(5, ge=0, le=1000, description="epochs without improvement before stopping; 0: never stop")
    monitor: Literal["val_loss", "val_auc", "last"] = Field(
        "val_loss", description="validation figure that picks the epoch, or last"
    )
    class_weights: str = Field("balanced", description="balanced, none, or weights of real and fake as 1.0,2.5")
    balanced_sampling: bool = Field(False, description="draw as many clips of each class in an epoch")
    family_batches: bool = Field(False, description="a step holds a real video together with the fakes made from it")
    frame_loss: float = Field(0.0, ge=0.0, le=1.0, description="share of the loss taken on every frame's logits")
    freeze_epochs: int = Field(0, ge=0, le=10_000, description="first epochs that leave the backbone as it is")
    freeze_batchnorm: bool = Field(False, description="keep the backbone's running means and variances, and use them")
    accumulate: int = Field(1, ge=1, le=10_000, description="steps whose gradients are added before the weights move")
    clip_grad: float = Field(0.0, ge=0.0, description="largest norm of the gradient; 0: no limit")


class AugmentationSettings(Settings):
    """Augmentation of training clips (03)."""

    self_blend: float = Field(0.0, ge=0.0, lt=1.0, description="share of real training clips made fakes in each epoch")
    swap: float = Field(0.0, ge=0.0, le=1.0, description="share of those that take the face of another training clip")
    flip: float = Field(0.5, ge=0.0, le=1.0, description="probability of mirroring a training clip")
    rotation: float = Field(10.0, ge=0.0, le=180.0, description="largest rotation of a training clip in degrees")
    scale: float = Field(0.0, ge=0.0, le=0.9, description="largest change of size of a training clip, as a share")
    color_jitter: float = Field(0.1, ge=0.0, le=1.0, description="strength of brightness, contrast, saturation jitter")
    downscale: float = Field(0.0, ge=0.0, le=1.0, description="probability of shrinking a training clip and back")
    blur: float = Field(0.0, ge=0.0, le=1.0, description="probability of blurring a training clip")
    noise: float = Field(0.0, ge=0.0, le=1.0, description="probability of noise on a training clip")
    jpeg: float = Field(0.0, ge=0.0, le=1.0, description="probability of JPEG compression of a training clip")
    h264: float = Field(0.0, ge=0.0, le=1.0, description="probability of H.264 compression of a training clip")
    cutout: float = Field(0.0, ge=0.0, le=1.0, description="probability of a grey rectangle on a training clip")


class HardwareSettings(Settings):
    """Hardware and processes of training (03)."""

    precision: Literal["auto", "bf16", "float32"] = Field("auto", description="auto: bf16 where the hardware has it")
    compile: bool = Field(False, description="torch.compile on a GPU: slower to start, faster to run")
    deterministic: bool = Field(False, description="repeat as exactly as PyTorch can on a GPU; a CPU always does")
    devices: int = Field(1, ge=0, le=1024, description="devices of a machine, batch_size clips each; 0: all its GPUs")
    num_nodes: int = Field(1, ge=1, le=1024, description="machines to train on, each started by torchrun")
    strategy: str = Field("auto", description="Lightning's way of using several devices")
    loader_workers: int = _free(-1, "processes that read clips ahead; -1: as many as help", ge=-1, le=512)
    resume: Literal["auto", "never"] = _free("auto", "auto: go on where a run was killed; never: start again")
    ablation: bool = Field(False, description="train with the other temporal as well, and compare")
    threads: int = Field(0, ge=0, le=512, description="CPU threads of PyTorch; 0: its own choice")


class EvaluationSettings(Settings):
    """Evaluation (04)."""

    threshold: str = Field("balanced", description="0.5 or another number, balanced, or recall; from validation only")
    target_recall: float = Field(0.9, gt=0.0, le=1.0, description="recall of fakes wanted where threshold is recall")
    prior_fake: float = Field(0.5, gt=0.0, lt=1.0, description="share of fakes that calibrated scores are for")
    no_face: Literal["abstain", "real", "fake"] = Field("abstain", description="what a video without a face counts as")
    resamples: int = Field(2000, ge=100, le=100_000, description="bootstrap resamples behind an interval")


class ErrorSettings(Settings):
    """Error analysis (05)."""

    mistakes_shown: int = Field(6, ge=1, le=100, description="surest mistakes of each kind shown in report 05")
    neighbours: int = Field(2000, ge=0, le=10**6, description="training clips compared with mistakes, at most; 0: none")
    explained: int = Field(24, ge=0, le=10_000, description="fakes whose Grad-CAM is compared with what was forged")


class RobustnessSettings(Settings):
    """Robustness (07)."""

    perturbations: str = Field("all", description="disturbances of the test videos, comma-separated, or all")
    levels: str = Field("2,4", description="levels of each disturbance, 1 to 5, comma-separated")
    robustness_videos: int = Field(60, ge=2, le=100_000, description="test videos that are disturbed, at most")


class DemoSettings(Settings):
    """Demo (06)."""

    video_file: str = Field("", description="video that notebook 06 judges; empty: the test video of the middle score")


class Params(
    DemoSettings,
    RobustnessSettings,
    ErrorSettings,
    EvaluationSettings,
    HardwareSettings,
    AugmentationSettings,
    TrainingSettings,
    NetworkSettings,
    PreprocessSettings,
    SplitSettings,
    FaceSettings,
    SelectionSettings,
    DownloadSettings,
    SeedSettings,
    ExperimentSettings,
):
    """All parameters. Their order is that of the groups, from the last one named to the first."""

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        # How many frames a video has is another notebook's parameter than how many of them training takes.
        if "frames_per_video" in self.model_fields_set and self.train_frames > self.frames_per_video:
            raise ValueError("train_frames is larger than frames_per_video")
        if self.split_policy == "test" and not self.detector:
            raise ValueError("split_policy = 'test' leaves nothing to train on: name the detector to judge")
        return self


GROUPS: tuple[type[Settings], ...] = Params.__bases__[::-1]
"""The groups in the order of their parameters."""

DEFAULTS = Params()
"""Every parameter's default, for functions of plain numbers that let a caller leave one out."""


def lasting(params: Params, names: list[str] | None = None) -> dict[str, Any]:
    """Return the parameters that change results (those of `names`, or all) as plain values, for records and digests."""
    chosen = Params.model_fields if names is None else names
    return {name: getattr(params, name) for name in chosen if _changes_results(Params.model_fields[name])}


def _changes_results(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return not (isinstance(extra, dict) and extra.get("changes_results") is False)
