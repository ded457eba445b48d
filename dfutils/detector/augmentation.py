"""Disturbances of training clips: what compression, bad cameras and clumsy cropping do to a face.

All frames of a clip share every draw, so that what moves between them is the face and not the disturbance; only the
grain of the noise differs, as it does in a camera.
"""

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from dfutils.core.params import AugmentationSettings
from dfutils.faces import video

_GREY = (124, 116, 104)
"""ImageNet's mean colour, which normalisation turns into zero."""

_DRAWS = (
    "flip", "rotation", "scale", "brightness", "contrast", "saturation", "downscale", "downscale_factor", "blur",
    "blur_sigma", "noise", "noise_sd", "jpeg", "jpeg_quality", "cutout", "cutout_w", "cutout_h", "cutout_x", "cutout_y",
    "h264", "h264_crf", "h264_size",
)  # fmt: skip


def augment(frames: torch.Tensor, rng: np.random.Generator, strengths: AugmentationSettings) -> torch.Tensor:
    """Return a disturbed copy of a clip; all of its frames share the draws, except the grain of the noise.

    Shrinking is by 1 to 4 times; a Gaussian blur has a standard deviation of 0.3 to 2 pixels in a crop of 112; Gaussian
    noise one of 1 to 10 of 255 grey levels; JPEG has quality 30 to 95; H.264 has CRF 18 to 40, at .5 to 1.25 times the
    size of the crop; the grey rectangle's sides are 10 to 40% of the crop's.

    Args:
        frames: uint8 `(T, 3, S, S)`.
        rng: source of the draws; each disturbance's draw is the same whatever the strengths of the others are.
        strengths: of each disturbance; `self_blend` and `swap` are not for here.
    """
    # All are drawn, used or not, so that switching one on shifts no other.
    u = dict(zip(_DRAWS, rng.random(len(_DRAWS)), strict=True))
    size = frames.shape[-1]
    if u["flip"] < strengths.flip:
        frames = vision.horizontal_flip(frames)
    if strengths.rotation or strengths.scale:
        angle, zoom = strengths.rotation * (2 * u["rotation"] - 1), 1 + strengths.scale * (2 * u["scale"] - 1)
        frames = vision.affine(frames, angle, [0, 0], zoom, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    if strengths.color_jitter:
        frames = vision.adjust_brightness(frames, 1 + strengths.color_jitter * (2 * u["brightness"] - 1))
        frames = vision.adjust_contrast(frames, 1 + strengths.color_jitter * (2 * u["contrast"] - 1))
        frames = vision.adjust_saturation(frames, 1 + strengths.color_jitter * (2 * u["saturation"] - 1))
    if u["downscale"] < strengths.downscale:
        small = max(round(size / (1 + 3 * u["downscale_factor"])), 1)
        frames = vision.resize(vision.resize(frames, [small, small], antialias=True), [size, size], antialias=True)
    if u["blur"] < strengths.blur:
        sigma = (0.3 + 1.7 * u["blur_sigma"]) * size / 112
        kernel = 2 * int(np.ceil(2 * sigma)) + 1
        frames = vision.gaussian_blur(frames, [kernel, kernel], [sigma, sigma])
    if u["noise"] < strengths.noise:
        grain = torch.from_numpy(rng.standard_normal(frames.shape, dtype=np.float32)) * (1 + 9 * u["noise_sd"])
        frames = (frames + grain).round_().clamp_(0, 255).to(torch.uint8)
    if u["jpeg"] < strengths.jpeg:
        quality = int(30 + 65 * u["jpeg_quality"])
        coded = [
            video.jpeg(frame.permute(1, 2, 0).numpy(), quality) for frame in frames
        ]  # torchvision's codecs go away
        frames = torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2)
    if u["h264"] < strengths.h264:
        side = 2 * round(size * (0.5 + 0.75 * u["h264_size"]) / 2)
        coded = vision.resize(frames, [side, side], antialias=True).permute(0, 2, 3, 1).contiguous().numpy()
        back = video.compress(coded, int(18 + 23 * u["h264_crf"]))
        frames = vision.resize(torch.from_numpy(back).permute(0, 3, 1, 2), [size, size], antialias=True)
    if u["cutout"] < strengths.cutout:
        w, h = (max(round(size * (0.1 + 0.3 * u[side])), 1) for side in ("cutout_w", "cutout_h"))
        x, y = int(u["cutout_x"] * (size - w + 1)), int(u["cutout_y"] * (size - h + 1))
        grey = torch.tensor(_GREY, dtype=torch.uint8)[:, None, None].expand(3, h, w)
        frames = vision.erase(frames, y, x, h, w, grey)
    return frames
