"""Container facts, colours and order of frames, files that are not videos, and reproducible encoding."""

import math
import struct
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.faces import video
from tests.support.videos import encode

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(height: int = 64, width: int = 96) -> np.ndarray:
    """Return an image that shows a wrong orientation or order of channels: each quarter has its own colour."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def ramp(n: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Return grey frames of increasing brightness."""
    return [np.full((height, width, 3), 20 + 200 * i // n, np.uint8) for i in range(n)]


def sound(path: Path, seconds: float = 0.5) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, int(16000 * seconds)), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return path


def assert_quarters(image: np.ndarray, corners: list[tuple[int, int, int]]) -> None:
    height, width = image.shape[:2]
    points = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    for (y, x), colour in zip(points, corners, strict=True):
        assert np.abs(image[y, x].astype(int) - colour).max() < 30, (y, x, image[y, x], colour)


def test_probe_tells_what_was_written(tmp_path):
    video.write(tmp_path / "a.mp4", ramp(12), fps=20)
    facts = video.probe(tmp_path / "a.mp4")
    assert (facts.width, facts.height, facts.n_frames, facts.codec) == (48, 32, 12, "h264")
    assert facts.fps == pytest.approx(20) and facts.duration_s == pytest.approx(0.6)
    size = (tmp_path / "a.mp4").stat().st_size
    assert facts.bitrate == pytest.approx(8 * size / 0.6, rel=0.1)


def test_one_frame_is_a_video(tmp_path):
    video.write(tmp_path / "a.mp4", ramp(1))
    assert video.probe(tmp_path / "a.mp4").n_frames == 1
    assert len(list(video.frames(tmp_path / "a.mp4"))) == 1


def test_one_pixel_is_a_video(tmp_path):
    video.write(tmp_path / "a.mp4", ramp(2, 1, 1))
    assert [frame.shape for _, _, frame in video.frames(tmp_path / "a.mp4")] == [(2, 2, 3)] * 2


def test_frames_are_rgb_upright_and_in_order(tmp_path):
    video.write(tmp_path / "a.mp4", [quarters()] * 3)
    for _, _, frame in video.frames(tmp_path / "a.mp4"):
        assert frame.dtype == np.uint8 and frame.shape == (64, 96, 3)
        assert_quarters(frame, [RED, GREEN, BLUE, WHITE])
    video.write(tmp_path / "b.mp4", ramp(20))
    read = list(video.frames(tmp_path / "b.mp4"))
    assert [index for index, _, _ in read] == list(range(20))
    assert np.allclose([frame.mean() for _, _, frame in read], [f.mean() for f in ramp(20)], atol=3)


def test_only_wanted_frames_are_given_with_true_index_and_time(tmp_path):
    video.write(tmp_path / "a.mp4", ramp(30), fps=10)
    every = {index: (time, frame) for index, time, frame in video.frames(tmp_path / "a.mp4")}
    some = list(video.frames(tmp_path / "a.mp4", max_frames=20, wanted={0, 7, 19, 25}))
    assert [index for index, _, _ in some] == [0, 7, 19]
    for index, time, frame in some:
        assert time == pytest.approx(index / 10, abs=1e-6) and time == every[index][0]
        assert np.array_equal(frame, every[index][1])


def test_wanted_may_change_on_the_way(tmp_path):
    video.write(tmp_path / "a.mp4", ramp(10))
    wanted, seen = {2}, []
    for index, _, _ in video.frames(tmp_path / "a.mp4", wanted=wanted):
        seen.append(index)
        wanted.add(index + 3)
    assert seen == [2, 5, 8]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_is_applied(tmp_path, turns):
    video.write(tmp_path / "a.mp4", [quarters()] * 3)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    cos, sin = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[turns]  # clockwise quarter turns, as telephones write them
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    (tmp_path / "b.mp4").write_bytes(data)
    facts = video.probe(tmp_path / "b.mp4")
    assert (facts.width, facts.height) == ((96, 64) if turns == 2 else (64, 96))
    expected = np.rot90(quarters(), -turns)
    frame = next(video.frames(tmp_path / "b.mp4"))[2]
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 12


def test_times_of_a_variable_frame_rate(tmp_path):
    pts = [0, 40, 140, 150, 400]
    encode(tmp_path / "a.mp4", ramp(5), "libx264", "yuv420p", pts)
    assert [time for _, time, _ in video.frames(tmp_path / "a.mp4")] == pytest.approx([t / 1000 for t in pts], abs=2e-3)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "atol"),
    [("ffv1", "gray", 2), ("libx264", "yuv420p10le", 4), ("libx264", "gray", 18)],  # the last states no range
)
def test_gray_and_ten_bits(tmp_path, codec, pix_fmt, atol):
    images = ramp(4)
    encode(tmp_path / "a.mkv", images, codec, pix_fmt)
    read = [frame for _, _, frame in video.frames(tmp_path / "a.mkv")]
    assert all(frame.shape == (32, 48, 3) and frame.dtype == np.uint8 for frame in read)
    assert np.allclose([frame.mean() for frame in read], [image.mean() for image in images], atol=atol)


