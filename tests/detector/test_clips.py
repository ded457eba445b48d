"""Strips to tensors: what is read, how it is augmented, and in what order."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfutils.core.errors import InputError
from dfutils.core.params import FaceSettings
from dfutils.detector.augmentation import augment
from dfutils.detector.clips import Batches, ClipDataset, Key, class_weights, collate, loader, validation_weights
from tests.support.clips import clip_dataset, strengths

SIZE = 32
AUGMENTATION = {
    "flip": 0.5,
    "rotation": 20.0,
    "scale": 0.1,
    "color_jitter": 0.3,
    "jpeg": 0.5,
    "blur": 0.5,
    "noise": 0.5,
    "downscale": 0.5,
    "cutout": 0.5,
}


def write_strip(path: Path, frames: np.ndarray) -> None:
    """Write uint8 RGB `(T, S, S, 3)` as a strip."""
    cv2.imwrite(str(path), np.concatenate(list(frames), axis=1)[..., ::-1])


@pytest.fixture(scope="module")
def pixels() -> dict[str, np.ndarray]:
    lengths = [4, 4, 2, 9, 1, 4]
    rng = np.random.default_rng(0)
    return {f"v{i}": rng.integers(0, 256, (t, SIZE, SIZE, 3), dtype=np.uint8) for i, t in enumerate(lengths)}


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory, pixels: dict[str, np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("strips")
    for video_id, frames in pixels.items():
        write_strip(folder / f"{video_id}.png", frames)
    return folder


@pytest.fixture
def table(pixels: dict[str, np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame({"video_id": list(pixels), "label": [0, 1, 0, 1, 0, 1]})


def dataset(table: pd.DataFrame, strips: Path, **options: object) -> ClipDataset:
    return clip_dataset(table, strips, FaceSettings(face_size=SIZE, frames_per_video=4), **options)


def test_a_clip_holds_the_crops_in_time_order_and_rgb(table, strips, pixels):
    clip = dataset(table, strips).clip(0)
    assert clip.dtype == torch.uint8
    assert clip.shape == (4, 3, SIZE, SIZE)
    assert np.array_equal(clip.permute(0, 2, 3, 1).numpy(), pixels["v0"])


def test_a_longer_strip_gives_evenly_spread_frames(table, strips, pixels):
    clip = dataset(table, strips).clip(3)
    assert np.array_equal(clip.permute(0, 2, 3, 1).numpy(), pixels["v3"][[0, 3, 5, 8]])


def test_evaluation_is_undisturbed(table, strips):
    clips = dataset(table, strips, **AUGMENTATION, train_frames=2)
    assert torch.equal(clips.clip(0, epoch=0), clips.clip(0, epoch=7))
    assert torch.equal(clips.clip(0), dataset(table, strips).clip(0))


def test_shorter_clips_are_padded_and_masked(table, strips):
    clips = dataset(table, strips)
    batch = next(iter(loader(clips, Batches(6, 6, shuffle=False))))
    assert batch.frames.shape == (6, 4, 3, SIZE, SIZE)
    assert batch.mask.sum(1).tolist() == [4, 4, 2, 4, 1, 4]
    assert batch.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert batch.positions[2].tolist() == [0, 1, -1, -1]
    assert batch.positions[3].tolist() == [0, 3, 5, 8]
    assert batch.frames[4, 1:].max() == 0
    assert torch.equal(batch.frames[2, :2], clips.clip(2))
    # Laid out as convolutions want it, without another copy.
    assert batch.frames.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_equally_long_clips_need_no_mask(table, strips):
    assert next(iter(loader(dataset(table[:2], strips), Batches(2, 2, shuffle=False)))).mask is None


def test_several_people_are_several_clips(table, strips):
    table = table[:2].assign(strip=[["v0.png", "v1.png"], ["v2.png"]])
    clips = dataset(table, strips)
    assert clips.video_ids == ["v0", "v0", "v1"]
    assert clips.persons == [0, 1, 0]
    assert clips.labels.tolist() == [0, 0, 1]


def test_draws_depend_on_seed_epoch_and_video_alone(table, strips):
    options = {"train": True, "train_frames": 3, **AUGMENTATION}
    clips = dataset(table, strips, **options)
    first = clips.clip(1, epoch=2)
    clips.clip(0, epoch=5)
    torch.rand(3)
    assert torch.equal(clips.clip(1, epoch=2), first)
    moved = dataset(table[::-1].reset_index(drop=True), strips, **options)
    assert torch.equal(moved.clip(4, epoch=2), first)
    assert not torch.equal(clips.clip(1, epoch=3), first)
    assert not torch.equal(dataset(table, strips, seed=1, **options).clip(1, epoch=2), first)


def test_loader_processes_change_nothing(table, strips):
    clips = dataset(table, strips, train=True, **AUGMENTATION)
    alone, together = (list(loader(clips, Batches(6, 2, shuffle=True, epoch=3), workers=workers)) for workers in (0, 2))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.index, other.index)


def test_train_frames_are_a_changing_subset_in_time_order(table, strips):
    clips = dataset(table, strips, train=True, train_frames=2)
    taken = set()
    for epoch in range(20):
        positions = collate([clips[Key(epoch, 3, True)]]).positions[0].tolist()
        assert positions == sorted(positions)
        assert len(positions) == 2
        taken.update(positions)
    assert taken == {0, 3, 5, 8}


@pytest.mark.parametrize(
    "strength",
    [
        {"flip": 1.0}, {"rotation": 20.0}, {"scale": 0.2}, {"color_jitter": 0.3}, {"downscale": 1.0}, {"blur": 1.0},
        {"jpeg": 1.0}, {"cutout": 1.0},
    ],
    ids=lambda strength: next(iter(strength)),
)  # fmt: skip
def test_all_frames_of_a_clip_share_the_draw(strength):
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 112, 112), dtype=np.uint8))
    changed = augment(picture.expand(3, -1, -1, -1).contiguous(), np.random.default_rng(1), strengths(**strength))
    assert changed.shape == (3, 3, 112, 112)
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed[0], picture)
    assert torch.equal(changed[0], changed[1])
    assert torch.equal(changed[0], changed[2])


def test_flip_mirrors_and_nothing_changes_nothing():
    clip = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE), dtype=np.uint8))
    assert torch.equal(augment(clip, np.random.default_rng(0), strengths(flip=1.0)), clip.flip(-1))
    assert torch.equal(augment(clip, np.random.default_rng(0), strengths()), clip)


def test_noise_differs_between_frames_and_keeps_the_mean():
    grey = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    noisy = augment(grey, np.random.default_rng(0), strengths(noise=1.0)).float()
    assert not torch.equal(noisy[0], noisy[1])
    assert abs(float(noisy.mean()) - 128) < 0.5


def test_switching_one_disturbance_on_shifts_no_other():
    clip = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE), dtype=np.uint8))
    mirrored = 0
    for seed in range(8):
        both = augment(clip, np.random.default_rng(seed), strengths(flip=0.5, rotation=20.0))
        flipped = augment(clip, np.random.default_rng(seed), strengths(flip=0.5))
        assert torch.equal(both, augment(flipped, np.random.default_rng(seed), strengths(rotation=20.0)))
        mirrored += not torch.equal(flipped, clip)
    assert 0 < mirrored < 8


def test_jpeg_keeps_colours_apart():
    red = torch.tensor([250, 10, 10], dtype=torch.uint8)[:, None, None].expand(2, 3, SIZE, SIZE)
    coded = augment(red, np.random.default_rng(0), strengths(jpeg=1.0))
    assert (coded.float() - red.float()).abs().max() < 12


@given(
    count=st.integers(0, 200), batch_size=st.integers(1, 40), world=st.integers(1, 4), seed=st.integers(0, 5),
    shuffle=st.booleans(),
)  # fmt: skip
def test_every_clip_counts_once_an_epoch(count, batch_size, world, seed, shuffle):
    shares = [
        list(Batches(count, batch_size, shuffle=shuffle, seed=seed, share=(rank, world))) for rank in range(world)
    ]
    assert len({tuple(len(step) for step in share) for share in shares}) == 1
    counted = [key.index for share in shares for step in share for key in step if key.counts]
    assert sorted(counted) == list(range(count))
    sizes = [len(step) for step in shares[0]]
    if sizes:
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1


def test_order_is_a_function_of_seed_and_epoch():
    batches = Batches(50, 8, shuffle=True, seed=3)
    first = list(batches)
    assert list(batches) == first
    batches.set_epoch(1)
    second = [key.index for step in batches for key in step]
    assert second != [key.index for step in first for key in step]
    assert second == [key.index for step in Batches(50, 8, shuffle=True, seed=3, epoch=1) for key in step]
    assert second != [key.index for step in Batches(50, 8, shuffle=True, seed=4, epoch=1) for key in step]


def test_a_familys_clips_follow_one_another(table, strips):
    clips = dataset(table.assign(source_video=["", "v0", "", "v0", "", "v4"]), strips)
    assert len(set(clips.families)) == 3
    assert clips.families[0] == clips.families[1] == clips.families[3]
    orders = set()
    for epoch in range(20):
        steps = Batches(6, 3, shuffle=True, seed=1, epoch=epoch, families=clips.families)
        order = [key.index for step in steps for key in step]
        assert sorted(order) == list(range(6))
        of = clips.families[order]
        assert (np.diff(of) != 0).sum() == 2  # three families, each in one piece
        orders.add(tuple(order))
    assert len(orders) > 3


def test_balanced_families_give_every_fake_its_real_clip(table, strips):
    sources = ["", "v0", "", "v0", "", "v4"]  # v2 is real and has no fake
    clips = dataset(table.assign(source_video=sources), strips)
    seen = np.zeros(6, int)
    for epoch in range(20):
        steps = Batches(6, 2, shuffle=True, epoch=epoch, families=clips.families, labels=clips.labels)
        order = [key.index for step in steps for key in step]
        assert len(order) == 6
        for real, fake in zip(order[::2], order[1::2], strict=True):
            assert (clips.labels[real], clips.labels[fake]) == (0, 1)
            assert sources[fake] == f"v{real}" or real == 2
        seen += np.bincount(order, minlength=6)
    assert (seen == 20).all()
    strangers = Batches(3, 4, shuffle=True, families=np.array([0, 1, 2]), labels=np.array([1, 1, 0]))
    order = [key.index for step in strangers for key in step]
    assert order[0] == order[2] == 2


def test_balanced_families_draw_real_clips_evenly_whether_or_not_they_have_fakes():
    """As Celeb-DF v1: most reals have no fake made from them, and some fakes have lost their source."""
    families = np.concatenate([np.arange(40), np.arange(15).repeat(5), np.arange(100, 110)])
    labels = np.concatenate([np.zeros(40, int), np.ones(85, int)])
    seen, together = np.zeros(125, int), []
    for epoch in range(40):
        order = np.concatenate(
            [[key.index for key in step] for step in Batches(
                125, 8, shuffle=True, epoch=epoch, families=families, labels=labels
            )]
        )  # fmt: skip
        assert len(order) == 125
        once = np.bincount(order, minlength=125)
        assert once[:40].max() - once[:40].min() <= 1
        seen += once
        real, fake = order[:-1:2], order[1::2]
        assert not labels[real].any() and labels[fake].all()
        together.append((families[real] == families[fake])[real < 15].mean())
    assert seen[:40].min() > 0.7 * seen[:40].max()
    assert seen[40:].min() > 0.5 * seen[40:].max()
    assert np.mean(together) == 1


def test_without_sources_every_clip_is_a_family(table, strips):
    assert len(set(dataset(table, strips).families)) == 6


def landmarks(ids: list[str], lengths: list[int]) -> pd.DataFrame:
    """Return a frames table: faces of about two thirds of the crop, slightly different in every frame."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    rows = []
    for name, length in zip(ids, lengths, strict=True):
        for position in range(length):
            radius = np.random.default_rng([int(name[1:]), position]).uniform(8, 11, (68, 1))
            points = 16 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            rows.append({"video_id": name, "person": 0, "position": position, "landmarks": points.ravel().tolist()})
    return pd.DataFrame(rows)


