"""Layouts: how the files of each dataset are named and arranged, one entry per dataset.

An entry consists of patterns of paths with what each says of a video (label, method, people, the real video it was made
from), a reader of the dataset's own lists, the published numbers of files, and the terms of use. Patterns match the
*plain* path, which is the path as published: without extension, without an extra `videos/` level, and with a repeated
folder (`X/X/`) once. A video that matches no pattern gets no label.
"""

from dfutils.data import lists
from dfutils.data.layout import Layout, Rule
from dfutils.data.lists import FAKE, REAL
from dfutils.data.picture_layouts import picture_layouts

_MADE = (
    Rule("real", REAL, r"real/(?P<identity>[^/]+)"),
    Rule("fake", FAKE, r"fake/(?P<method>[^/]+)/(?P<identity>[^/]+?)__(?P<donor>[^/]+)", source="real/{identity}.mp4"),
    Rule("fake", FAKE, r"fake/(?P<method>[^/]+)/(?P<identity>[^/]+)", source="real/{identity}.mp4"),
)
_CELEB_REALS = (
    Rule("Celeb-real", REAL, r"Celeb-real/(?P<identity>id\d+)_\d+"),
    Rule("YouTube-real", REAL, r"YouTube-real/\d+"),
)
# A fake is named <target>_<donor>_<number of the target's video>, so that its source is <target>_<number>.
_CELEB_FAKE = r"(?P<identity>id\d+)_(?P<donor>id\d+)_(?P<number>\d+)"
_CELEB_SOURCE = "Celeb-real/{identity}_{number}.mp4"
_CELEB_SWAPS = Rule(
    "Celeb-synthesis", FAKE, rf"Celeb-synthesis/{_CELEB_FAKE}", method="Celeb-synthesis", source=_CELEB_SOURCE
)
_CELEB_LISTS = ("list_of_testing_videos.txt",)
_CELEB_TERMS = "For research, not for commerce; the terms are in the request form, and copies may not be passed on."
_PP = "Celeb-synthesis/(?:FaceSwap|FaceReenact|TalkingFace)/(?P<method>[^/]+)"

_FF = "(?P<compression>raw|c0|c23|c40)"
_FF_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_FF_LISTS = ("train.json", "val.json", "test.json")
_FF_LISTS_AT = "dataset/splits of github.com/ondyari/FaceForensics"
_SCENE = r"__(?P<scene>\w+)"
_ACTORS_SWAP = rf"(?P<identity>\d\d)_(?P<donor>\d\d){_SCENE}__\w{{8}}"


def _ff_swaps(folder: str, source: str) -> tuple[Rule, ...]:
    """Return the rules of FaceForensics++'s methods.

    Args:
        folder: pattern of a method's folder, with a slash at the end and `{}` in place of the method.
        source: as in `Rule`.
    """
    names = r"(?P<identity>\d{3})_(?P<donor>\d{3})"
    return tuple(
        Rule(method, FAKE, folder.format(method) + names, method, source, listed="{identity}_{donor}")
        for method in _FF_METHODS
    )


