"""Forms of video that people bring: frames are as a player shows them, and never those of another file."""

import itertools
import multiprocessing
import os
import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dfutils.faces import video, video_facts
from dfutils.faces.pyav_reader import View
from tests.conftest import SHARED
from tests.support.videos import encode

HEIGHT, WIDTH = 96, 128
ONE = 1 << 16
# Display matrices a, b, c, d with x' = ax + cy and y' = bx + dy, and the same done to an array.
ORIENTATIONS: dict[str, tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "as coded": ((1, 0, 0, 1), lambda image: image),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "half turn": ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "anticlockwise": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "transposed the other way": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
}


def moving(n: int, hue: int = 0, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Return frames of a smooth picture, asymmetric, with a spot that moves by five pixels a frame."""
    y, x = np.mgrid[:height, :width].astype(float)
    images = []
    for k in range(n):
        bump = 150 * np.exp(-((x - 20 - 5 * k % 80) ** 2 + (y - 30) ** 2) / 200)
        image = np.stack([60 + bump, 90 + 60 * y / height, 40 + 60 * x / width], axis=-1)
        images.append(np.roll(image, hue, axis=-1).astype(np.uint8))
    return images


def woven(images: list[np.ndarray], top_first: bool = True) -> list[np.ndarray]:
    """Return frames of two fields: the first of each is of one image and the second of the next."""
    frames = []
    for first, second in zip(images[::2], images[1::2], strict=True):
        top, bottom = (first, second) if top_first else (second, first)
        frame = top.copy()
        frame[1::2] = bottom[1::2]
        frames.append(frame)
    return frames


def make(
    path: Path,
    images: list[np.ndarray],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    matrix: list[int] | None = None,
    colour: tuple[int, int] = (5, 1),
    fields: int = 0,
    bit_rate: int = 20_000_000,
    **options: str,
) -> Path:
    """Write a video; FFmpeg's numbers: `colour` of the colour matrix and range, `fields` of the order of fields."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.bit_rate = bit_rate
        stream.options = {**({"crf": "8"} if codec == "libx264" else {}), **options}
        context = stream.codec_context
        context.colorspace, context.color_range = colour
        context.field_order = fields
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=colour[0], dst_color_range=colour[1])
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def interlaced_h264(path: Path, images: list[np.ndarray], top_first: bool = True) -> Path:
    parity = "tff=1" if top_first else "bff=1"
    return make(path, woven(images, top_first), flags="+ilme+ildct", **{"x264-params": parity})


def interlaced_mpeg2(path: Path, images: list[np.ndarray]) -> Path:
    return make(path, woven(images), "mpeg2video", flags="+ilme+ildct", field_order="tt")


def matrix_of(a: int, b: int, c: int, d: int) -> list[int]:
    return [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]


def read(path: Path) -> list[np.ndarray]:
    """Return all frames, after checking that `probe` agrees with them."""
    frames = [frame for _, _, frame in video.frames(path)]
    facts = video.probe(path)
    assert {frame.shape for frame in frames} == {(facts.height, facts.width, 3)}
    assert all(frame.flags.writeable and frame.flags.c_contiguous for frame in frames)
    return frames