LENGTHS = [4, 4, 2, 9, 1, 4]


@pytest.fixture
def faces(pixels) -> pd.DataFrame:
    return landmarks(list(pixels), LENGTHS).sample(frac=1, random_state=0)  # the order of rows must not matter


def test_a_share_of_real_clips_becomes_fakes(table, strips, faces):
    clips = dataset(table, strips, train=True, self_blend=0.5, frames_table=faces)
    plain = dataset(table, strips, train=True)
    assert clips.blended == 0.5
    blended = 0
    for epoch in range(30):
        for index in range(6):
            _, frames, _, label = clips[Key(epoch, index, True)]
            changed = not torch.equal(frames, plain.clip(index, epoch))
            assert changed == (label != table["label"][index])
            assert label == 1 or not changed
            blended += changed
    assert 30 < blended < 60  # of 90 clips that are real
    assert clips.labels.tolist() == table["label"].tolist()  # the table's, which sampling goes by


def test_a_self_blend_is_a_function_of_seed_epoch_and_video(table, strips, faces):
    options = {"train": True, "self_blend": 0.5, "frames_table": faces, "train_frames": 3, **AUGMENTATION}
    clips = dataset(table, strips, **options)
    first = [clips[Key(epoch, 2, True)] for epoch in range(8)]
    assert {item[3] for item in first} == {0, 1}
    moved = dataset(table[::-1].reset_index(drop=True), strips, **options)
    for epoch in reversed(range(8)):
        _, frames, positions, label = moved[Key(epoch, 3, True)]
        assert torch.equal(frames, first[epoch][1])
        assert np.array_equal(positions, first[epoch][2])
        assert label == first[epoch][3]
    other = dataset(table, strips, seed=1, **options)
    assert [other[Key(epoch, 2, True)][3] for epoch in range(8)] != [item[3] for item in first]
    alone, together = (list(loader(clips, Batches(6, 3, shuffle=True, epoch=1), workers=workers)) for workers in (0, 1))
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.frames, two.frames)
        assert torch.equal(one.labels, two.labels)