LAYOUTS: dict[str, Layout] = {
    "celeb_df_v1": Layout(
        title="Celeb-DF v1",
        rules=(*_CELEB_REALS, _CELEB_SWAPS),
        example="Celeb-synthesis/id0_id1_0000.mp4",
        lists=_CELEB_LISTS,
        read=lists.celeb_list,
        counts={"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795},
        tests=100,
        licence=_CELEB_TERMS,
        obtain="Fill in the form linked from github.com/yuezunli/celeb-deepfakeforensics; the authors send a link.",
    ),
    "celeb_df_v2": Layout(
        title="Celeb-DF v2",
        rules=(*_CELEB_REALS, _CELEB_SWAPS),
        example="Celeb-synthesis/id0_id1_0000.mp4",
        lists=_CELEB_LISTS,
        read=lists.celeb_list,
        counts={"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639},
        tests=518,
        licence=_CELEB_TERMS,
        obtain="Fill in the form linked from github.com/yuezunli/celeb-deepfakeforensics; the authors send a link.",
    ),
    "celeb_df_pp": Layout(
        title="Celeb-DF++",
        rules=(
            *_CELEB_REALS,
            Rule("Celeb-synthesis", FAKE, rf"{_PP}/{_CELEB_FAKE}", source=_CELEB_SOURCE),
            # A talking face is driven by sound, not by a second person: <target>_<number>_test_<sound>.
            Rule("Celeb-synthesis", FAKE, rf"{_PP}/(?P<identity>id\d+)_(?P<number>\d+)(?:_.+)?", source=_CELEB_SOURCE),
        ),
        example="Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4",
        lists=_CELEB_LISTS,
        read=lists.celeb_list,
        # 53,196 fakes: counted by users of the release; the authors publish the test numbers, 178 real and 5,240 fake.
        counts={"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 53196},
        tests=5418,
        licence=_CELEB_TERMS,
        obtain="Fill in the form linked from github.com/OUC-VAS/Celeb-DF-PP; the authors send a link.",
    ),
    "kaggle_cropped_faces": Layout(
        title="Kaggle: deepfake with cropped faces from video",
        rules=(
            Rule(
                "Celeb_fake_face_only", FAKE, rf"Celeb_fake_face_only/{_CELEB_FAKE}", method="Celeb-synthesis",
                source="Celeb_real_face_only/Celeb_real_face_only/{identity}_{number}.mp4", listed="{name}",
            ),
            Rule("Celeb_real_face_only", REAL, r"Celeb_real_face_only/(?P<identity>id\d+)_\d+", listed="{name}"),
            Rule("Celeb_real_face_only", REAL, r"Celeb_real_face_only/\d+", listed="{name}"),  # YouTube-real
            Rule("DFDC_FAKE_Face_only_data", FAKE, r"DFDC_FAKE_Face_only_data/[^/]+", method="DFDC", listed="{name}"),
            Rule("DFDC_REAL_Face_only_data", REAL, r"DFDC_REAL_Face_only_data/[^/]+", listed="{name}"),
            Rule(
                "FF_Face_only_data", FAKE, r"FF_Face_only_data/(?P<identity>\d+)_(?P<donor>\d+)",
                method="FaceForensics++", source="FF_Face_only_data/FF_Face_only_data/{identity}.mp4", listed="{name}",
            ),
            Rule("FF_Face_only_data", REAL, r"FF_Face_only_data/(?P<identity>\d+)", listed="{name}"),
        ),
        example="FF_Face_only_data/FF_Face_only_data/626_562.mp4",
        lists=("gobal_metadata.csv",),
        read=lists.kaggle_labels,
        counts={
            "Celeb_fake_face_only": None, "Celeb_real_face_only": None, "DFDC_FAKE_Face_only_data": None,
            "DFDC_REAL_Face_only_data": None, "FF_Face_only_data": None, "all videos": 6450,
        },
        licence="Crops from Celeb-DF, DFDC and FaceForensics++: the terms of all three bind; research only.",
        obtain="Public on Kaggle as pranabkc/deepfake-with-cropped-faces-from-video; notebook 01 downloads it.",
    ),
    "ffpp": Layout(
        title="FaceForensics++",
        rules=(
            Rule("youtube", REAL, rf"original_sequences/youtube/{_FF}/(?P<identity>\d{{3}})", listed="{identity}"),
            Rule("actors", REAL, rf"original_sequences/actors/{_FF}/(?P<identity>\d\d){_SCENE}", listed=""),
            *_ff_swaps(
                f"manipulated_sequences/{{}}/{_FF}/", "original_sequences/youtube/{compression}/videos/{identity}.mp4"
            ),
            Rule(
                "DeepFakeDetection", FAKE, rf"manipulated_sequences/DeepFakeDetection/{_FF}/{_ACTORS_SWAP}",
                method="DeepFakeDetection", listed="",
                source="original_sequences/actors/{compression}/videos/{identity}__{scene}.mp4",
            ),
        ),
        example="manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        lists=_FF_LISTS,
        lists_at=_FF_LISTS_AT,
        read=lists.ffpp_splits,
        counts={"youtube": 1000, "actors": 363, **dict.fromkeys(_FF_METHODS, 1000), "DeepFakeDetection": 3068},
        ignored=r"(?:.+/)?(?:masks|models|downloaded_sequences|downloaded_videos)/.+",
        licence="For research and teaching, not for commerce (the FaceForensics terms of use, agreed to in the form).",
        obtain="Fill in the form linked from github.com/ondyari/FaceForensics; the authors send a download script.",
    ),
    "ff_c23": Layout(
        title="Kaggle: FaceForensics++ C23",
        rules=(
            Rule("original", REAL, r"original/(?P<identity>\d{3})", listed="{identity}"),
            *_ff_swaps("{}/", "original/{identity}.mp4"),
        ),
        example="FaceForensics++_C23/Deepfakes/000_003.mp4",
        lists=_FF_LISTS,
        lists_at=_FF_LISTS_AT,
        read=lists.ffpp_splits,
        counts={"original": 1000, **dict.fromkeys(_FF_METHODS, 1000)},
        ignored=r"(?:.+/)?DeepFakeDetection/.+",
        compression="c23",
        notes=(
            "Videos of DeepFakeDetection are left out: they are 1920 x 1080 and this copy has no real video of their "
            "actors, so that size alone would give them away. With their originals they are in the layouts ffpp and "
            "dfd.",
        ),
        licence="FaceForensics++'s terms bind copies as well: research and teaching, not commerce.",
        obtain="On Kaggle as xdxd003/ff-c23; notebook 01 downloads it.",
    ),
    "dfd": Layout(
        title="Kaggle: DeepFakeDetection",
        rules=(
            Rule("original", REAL, rf"DFD_original[ _]sequences/(?P<identity>\d\d){_SCENE}"),
            Rule(
                "manipulated", FAKE, rf"DFD_manipulated[ _]sequences/{_ACTORS_SWAP}", method="DeepFakeDetection",
                source="DFD_original sequences/{identity}__{scene}.mp4",
            ),
        ),
        example="DFD_manipulated_sequences/01_02__exit_phone_room__YVGY8LOK.mp4",
        counts={"original": 363, "manipulated": 3068},
        notes=("DeepFakeDetection has no official list: its 28 actors are divided by split_policy: identity.",),
        licence="The terms of FaceForensics++, with which Google gave it out: research and teaching, not commerce.",
        obtain="On Kaggle in copies of DFD_original sequences and DFD_manipulated_sequences.",
    ),
    "fakeavceleb": Layout(
        title="FakeAVCeleb",
        rules=tuple(
            Rule(
                kind, FAKE if kind.startswith("Fake") else REAL,
                rf"{kind}/(?P<attribute_race>[^/]+)/(?P<attribute_sex>men|women)/(?P<identity>id\d+)/[^/]+",
            )
            for kind in ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio")
        ),
        example="FakeVideo-RealAudio/African/men/id00076/00109_1.mp4",
        lists=("meta_data.csv",),
        read=lists.fakeavceleb,
        counts={
            "RealVideo-RealAudio": 500, "RealVideo-FakeAudio": 500, "FakeVideo-RealAudio": 9709,
            "FakeVideo-FakeAudio": 10835,
        },
        notes=("RealVideo-FakeAudio shows real faces with forged voices: it counts as real here (label 0).",),
        licence="CC BY-NC 4.0, for research; access is granted on request.",
        obtain="Ask for it by the form linked from github.com/DASH-Lab/FakeAVCeleb.",
    ),
    "dfdc_preview": Layout(
        title="DFDC preview",
        rules=(
            Rule("original_videos", REAL, r"original_videos/.+"),
            Rule("method_A", FAKE, r"method_A/.+", method="method_A"),
            Rule("method_B", FAKE, r"method_B/.+", method="method_B"),
        ),
        example="method_A/1031393_1224068_A_000.mp4",
        lists=("dataset.json",),
        read=lists.dfdc_preview,
        counts={"original_videos": None, "method_A": None, "method_B": None, "all videos": 5214},
        notes=("dataset.json names both people of every swap: of DFDC, only the preview can be split by identity.",),
        licence="For research under the terms of the DFDC preview, to be accepted on Meta's page.",
        obtain="Ask for the DFDC preview dataset on Meta's page of the challenge (ai.meta.com/datasets/dfdc).",
    ),
    "deeperforensics": Layout(
        title="DeeperForensics-1.0",
        rules=(
            Rule(
                "original", REAL, r"original_sequences/youtube/(?P<compression>c23|raw)/(?P<identity>\d{3})",
                listed="{identity}",
            ),
            Rule(
                "manipulated", FAKE, r"manipulated_videos/(?P<method>[^/]+)/(?P<identity>\d{3})_(?P<donor>[MW]\d+)",
                source="original_sequences/youtube/c23/videos/{identity}.mp4", listed="{identity}_{donor}",
            ),
        ),
        example="manipulated_videos/end_to_end/000_M101.mp4",
        lists=("train.txt", "val.txt", "test.txt"),
        read=lists.deeperforensics,
        ignored=r"(?:.+/)?source_videos/.+",
        notes=(
            "Every folder of manipulated_videos holds the same 1,000 swaps, disturbed otherwise: they stay in one "
            "split. The real videos are FaceForensics++'s c23 originals, to be put at original_sequences/youtube/c23.",
        ),
        licence="Research only, under the terms agreed to in the form.",
        obtain="Fill in the form linked from github.com/EndlessSora/DeeperForensics-1.0.",
    ),
    "deepfake_eval_2024": Layout(
        title="Deepfake-Eval-2024",
        rules=(Rule("video-data", None, r"video-data/[^/]+", method="in the wild", listed="{name}"),),
        example="video-data/<name>.mp4",
        lists=("video-metadata-publish-with-links.csv",),
        read=lists.deepfake_eval_2024,
        notes=(
            "Many of these videos, collected from social media, show no face, several people or title cards first: "
            "look at the coverage before any other figure. Videos that are neither Real nor Fake get no label.",
        ),
        licence="CC BY-SA 4.0 with terms of use, accepted on the hub; the people shown have not agreed to anything.",
        obtain="Ask for it at huggingface.co/datasets/nuriachandra/Deepfake-Eval-2024.",
    ),
    "uadfv": Layout(
        title="UADFV",
        rules=(
            Rule("real", REAL, r"real/(?P<number>\d+)"),
            Rule("fake", FAKE, r"fake/(?P<number>\d+)_fake", method="FakeApp", source="real/{number}.mp4"),
        ),
        example="fake/0000_fake.mp4",
        counts={"real": 49, "fake": 49},
        notes=("A fake and its real video share a number and stay in one split; as plain folders they would leak.",),
        licence="For research; its authors send it on request.",
        obtain="Ask its authors (Li, Chang and Lyu, In Ictu Oculi, WIFS 2018).",
    ),
    "dfdc": Layout(
        title="DeepFake Detection Challenge",
        rules=(
            Rule("test videos", None, r"(?:.+/)?(?:test|validation)[^/]*/[^/]+", method="DFDC"),
            Rule("training videos", None, r".+", method="DFDC"),
        ),
        example="dfdc_train_part_0/aaaaaaaaaa.mp4",
        lists=("metadata.json", "labels.csv"),
        read=lists.dfdc_lists,
        counts={"training videos": 119154},  # Dolhansky et al. 2020, table 1
        licence="For research on detecting forgeries, under the rules of the Kaggle competition, to be accepted there.",
        obtain="Accept the rules of kaggle.com/c/deepfake-detection-challenge, then fetch the parts you need.",
    ),
    "folder": Layout(
        title="Own videos",
        rules=(
            Rule("real", REAL, r"real/.+"),
            Rule("fake", FAKE, r"fake/(?P<method>[^/]+)/.+"),
            Rule("fake", FAKE, r"fake/[^/]+"),
        ),
        example="real/any name.mov and fake/<method>/any name.mp4",
        published=False,
        licence="Your own videos, or ones whose owners let you use them; faces are personal data in many countries.",
        obtain="Put real videos below real/ and fakes below fake/<method>/; without fakes, set forge_fakes: true.",
    ),
    "listed": Layout(
        title="Videos in a table of one's own",
        rules=(Rule("listed", None, r".+"),),
        media="any",
        example="any video, picture or folder of frames that a CSV or Parquet file names, with columns path and label",
        lists=("*.csv", "*.parquet"),
        read=lists.own_table,
        published=False,
        licence="Your own videos, or ones whose owners let you use them; faces are personal data in many countries.",
        obtain="Put a CSV or Parquet file with the columns path and label beside the videos.",
    ),
    "sample": Layout(
        title="Built-in sample",
        rules=_MADE,
        example="fake/<method>/<target>__<donor>.mp4",
        published=False,
        ignored=r"(?:.+/)?masks/.+",
        licence="Made from two public-domain portraits; free to use.",
        obtain="Made by notebook 01; nothing to fetch.",
    ),
    "stills": Layout(
        title="Photographs brought to life",
        rules=_MADE,
        example="fake/<method>/<target>__<donor>.mp4",
        lists=("splits.csv",),
        read=lists.split_list,
        published=False,
        ignored=r"(?:.+/)?masks/.+",
        licence="As the photographs'; what is trained on them inherits it.",
        obtain="Made by notebook 01 from a folder of photographs of faces: name it with `root`.",
    ),
}  # fmt: skip
_BENCHMARK = ("ffpp", "celeb_df_v2", "celeb_df_pp", "dfdc_preview", "uadfv")
LAYOUTS |= picture_layouts(tuple(rule for name in _BENCHMARK for rule in LAYOUTS[name].rules))
