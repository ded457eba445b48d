"""Tests of pictures, animations and folders of pictures read as videos."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms

from dfutils.core.params import FaceSettings
from dfutils.faces import extraction, pictures, video
from dfutils.faces.video import VideoError


def portrait() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()[:256, 80:336])


def only_frame(path: Path) -> np.ndarray:
    [(index, time_s, rgb)] = video.frames(path)
    assert (index, time_s, rgb.dtype, rgb.flags.writeable) == (0, 0.0, np.uint8, True)
    facts = video.probe(path)
    assert (facts.n_frames, facts.height, facts.width) == (1, *rgb.shape[:2])
    return rgb


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "avif"])
def test_a_picture_is_a_video_of_one_frame_whatever_its_name(tmp_path, ending):
    portrait().save(tmp_path / f"a.{ending}", quality=95)
    (tmp_path / f"a.{ending}").rename(tmp_path / "upload")  # as the service names it
    difference = np.abs(only_frame(tmp_path / "upload").astype(int) - np.asarray(portrait()))
    assert difference.mean() < (2.5 if ending in ("jpg", "webp", "avif") else 1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_obeyed(tmp_path, orientation):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30], upright[:20, 30:], upright[20:, :30] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # How the sensor lay: what turns the stored picture into the upright one, by the Exif standard's table.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert (only_frame(tmp_path / "a.png") == upright).all()


def test_sixteen_bits_transparency_palettes_and_grey_look_as_in_a_viewer(tmp_path):
    grey = np.tile(np.arange(256, dtype=np.uint16) * 257, (64, 1))
    cv2.imwrite(str(tmp_path / "grey16.png"), grey)
    cv2.imwrite(str(tmp_path / "rgb16.png"), cv2.merge([grey, grey, grey]))
    Image.fromarray((grey >> 8).astype(np.uint8)).save(tmp_path / "grey8.png")
    for name in ("grey16.png", "rgb16.png", "grey8.png"):
        assert (only_frame(tmp_path / name) == (grey >> 8).astype(np.uint8)[..., None]).all(), name
    clear = np.zeros((32, 32, 4), np.uint8)
    clear[8:] = (10, 20, 30, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    rgb = only_frame(tmp_path / "clear.png")
    assert (rgb[:8] == 255).all() and (rgb[8:] == (10, 20, 30)).all()
    portrait().quantize(64).save(tmp_path / "palette.png")
    assert np.abs(only_frame(tmp_path / "palette.png").astype(int) - np.asarray(portrait())).mean() < 12


def test_printers_colours_and_wide_colours_are_turned_into_those_of_a_screen(tmp_path):
    portrait().convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(only_frame(tmp_path / "cmyk.jpg").astype(int) - np.asarray(portrait())).mean() < 4
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # fits no RGB picture
    portrait().save(tmp_path / "odd.png", icc_profile=lab)
    portrait().save(tmp_path / "broken.png", icc_profile=b"no profile")
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    portrait().save(tmp_path / "own.png", icc_profile=own)
    for name in ("odd.png", "broken.png", "own.png"):
        assert np.abs(only_frame(tmp_path / name).astype(int) - np.asarray(portrait())).max() <= 1, name


@pytest.mark.parametrize(("ending", "options"), [("webp", {"lossless": True}), ("png", {}), ("gif", {})])
def test_an_animation_is_a_video(tmp_path, ending, options):
    images = [Image.fromarray(np.full((64, 64, 3), 60 * k, np.uint8)) for k in range(4)]
    path = tmp_path / f"a.{ending}"
    images[0].save(path, save_all=True, append_images=images[1:], duration=200, loop=0, **options)
    found = list(video.frames(path))
    assert [rgb.mean().round() for _, _, rgb in found] == pytest.approx([0, 60, 120, 180], abs=2)
    assert [time_s for _, time_s, _ in found] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert [index for index, _, _ in video.frames(path, wanted={1, 3})] == [1, 3]
    facts = video.probe(path)
    assert (facts.n_frames, facts.fps, facts.duration_s) == (4, pytest.approx(5), pytest.approx(0.8))


def test_a_damaged_animation_gives_the_frames_before_the_damage(tmp_path):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(6)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], duration=40)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    assert 1 <= len(list(video.frames(tmp_path / "a.png"))) < 6


def test_a_picture_that_is_cut_short_or_damaged_is_answered_in_a_sentence(tmp_path):
    portrait().save(tmp_path / "a.jpg")
    portrait().save(tmp_path / "a.png")
    portrait().save(tmp_path / "a.webp")
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "a.png", "a.webp"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(VideoError, match=f"{name} is a picture that cannot be decoded: it was cut short"):
            list(video.frames(tmp_path / name))
        with pytest.raises(VideoError, match="cannot be decoded"):
            video.probe(tmp_path / name)
        clip = extraction.find_faces(tmp_path / name, FaceSettings()).clip
        assert clip.status == "unreadable" and name in clip.reason
        for _ in range(40):  # whatever is damaged: one sentence, or a picture
            damaged = bytearray(content)
            for position in rng.integers(4, len(content), 8):
                damaged[position] = rng.integers(256)
            (tmp_path / "damaged").write_bytes(damaged)
            try:
                assert list(video.frames(tmp_path / "damaged"))
            except VideoError as error:
                assert str(error).endswith(".")
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypmif1" + bytes(100))
    with pytest.raises(VideoError, match="HEIC picture, which cannot be read here: save it as JPEG"):
        video.probe(tmp_path / "a.heic")


def test_a_panorama_is_judged_small_or_answered_in_a_sentence(tmp_path):
    Image.new("L", (20_000, 2_000), 120).save(tmp_path / "a.jpg")
    rgb = only_frame(tmp_path / "a.jpg")
    assert rgb.shape == (1_000, 10_000, 3) and np.abs(rgb.astype(int) - 120).max() < 2
    Image.new("1", (20_000, 2_000)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match=r"a.png has frames of 20000x2000 pixels; at most 8192x4320 are decoded"):
        video.probe(tmp_path / "a.png")
    header = struct.pack(">4sIIBBBBB", b"IHDR", 200_000, 200_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I4s", 9, b"IDAT")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(50))
    with pytest.raises(VideoError, match=r"bomb.png has too many pixels"):
        video.probe(tmp_path / "bomb.png")


def test_the_face_of_a_photograph_is_found(tmp_path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.jpg", quality=95)
    faces = extraction.find_faces(tmp_path / "a.jpg", FaceSettings(frames_per_video=1))
    assert (faces.clip.status, len(faces.clip.frames), faces.clip.people) == ("ok", 1, 1)
    x, y, w, h = faces.clip.boxes[0]
    assert x < 224 < x + w and y < 110 < y + h
    ten = extraction.find_faces(tmp_path / "a.jpg", FaceSettings())
    assert (ten.clip.status, len(ten.clip.frames)) == ("few_faces", 1)
    assert (ten.clip.frames[0] == faces.clip.frames[0]).all()


# Folders of frames


def save_frames(folder: Path, sizes: dict[str, tuple[int, int]]) -> None:
    folder.mkdir(parents=True)
    for k, (name, size) in enumerate(sizes.items()):
        Image.new("RGB", size, (20 * k, 20 * k, 20 * k)).save(folder / name)


def test_frames_stand_in_the_order_of_their_numbers_with_gaps_and_mixed_sizes(tmp_path):
    names = {"100.png": (40, 40), "2.png": (40, 40), "10.png": (80, 60), "9.jpg": (20, 20)}
    save_frames(tmp_path / "a", names)
    (tmp_path / "a" / "notes.txt").write_text("not a frame")
    (tmp_path / "a" / "11.png").write_bytes(b"\x89PNG\r\n\x1a\n, and then nothing")
    found = list(video.frames(tmp_path / "a"))
    assert [rgb.mean().round() for _, _, rgb in found] == pytest.approx([20, 60, 40, 0], abs=1)  # 2, 9, 10, 100
    assert [index for index, _, _ in found] == [0, 1, 2, 4]
    assert [time_s for _, time_s, _ in found] == pytest.approx([0, 7 / 25, 8 / 25, 98 / 25])
    assert {rgb.shape for _, _, rgb in found} == {(40, 40, 3)}
    facts = video.probe(tmp_path / "a")
    assert (facts.width, facts.height, facts.n_frames, facts.codec) == (40, 40, 5, "PNG")
    assert [index for index, _, _ in video.frames(tmp_path / "a", max_frames=2)] == [0, 1]


def test_a_wanted_frame_of_a_folder_has_the_size_of_the_first(tmp_path):
    save_frames(tmp_path / "a", {"0.png": (40, 40), "1.png": (80, 80)})
    [(index, _, rgb)] = video.frames(tmp_path / "a", wanted={1})
    assert (index, rgb.shape) == (1, (40, 40, 3))


def test_a_frame_of_other_proportions_is_not_distorted(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "a" / "0.png")
    wide = np.full((30, 60, 3), 200, np.uint8)
    cv2.circle(wide, (30, 15), 10, (0, 0, 0), -1)
    Image.fromarray(wide).save(tmp_path / "a" / "1.png")
    rgb = list(video.frames(tmp_path / "a"))[1][2]
    ys, xs = np.nonzero(rgb[..., 0] < 100)
    assert np.ptp(ys) == np.ptp(xs) == 20 and (rgb[:10] == 200).all()


def test_a_folder_without_a_whole_picture_is_answered_in_a_sentence(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(VideoError, match="a is a folder, not a video"):
        video.probe(tmp_path / "a")
    for name in ("0.png", "1.png"):
        (tmp_path / "a" / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    for read in (video.probe, lambda path: list(video.frames(path))):
        with pytest.raises(VideoError, match="None of the pictures in a can be decoded"):
            read(tmp_path / "a")


def test_landmarks_beside_frames_are_used_where_faces_are_cropped(tmp_path):
    folder = tmp_path / "real" / "frames" / "007"
    folder.mkdir(parents=True)
    (tmp_path / "real" / "landmarks" / "007").mkdir(parents=True)
    points = np.random.default_rng(0).uniform(20, 100, (81, 2)).astype(np.float32)
    for k in range(3):
        portrait().resize((128, 128)).save(folder / f"{k:03}.png")
    np.save(tmp_path / "real" / "landmarks" / "007" / "000.npy", points)
    np.save(tmp_path / "real" / "landmarks" / "007" / "001.npy", points[:5])  # of another landmark model
    found = pictures.landmarks(folder)
    assert list(found) == [0] and (found[0] == points[:68]).all()
    settings = FaceSettings(faces="cropped", frames_per_video=3, face_size=64)
    [clip] = extraction.extract(folder, settings)
    assert clip.status == "ok"
    assert clip.landmarks[0] == pytest.approx((points[:68] + 0.5) / 2 - 0.5, abs=1e-3)  # in pixels of the crop
    assert np.isnan(clip.scores[0]) and not np.allclose(clip.landmarks[0], clip.landmarks[1])