def test_a_swap_takes_the_face_of_another_clip(table, strips, faces):
    options = {"train": True, "self_blend": 0.9, "frames_table": faces}
    alone, swapped = dataset(table, strips, **options), dataset(table, strips, swap=1.0, **options)
    moved = dataset(table[::-1].reset_index(drop=True), strips, swap=1.0, **options)
    differing = 0
    for epoch in range(8):
        one, other = alone[Key(epoch, 4, True)], swapped[Key(epoch, 4, True)]
        assert one[3] == other[3]
        assert torch.equal(other[1], moved[Key(epoch, 1, True)][1])
        differing += not torch.equal(one[1], other[1])
    assert differing > 4
    assert swapped.facts() != alone.facts()


def test_a_self_blend_is_consistent_over_its_frames(tmp_path):
    """Of a still picture with a still face, all frames are blended alike but for the flicker."""
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), (0, 0), 2)
    write_strip(tmp_path / "v0.png", np.stack([picture] * 4))
    still = landmarks(["v0"], [1])
    still = pd.concat([still.assign(position=t) for t in range(4)])
    table = pd.DataFrame({"video_id": ["v0"], "label": [0]})
    for seed in range(3):
        clips = dataset(table, tmp_path, train=True, self_blend=0.999, frames_table=still, seed=seed)
        frames = clips.clip(0).float()
        moved = (frames - torch.from_numpy(picture).permute(2, 0, 1)).abs().mean()
        assert (frames - frames[0]).abs().mean() < 0.5 * moved


