"""Obtaining the videos of a dataset: made by the suite, downloaded, unpacked, or found where the user put them."""

import shutil
from pathlib import Path

from dfutils.core.errors import InputError
from dfutils.core.params import ROOT, Params, Place
from dfutils.data.archive import BrokenArchiveError, unpack
from dfutils.data.kaggle import fetch_kaggle
from dfutils.data.manifest import FolderState, check_unchanged, manifest_path, verify


def obtain(place: Place, params: Params) -> Place:
    """Make sure that the videos of a dataset are on disk, and return where they lie and in which layout.

    The built-in sample and the talking clips of photographs are made. With `forge_fakes`, fakes are made of the user's
    own real videos, and both are re-encoded into `data/`. Any other dataset is downloaded, unpacked or found by
    `provide`.

    Raises:
        InputError: if the videos cannot be obtained; the message says what to do.
    """
    if place.layout == "sample" and not place.root.is_relative_to(place.folder):
        return place
    clips = {
        "frames": params.sample_frames,
        "size": params.sample_size,
        "seed": params.sample_seed,
        "workers": params.workers,
    }
    if place.layout == "stills":
        from dfutils.forgery import photographs

        out = place.folder / "videos"
        photographs.animate_photographs(place.root, out, **clips)
        return place._replace(root=out)
    if place.layout == "sample":
        from dfutils.forgery import sample

        sample.build_sample(place.root, variants=params.sample_variants, **clips)
        return place
    sources = (params.kaggle_dataset, params.kaggle_competition, params.archive)
    if any(sources) and len(params.places) > 1:
        raise InputError(
            "kaggle_dataset, kaggle_competition and archive fetch one dataset: index each by itself first."
        )
    if any(sources) or place.layout != "folder":
        provide(
            place.root,
            kaggle_dataset=params.kaggle_dataset,
            kaggle_competition=params.kaggle_competition,
            archive=str(ROOT / params.archive) if params.archive else "",
        )
    if place.layout == "folder" and params.forge_fakes:
        return _forged(place, params)
    return place


def _forged(place: Place, params: Params) -> Place:
    """Make fakes of the real videos of a folder, and return where the fakes and the re-encoded real videos lie."""
    from dfutils.forgery import own_videos

    real = place.root / "real"
    if (place.root / "fake").exists():
        raise InputError(f"{place.root} has fakes of its own in fake/: set forge_fakes to false, or move them away.")
    if not real.is_dir():
        raise InputError(f"{place.root} has no folder real/: put the real videos there, or correct `root`.")
    out = place.folder / "videos"
    own_videos.forge_folder(real, out, seed=params.sample_seed, max_frames=params.max_frames, workers=params.workers)
    return place._replace(root=out, layout="sample")


def provide(root: Path, *, kaggle_dataset: str = "", kaggle_competition: str = "", archive: str = "") -> FolderState:
    """Make sure that the files of a dataset lie in `root`, and return the folder's state.

    A folder that is whole, or that was not filled by the suite, is left unchanged. Otherwise the archive is unpacked if
    one is given, else the data is downloaded from Kaggle and unpacked.

    Args:
        root: folder of the dataset as published.
        kaggle_dataset: `owner/name`, as in the address of the dataset's page; may end in `/version`.
        kaggle_competition: name of a competition, as in its address; at most one of the two may be given.
        archive: path of a zip or tar as the dataset's owners sent it; it is kept.

    Returns:
        The state of `root`: `whole`, or `not checked: …` for a folder that was not unpacked by the suite.

    Raises:
        InputError: if no source is given and the folder is missing or incomplete, files were changed, the folder was
            filled from another source, or as `unpack` and `fetch_kaggle`.
    """
    if kaggle_dataset and kaggle_competition:
        raise InputError("Give kaggle_dataset or kaggle_competition, not both.")
    archive_path = Path(archive).expanduser() if archive else None
    if archive_path is not None and archive_path.is_dir():
        raise InputError(f"The archive {archive_path} is a folder: set root to it and leave archive empty.")
    slug = kaggle_dataset or kaggle_competition
    source = ""
    if archive_path:
        source = f"archive {archive_path.name}"
    elif slug:
        source = f"kaggle {'dataset' if kaggle_dataset else 'competition'} {slug}"
    state = verify(root)
    if state.whole:
        # Another source of the same kind is another dataset; an archive and a download may be the same dataset.
        if source and source.split()[0] == state.source.split()[0] and source != state.source:
            raise InputError(f"{root} holds {state.source}, not {source}: give another root or move it away.")
        return state
    check_unchanged(state)
    if state.text.startswith("not checked"):
        return state
    if archive_path:
        return unpack(archive_path, root, source=source)
    if slug:
        return _download_and_unpack(slug, state.folder, source, not kaggle_dataset)
    if state.text.startswith("partial"):
        raise InputError(
            f"{root} is {state.text}: give its archive or its name on Kaggle to complete it, "
            f"or delete {manifest_path(root).name} beside it to use what is there."
        )
    raise InputError(
        f"There are no files in {root}: put the dataset there, or give its archive (archive) or its name on Kaggle "
        "(kaggle_dataset, kaggle_competition)."
    )


def _download_and_unpack(slug: str, root: Path, source: str, competition: bool) -> FolderState:
    """Download an archive from Kaggle, unpack it into `root`, delete it, and return the state of `root`."""
    downloads = root.with_name(f"{root.name}.download")
    archive = fetch_kaggle(slug, downloads / slug.replace("/", "__"), competition=competition)
    try:
        state = unpack(archive, root, source=source)
    except BrokenArchiveError:
        archive.unlink()  # otherwise the client would not download it again
        raise
    shutil.rmtree(downloads)
    return state
