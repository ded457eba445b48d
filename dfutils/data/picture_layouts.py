"""Layouts of datasets of pictures: single images, and frames that others have cut out of videos."""

from dataclasses import replace

from dfutils.data import benchmark_lists, lists
from dfutils.data.layout import Layout, Rule
from dfutils.data.lists import FAKE, REAL

LABEL_WORDS = {
    "real": r"(?<![a-z])(?:reals?|originals?|original_(?:sequences|videos)|pristine|genuine|authentic|bona_?fide)"
    r"(?![a-z])",
    "fake": r"(?<![a-z])(?:fakes?|deep_?fakes?|face2face|face_?swap|face_?shifter|neural_?textures|forged|"
    r"forger(?:y|ies)|manipulated(?:_sequences)?|altered|synthetic|synthesis|generated)(?![a-z])",
}
"""Names of folders that hold real or fake videos. Labels come from them in the layout `frames` alone."""

_SPLIT = r"(?P<split>train|training|val|valid|validation|test|testing)"


def _frames_by_words() -> tuple[Rule, ...]:
    """Return rules that take label and split from the names of the folders above a folder of frames.

    The innermost folder that names one class decides; a folder that names both names none.
    """
    either = "|".join(LABEL_WORDS.values())
    start = rf"(?!(?:.*/)?(?:masks?|landmarks?)/)(?:(?=(?:.*/)?{_SPLIT}/)|)(?:.+/)?"
    other = rf"(?:/(?![^/]*(?:{either}))[^/]+)*/[^/]+"
    real, fake = LABEL_WORDS["real"], LABEL_WORDS["fake"]
    return (
        Rule("real", REAL, rf"{start}(?=[^/]*{real})(?![^/]*{fake})[^/]+{other}", listed=""),
        Rule("fake", FAKE, rf"{start}(?P<method>(?=[^/]*{fake})(?![^/]*{real})[^/]+){other}", listed=""),
    )


_OWN_TERMS = "As of the videos that the frames were cut from."


_PICTURES: dict[str, Layout] = {
    "images": Layout(
        title="Images in folders real and fake",
        rules=(
            Rule("real", REAL, rf"(?:.+?/)??(?:{_SPLIT}[/_])?real/.+", listed=""),
            Rule("fake", FAKE, rf"(?:.+?/)??(?:{_SPLIT}[/_])?fake/(?P<method>[^/]+)/.+", listed=""),
            Rule("fake", FAKE, rf"(?:.+?/)??(?:{_SPLIT}[/_])?fake/[^/]+", listed=""),
        ),
        example="train/real/any name.jpg and train/fake/any name.jpg, or without train/",
        media="picture",
        published=False,
        notes=(
            "Folders give the labels, CSV files are not read: in those of Kaggle's 140k real and fake faces, "
            "label 1 means real. Its fakes are whole StyleGAN faces: a detector of blended faces cannot see them, "
            "and one that is trained on them knows that generator alone.",
        ),
        licence="Your own images, or ones whose owners let you use them; faces are personal data in many places.",
        obtain="Put images below real/ and fake/, or fetch Kaggle's xhlulu/140k-real-and-fake-faces.",
    ),
    "deepfake_faces": Layout(
        title="Kaggle: deepfake_faces",
        rules=(Rule("faces", None, r"faces_224/[^/]+", method="DFDC", listed="{name}"),),
        example="faces_224/aabqcugcpc.jpg",
        media="picture",
        lists=("metadata.csv",),
        read=lists.deepfake_faces,
        notes=(
            "One cropped frame of each video: figures are of frames, and say nothing about time. Fakes stay with "
            "their sources; people are not named, and each acts in many videos: look at the audit of faces.",
        ),
        licence="Frames of DFDC, whose terms bind: research on forgeries.",
        obtain="On Kaggle as dagnelies/deepfake-faces; notebook 01 downloads it.",
    ),
    "wilddeepfake": Layout(
        title="WildDeepfake",
        rules=tuple(
            Rule(
                word, label, rf"(?P<identity>{word}_(?P<split>train|test)/[^/]+)/{word}/[^/]+",
                method="in the wild" if label else "", listed="",
            )
            for word, label in (("real", REAL), ("fake", FAKE))
        ),
        example="real_train/12/real/0/0.png",
        media="frames",
        notes=(
            "Sequences are numbered anew in every archive: a sequence is known by its archive and number, and "
            "those of one archive, which come from one video, stay in one split.",
        ),
        licence="For research, on request; the people shown have not agreed to anything.",
        obtain="Ask for it by the form linked from github.com/deepfakeinthewild/deepfake-in-the-wild.",
    ),
}  # fmt: skip


def picture_layouts(published: tuple[Rule, ...]) -> dict[str, Layout]:
    """Return the layouts of pictures.

    `published` are the rules of datasets whose frames may have been cut: they tell people and sources by the names.
    """
    return {
        **_PICTURES,
        "frames": Layout(
            title="Folders of frames",
            rules=(*published, *_frames_by_words()),
            example=(
                "real/…/frames/<video>/000.png, with real or fake, or a published dataset, in the folders' names; "
                "name others in a CSV with the columns path and label, and set `layout: listed`"
            ),
            media="frames",
            licence=_OWN_TERMS,
            obtain="Cut the frames of each video into a folder of its own.",
        ),
        "deepfakebench": Layout(
            title="DeepfakeBench",
            rules=tuple(replace(rule, listed="{path}") for rule in (*published, Rule("listed", None, r".+"))),
            example="FaceForensics++/original_sequences/youtube/c23/frames/000/000.png",
            media="frames",
            lists=("*.json",),
            lists_at="DeepfakeBench's folder preprocessing/dataset_json",
            read=benchmark_lists.deepfakebench,
            ignored=r"(?:.+/)?(?:masks?|landmarks?)/.+",
            notes=("Labels are the class words in dataset_json: …real is real, …fake and FF-DF to FF-SH are fake.",),
            licence=_OWN_TERMS,
            obtain="Preprocess as github.com/SCLBD/DeepfakeBench says, and put its dataset_json/ beside the frames.",
        ),
    }  # fmt: skip