def test_clips_without_landmarks_stay_real(table, strips, faces):
    some = faces[(faces["video_id"] != "v0") & ~((faces["video_id"] == "v2") & (faces["position"] == 1))]
    some = pd.concat([some, pd.DataFrame([{"video_id": "v2", "person": 0, "position": 1, "landmarks": []}])])
    clips = dataset(table, strips, train=True, self_blend=0.9, frames_table=some)
    assert clips.blended == pytest.approx(0.3)
    labels = {index: {clips[Key(epoch, index, True)][3] for epoch in range(20)} for index in (0, 2, 4)}
    assert labels == {0: {0}, 2: {0}, 4: {0, 1}}
    for nothing in (None, faces[faces["video_id"] == "v1"]):
        with pytest.raises(InputError, match=r"none of the 3 real training clips has them: set self_blend to 0"):
            dataset(table, strips, train=True, self_blend=0.9, frames_table=nothing)
    short = dataset(table, strips, train=True, self_blend=0.999, frames_table=landmarks(["v0"], [3]))
    with pytest.raises(InputError, match="has 4 frames, the frames table 3"):
        short.clip(0)


def test_nothing_is_blended_in_evaluation(table, strips, faces):
    clips = dataset(table, strips, self_blend=0.9, frames_table=faces, **AUGMENTATION)
    assert clips.blended == 0
    assert all(torch.equal(clips.clip(index, epoch=3), dataset(table, strips).clip(index)) for index in range(6))


