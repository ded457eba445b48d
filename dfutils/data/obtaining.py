"""Obtaining the videos of a dataset: made by the suite, downloaded, unpacked, or found where the user put them."""

from dfutils.core.errors import InputError
from dfutils.core.params import ROOT, Params, Place
from dfutils.data.kaggle import provide


def obtain(place: Place, params: Params) -> Place:
    """Make sure that the videos of a dataset are on disk, and return where they lie and in which layout.

    The built-in sample and the talking clips of photographs are made. With `forge_fakes`, fakes are made of the user's
    own real videos, and both are re-encoded into `data/`. Any other dataset is downloaded, unpacked or found by
    `kaggle.provide`.

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