def error(frames: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest mean difference of a frame, in grey levels."""
    return max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, expected, strict=True))


def combing(frames: list[np.ndarray]) -> float:
    """Return how much the rows differ from the mean of their neighbours, in grey levels."""
    grey = np.stack(frames)[:, 12:48].mean(axis=-1)  # the rows of the spot
    return float(np.abs(grey[:, 1:-1] - (grey[:, 2:] + grey[:, :-2]) / 2).mean())


def assert_deinterlaced(frames: list[np.ndarray], images: list[np.ndarray], top_first: bool = True) -> None:
    assert error(frames, images[::2]) < 3
    assert combing(frames) < 0.5 * combing(woven(images, top_first))


@pytest.mark.parametrize("top_first", [True, False])
def test_interlaced_h264(tmp_path, top_first):
    images = moving(20)
    assert_deinterlaced(read(interlaced_h264(tmp_path / "a.mts", images, top_first)), images, top_first)


def test_telecine(tmp_path):
    """Film of 24 frames a second as interlaced video of 30: frames of fields of two pictures become whole ones."""
    film = moving(16)
    frames = []
    for k in range(0, 16, 4):
        a, b, c, d = film[k : k + 4]
        frames += [a, a, b, b, b, c, c, d, d, d]  # fields, two a frame: three of every second picture
    path = make(tmp_path / "a.mts", woven(frames), flags="+ilme+ildct", **{"x264-params": "tff=1"})
    assert_deinterlaced(read(path), frames)


def test_one_field_a_frame(tmp_path):
    """Fields of half the height, one a frame: pixels are twice as high as wide."""
    images = moving(8)
    path = make(tmp_path / "a.mp4", [image[::2] for image in images], aspect=Fraction(1, 2))
    frames = read(path)
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    assert error(frames, images) < 3


@pytest.mark.parametrize("second", ["top first", "bottom first"])
def test_an_order_of_fields_that_changes_in_the_middle(tmp_path, second):
    first, later = moving(24), moving(24, hue=1)
    parts = [
        interlaced_h264(tmp_path / "a.ts", first),
        interlaced_h264(tmp_path / "b.ts", later, second == "top first"),
    ]
    (tmp_path / "c.ts").write_bytes(b"".join(path.read_bytes() for path in parts))
    frames = read(tmp_path / "c.ts")
    assert_deinterlaced(frames[:12], first)
    assert_deinterlaced(frames[-10:], later[-20:], second == "top first")


def test_interlaced_mpeg2(tmp_path):
    images = moving(20)
    assert_deinterlaced(read(interlaced_mpeg2(tmp_path / "a.ts", images)), images)


def test_interlacing_that_only_the_container_states(tmp_path):
    images = moving(20)
    coded = read(make(tmp_path / "a.mkv", woven(images), "mjpeg", "yuvj422p", colour=(5, 2)))
    assert combing(coded) > 0.8 * combing(woven(images))  # nothing states that it is interlaced
    frames = read(make(tmp_path / "b.mkv", woven(images), "mjpeg", "yuvj422p", colour=(5, 2), fields=2))
    assert_deinterlaced(frames, images)


def test_times_and_wanted_frames_of_an_interlaced_video(tmp_path):
    path = interlaced_h264(tmp_path / "a.mp4", moving(24))
    every = list(video.frames(path))
    assert [time for _, time, _ in every] == pytest.approx([index / 25 for index in range(12)])
    some = list(video.frames(path, 11, {0, 5, 10, 11}))
    assert [index for index, _, _ in some] == [0, 5, 10]
    assert all(time == every[index][1] and np.array_equal(frame, every[index][2]) for index, time, frame in some)


@pytest.mark.parametrize("change", ["interlaced later", "progressive later", "size", "pixel format"])
def test_a_change_in_the_middle(tmp_path, change):
    first, second = moving(12), moving(12, hue=1)
    progressive = make(tmp_path / "progressive.ts", first)
    other = {
        "interlaced later": lambda: interlaced_h264(tmp_path / "b.ts", [i for i in second for _ in range(2)]),
        "progressive later": lambda: make(tmp_path / "b.ts", second),
        "size": lambda: make(tmp_path / "b.ts", moving(12, 1, HEIGHT * 2, WIDTH * 2)),
        "pixel format": lambda: make(tmp_path / "b.ts", second, pix_fmt="yuv444p"),
    }[change]()
    if change == "progressive later":
        progressive = interlaced_h264(tmp_path / "progressive.ts", [image for image in first for _ in range(2)])
    (tmp_path / "a.ts").write_bytes(progressive.read_bytes() + other.read_bytes())
    frames = read(tmp_path / "a.ts")
    assert error(frames[:12], first) < 3
    assert 10 <= len(frames[12:]) <= 12
    if change != "size":
        assert error(frames[-6:], second[-6:]) < 3
    assert frames[-1].mean(axis=(0, 1)).argmax() == second[-1].mean(axis=(0, 1)).argmax()


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(4, 3), (171, 96)),
        (Fraction(12, 11), (140, 96)),
        (Fraction(1, 2), (128, 192)),
        (None, (128, 96)),  # 0:0
        (Fraction(1000, 1), (128, 96)),
        (Fraction(1, 1000), (128, 96)),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_pixels_are_square(tmp_path, aspect, size, ending):
    path = make(tmp_path / f"a.{ending}", moving(4), aspect=aspect)
    frame = read(path)[0]
    assert frame.shape == (size[1], size[0], 3)
    seen = av.VideoFrame.from_ndarray(moving(1)[0], format="rgb24").reformat(*size, interpolation="BICUBIC")
    assert error([frame], [seen.to_ndarray()]) < 2


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_display_matrix_is_applied(tmp_path, name):
    values, change = ORIENTATIONS[name]
    path = make(tmp_path / "a.mov", moving(3), matrix=matrix_of(*values))
    assert error(read(path), [change(image) for image in moving(3)]) < 2


def test_the_aspect_is_that_of_the_coded_pixels(tmp_path):
    path = make(tmp_path / "a.mov", moving(3), aspect=Fraction(2, 1), matrix=matrix_of(0, 1, -1, 0))
    assert read(path)[0].shape == (256, 96, 3)


@pytest.mark.parametrize("values", [(1, 1, 0, 1), (0, 0, 0, 0), (-(1 << 31) // ONE, 0, 0, 1)])
def test_an_unusual_matrix_gives_a_picture(tmp_path, values):
    assert len(read(make(tmp_path / "a.mov", moving(3), matrix=matrix_of(*values)))) == 3


@pytest.mark.parametrize("colour", list(itertools.product((1, 5), (1, 2))))  # BT.709, BT.601; limited, full range
@pytest.mark.parametrize("fields", [False, True])
def test_colours(tmp_path, colour, fields):
    wanted = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 100, 50)]
    image = np.repeat(np.array([wanted], np.uint8), 32, axis=1).repeat(96, axis=0)
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"} if fields else {}
    frames = read(make(tmp_path / "a.mp4", [image] * 4, colour=colour, **options))
    seen = frames[2][48, 16::32].astype(int)
    assert np.abs(seen - wanted).max() <= 4


def test_a_picture_too_large_as_displayed_is_refused(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mp4", moving(3), aspect=Fraction(2, 1))
    monkeypatch.setattr(video_facts, "MAX_PIXELS", 20_000)
    for use in (video.probe, lambda path: list(video.frames(path))):
        with pytest.raises(video.VideoError, match="256x96"):
            use(path)


@pytest.mark.parametrize("frames_before", [0, 1, 3])
def test_a_frame_that_is_not_converted_ends_the_video(tmp_path, monkeypatch, frames_before):
    path = make(tmp_path / "a.mp4", moving(6))
    convert, calls = View.rgb, itertools.count()

    def failing(self: View, frame: av.VideoFrame) -> np.ndarray:
        if next(calls) == frames_before:
            raise av.error.InvalidDataError(1, "not converted")
        return convert(self, frame)

    monkeypatch.setattr(View, "rgb", failing)
    if frames_before:
        assert len(list(video.frames(path))) == frames_before
    else:
        with pytest.raises(video.VideoError, match="no frame"):
            list(video.frames(path))


def test_interlaced_pictures_too_small_to_deinterlace_are_told(tmp_path):
    path = make(tmp_path / "a.mkv", moving(4, 0, 2, 2), "mjpeg", "yuvj444p", colour=(5, 2), fields=2)
    with pytest.raises(video.VideoError, match="no frame"):
        list(video.frames(path))


def test_av1(tmp_path):
    try:
        path = make(tmp_path / "a.mp4", moving(6), "libsvtav1", bit_rate=0, crf="10", preset="10")
    except (av.FFmpegError, ValueError) as reason:
        pytest.skip(f"PyAV cannot encode AV1 here: {reason}")
    assert error(read(path), moving(6)) < 4
    assert video.probe(path).codec == "AV01"


def test_times_increase_whatever_the_container_states(tmp_path):
    first = make(tmp_path / "a.ts", moving(10))
    (tmp_path / "b.ts").write_bytes(2 * first.read_bytes())  # the second half starts again at the first time
    times = [time for _, time, _ in video.frames(tmp_path / "b.ts")]
    assert len(times) >= 18 and times[0] == 0 and all(np.diff(times) > 0)
    encode(tmp_path / "c.h264", moving(6), "libx264", "yuv420p")  # no times at all
    assert [time for _, time, _ in video.frames(tmp_path / "c.h264")] == pytest.approx([k / 25 for k in range(6)])
    encode(tmp_path / "d.mkv", moving(6), "libx264", "yuv420p", [-80, -40, 0, 40, 80, 120])
    times = [time for _, time, _ in video.frames(tmp_path / "d.mkv")]
    assert times[0] >= 0 and all(np.diff(times) > 0)


def test_a_name_that_is_not_utf8(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    try:
        path.write_bytes(make(tmp_path / "a.mp4", moving(3)).read_bytes())
    except OSError as reason:
        pytest.skip(f"this file system has no such names: {reason}")
    assert len(read(path)) == 3


def made_forms(folder: Path) -> list[Path]:
    """Write a file of each form, each with its own colours."""
    h264 = interlaced_h264(folder / "h264.mts", moving(12))
    mixed = folder / "mixed.ts"
    mixed.write_bytes(make(folder / "p.ts", moving(6, 1)).read_bytes() + h264.read_bytes())
    return [
        make(folder / "plain.mp4", moving(6, 2)),
        h264,
        interlaced_mpeg2(folder / "mpeg2.ts", moving(12, 1)),
        mixed,
        make(folder / "anamorphic.mp4", moving(6, 1), aspect=Fraction(4, 3)),
        make(folder / "mirrored.mov", moving(6, 2), matrix=matrix_of(-1, 0, 0, 1)),
        make(folder / "large.mkv", moving(6, 1, 2 * HEIGHT, 2 * WIDTH), "ffv1", "yuv420p"),
    ]


def assert_pairs_are_as_alone(paths: list[Path], max_frames: int) -> None:
    alone = {path: [frame for _, _, frame in video.frames(path, max_frames)] for path in paths}
    for first, second in itertools.permutations(paths, 2):
        for path in (first, second):
            frames = [frame for _, _, frame in video.frames(path, max_frames)]
            assert len(frames) == len(alone[path])
            assert all(map(np.array_equal, frames, alone[path])), (first.name, second.name)


def test_no_frame_is_that_of_another_file(tmp_path):
    assert_pairs_are_as_alone(made_forms(tmp_path), 20)


def read_mutated(folder: Path, count: int) -> None:
    """Read damaged files one after the other, and assert that each gives frames of its own or a sentence.

    Every file is read after one that is all magenta, a colour that none of the others has. Memory must not grow.
    """
    rng = np.random.default_rng(0)
    magenta = make(folder / "magenta.mp4", [np.full((HEIGHT, WIDTH, 3), (255, 0, 255), np.uint8)] * 3)
    forms = made_forms(folder)
    wholes = [path.read_bytes() for path in forms]
    peak = 0
    for number in range(count):
        path, whole = forms[number % len(forms)], wholes[number % len(forms)]
        list(video.frames(magenta))
        data = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(data), max(1, len(data) // 2000))
        data[places] = rng.integers(0, 256, len(places))
        damaged = folder / f"damaged{path.suffix}"
        damaged.write_bytes(data[: rng.integers(len(data) // 2, len(data))])
        try:
            for _, _, frame in video.frames(damaged, 12):
                assert frame.dtype == np.uint8
                assert not np.all(np.abs(frame.astype(int) - (255, 0, 255)) < 8, axis=-1).mean() > 0.2
        except video.VideoError as error:
            assert str(error).endswith(".")
        if number == count // 4:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1.15 * peak


def test_mutated_files_give_frames_or_a_sentence(tmp_path):
    reader = multiprocessing.get_context("spawn").Process(target=read_mutated, args=(tmp_path, 500))
    reader.start()
    reader.join()
    assert reader.exitcode == 0


@pytest.fixture(scope="module")
def forms_dir() -> Path:
    """Files in forms that people bring, made from real clips; never part of the project."""
    if not (SHARED / "forms").is_dir():
        pytest.skip("forms: the shared folder of real media is not beside this checkout")
    return SHARED / "forms"


def test_real_forms_in_pairs(forms_dir):
    assert_pairs_are_as_alone(sorted(path for path in forms_dir.iterdir() if path.suffix != ".md"), 3)


TWINS = {
    "interlaced_h264.mts": 12,
    "interlaced_mpeg2.ts": 12,
    "av1.mp4": 6,
    "anamorphic_4_3.mp4": 8,
    "selfie_mirrored.mov": 4,
    "phone_portrait.mov": 4,
}


@pytest.mark.parametrize("name", TWINS)
def test_real_forms_look_like_their_twins(forms_dir, name):
    twin = "interlaced_twin.mp4" if name.startswith("interlaced") else "upright.mp4"
    pairs = zip(video.frames(forms_dir / name, 10), video.frames(forms_dir / twin, 10), strict=True)
    assert max(np.abs(a.astype(int) - b).mean() for (_, _, a), (_, _, b) in pairs) < TWINS[name]