def test_balanced_sampling_draws_both_classes_alike():
    labels = np.array([0] * 3 + [1] * 17)
    seen = np.zeros(20, int)
    for epoch in range(10):
        order = [key.index for step in Batches(20, 6, shuffle=True, epoch=epoch, labels=labels) for key in step]
        assert len(order) == 20
        counts = np.bincount(order, minlength=20)
        assert counts[:3].sum() == 10
        assert counts[:3].max() - counts[:3].min() <= 1
        assert counts[3:].max() == 1
        seen += counts
    assert seen.min() > 0
    shares = [list(Batches(20, 3, shuffle=True, labels=labels, share=(rank, 2))) for rank in range(2)]
    alone = [key.index for step in Batches(20, 6, shuffle=True, labels=labels) for key in step]
    assert sorted(key.index for share in shares for step in share for key in step if key.counts) == sorted(alone)
    one_class = [key.index for step in Batches(4, 2, shuffle=True, labels=np.ones(4, int)) for key in step]
    assert sorted(one_class) == [0, 1, 2, 3]


def test_balanced_class_weights_follow_what_an_epoch_shows():
    labels = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    assert class_weights(labels, "balanced", balanced_sampling=True) == (1.0, 1.0)
    assert class_weights(labels, "balanced", blended=0.5) == (4.0, pytest.approx(8 / 14))
    assert class_weights(labels, "balanced", blended=0.5, balanced_sampling=True) == (2.0, pytest.approx(2 / 3))
    assert class_weights(np.zeros(4, int), "balanced", blended=0.5) == (1.0, 1.0)
    with pytest.raises(InputError, match="leaves no real clip"):
        class_weights(labels, "none", blended=1.0)


def test_validation_weights_give_each_class_half_of_the_loss_whatever_training_draws():
    labels = np.repeat([0, 1], [2, 16])
    real, fake = validation_weights(labels, "balanced")
    assert 2 * real == pytest.approx(16 * fake)  # in training they follow self-blending and balanced sampling
    assert validation_weights(np.ones(3, int), "balanced") == (1.0, 1.0)
    assert validation_weights(labels, "none") == (1.0, 1.0)
    assert validation_weights(labels, "1.0,2.5") == (1.0, 2.5)


def test_class_weights():
    labels = np.array([0, 1, 1, 1])
    assert class_weights(labels, "balanced") == (2.0, pytest.approx(2 / 3))
    assert class_weights(labels, "none") == (1.0, 1.0)
    assert class_weights(labels, "1.0, 2.5") == (1.0, 2.5)


@pytest.mark.parametrize("text", ["", "even", "1.0", "1,2,3", "0,1", "-1,2", "nan,1", "inf,1"])
def test_class_weights_refuse_other_text(text):
    with pytest.raises(InputError, match="balanced, none, or two positive numbers"):
        class_weights(np.array([0, 1]), text)


def test_class_weights_need_both_classes():
    with pytest.raises(InputError, match="3 real and 0 fake"):
        class_weights(np.zeros(3, dtype=int), "none")


def test_a_missing_strip_is_named_before_anything_is_read(table, strips):
    with pytest.raises(InputError, match=r"1 strips are missing, .*gone\.png"):
        dataset(table.assign(video_id=["gone", *table["video_id"][1:]]), strips)


def test_broken_strips_and_other_sizes_are_refused(tmp_path, table):
    (tmp_path / "v0.png").write_bytes(b"")
    (tmp_path / "v1.png").write_text("not a picture")
    write_strip(tmp_path / "v2.png", np.zeros((2, 48, 48, 3), dtype=np.uint8))
    clips = dataset(table[:3], tmp_path)
    for index in range(3):
        with pytest.raises(InputError, match=f"v{index}.png"):
            clips.clip(index)


def test_an_unknown_augmentation_is_an_error(table, strips):
    with pytest.raises(InputError, match="flop"):
        dataset(table, strips, flop=0.5)