def test_ten_bit_colour(tmp_path):
    encode(tmp_path / "a.mkv", [quarters()] * 2, "libx264", "yuv420p10le")
    assert_quarters(next(video.frames(tmp_path / "a.mkv"))[2], [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize(("height", "width"), [(33, 51), (32, 51), (33, 50), (7, 3)])
def test_odd_sizes_out_and_in(tmp_path, height, width):
    video.write(tmp_path / "a.mp4", [quarters(height, width)] * 2)
    frame = next(video.frames(tmp_path / "a.mp4"))[2]
    assert frame.shape == (height + height % 2, width + width % 2, 3)
    encode(tmp_path / "b.mkv", [quarters(height, width)] * 2, "ffv1", "bgr0")
    frame = next(video.frames(tmp_path / "b.mkv"))[2]
    assert np.abs(frame.astype(int) - quarters(height, width)).max() <= 2
    facts = video.probe(tmp_path / "b.mkv")
    assert (facts.height, facts.width) == (height, width)


def test_names_with_spaces_letters_and_colons(tmp_path):
    for name in ("ein Gesicht.mp4", "лицо 顔.mp4", "http:a.mp4", "100%d.mp4", "-i.mp4"):
        video.write(tmp_path / name, ramp(2))
        assert len(list(video.frames(tmp_path / name))) == 2, name


def bad_files(folder: Path) -> dict[str, str]:
    """Write a file of each kind that cannot be used; return file name -> text that the reason must contain."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("These are not the frames you are looking for.\n" * 50)
    sound(folder / "sound.m4a").rename(folder / "sound.mp4")
    video.write(folder / "whole.mp4", ramp(20, 64, 64))
    with av.open(str(folder / "late.mp4"), "w") as container:  # its index is at the end, and is cut off
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for image in ramp(20, 64, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (folder / "cut.mp4").write_bytes((folder / "late.mp4").read_bytes()[:900])
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "indexonly.mp4").write_bytes(whole[: whole.index(b"mdat") + 4])  # an index, and no pictures
    (folder / "folder.mp4").mkdir()
    return {
        "empty.mp4": "empty",
        "text.mp4": "not a video",
        "sound.mp4": "audio",
        "cut.mp4": "cut short",
        "indexonly.mp4": "no frame",
        "folder.mp4": "folder",
        "absent.mp4": "does not exist",
    }


def test_bad_files_are_told_in_a_sentence(tmp_path, capfd):
    for name, words in bad_files(tmp_path).items():
        for use in (video.probe, lambda path: next(video.frames(path))):
            with pytest.raises(video.VideoError) as caught:
                use(tmp_path / name)
            text = str(caught.value)
            assert words in text and name in text and text.endswith(".") and "\n" not in text
    assert capfd.readouterr() == ("", "")


def test_a_giant_frame_is_refused(tmp_path):
    giant = np.zeros((16000, 2400, 3), np.uint8)
    encode(tmp_path / "a.mkv", [giant], "mjpeg", "yuvj420p")
    with pytest.raises(video.VideoError, match="2400x16000"):
        next(video.frames(tmp_path / "a.mkv"))


def test_garbage_half_way_gives_the_good_part(tmp_path, capfd):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(40)]
    video.write(tmp_path / "a.mp4", images)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    middle = len(data) // 2
    (tmp_path / "short.mp4").write_bytes(data[:middle])
    data[middle:] = rng.integers(0, 255, len(data) - middle, np.uint8).tobytes()
    (tmp_path / "noise.mp4").write_bytes(data)
    whole = [frame for _, _, frame in video.frames(tmp_path / "a.mp4")]
    for name in ("short.mp4", "noise.mp4"):
        assert video.probe(tmp_path / name).n_frames == 40  # what the header says
        read = [frame for _, _, frame in video.frames(tmp_path / name)]
        assert 10 <= len(read) <= 40
        assert all(np.array_equal(a, b) for a, b in zip(read[:10], whole, strict=False))
    assert capfd.readouterr() == ("", "")


def test_a_container_that_states_no_length(tmp_path):
    encode(tmp_path / "a.h264", ramp(12), "libx264", "yuv420p")
    facts = video.probe(tmp_path / "a.h264")
    assert facts.n_frames == 0 and math.isnan(facts.duration_s)
    assert len(list(video.frames(tmp_path / "a.h264"))) == 12


def test_a_playlist_opens_no_address(tmp_path):
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(video.VideoError):
        video.probe(tmp_path / "a.mp4")


def test_equal_frames_give_equal_bytes(tmp_path):
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(8)]
    video.write(tmp_path / "a.mp4", images, fps=29.97)
    script = (
        "import numpy as np; from dfutils.faces import video; rng = np.random.default_rng(3);"
        "images = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(8)];"
        f"video.write({str(tmp_path / 'b.mp4')!r}, images, fps=29.97)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert video.probe(tmp_path / "a.mp4").fps == pytest.approx(29.97, abs=1e-3)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and b"Lavf" not in data


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "no frame"),
        ([np.zeros((8, 8), np.uint8)], "RGB"),
        ([np.zeros((8, 8, 3), np.float32)], "8 bits"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], "one size"),
    ],
)
def test_write_refuses_what_is_no_video_and_leaves_nothing(tmp_path, images, words):
    with pytest.raises(InputError, match=words):
        video.write(tmp_path / "a.mp4", images)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    video.write(tmp_path / "a.mp4", ramp(3))
    before = (tmp_path / "a.mp4").read_bytes()

    def broken():
        yield from ramp(2)
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError):
        video.write(tmp_path / "a.mp4", broken())
    assert (tmp_path / "a.mp4").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_real_clips(clips_dir):
    facts = video.probe(clips_dir / "WDA_KatieHill_000.mp4")
    assert (facts.width, facts.height, facts.codec) == (512, 512, "FMP4")
    facts = video.probe(clips_dir / "s29.mp4")
    assert (facts.width, facts.height) == (720, 1364)
    assert sum(1 for _ in video.frames(clips_dir / "d0.mp4")) == 78


def test_compression_in_memory_loses_more_at_a_higher_crf():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :64]
    still = 127 + 60 * np.sin(x / 5)[..., None] + 40 * np.cos(y / 7)[..., None] + rng.normal(0, 8, (96, 64, 3))
    frames = np.stack([np.roll(still, t, axis=1) for t in range(4)]).clip(0, 255).astype(np.uint8)
    lost = []
    for crf in (18, 28, 40):
        back = video.compress(frames, crf)
        assert back.shape == frames.shape
        assert back.dtype == np.uint8
        assert np.array_equal(back, video.compress(frames, crf))
        lost.append(float(np.abs(back.astype(int) - frames).mean()))
        assert np.corrcoef(back.ravel(), frames.ravel())[0, 1] > 0.9
    assert 0 < lost[0] < lost[1] < lost[2]


def test_compression_does_not_depend_on_what_lies_in_memory(tmp_path):
    """Sides that are no multiple of 64, on which x264's macroblock tree reads beyond the frame."""
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8), (152, 152), interpolation=cv2.INTER_CUBIC)
    clip = np.stack([picture[t : t + 132, 2 * t : 2 * t + 132] for t in range(8)])
    results, written = set(), set()
    for _ in range(20):
        garbage = [np.full(int(size), 255 * (size % 2), np.uint8) for size in rng.integers(1000, 400_000, 100)]
        del garbage
        results.add(video.compress(clip, 28).tobytes())
        video.write(tmp_path / "clip.mp4", clip, crf=28)
        written.add((tmp_path / "clip.mp4").read_bytes())
    assert len(results) == len(written) == 1
