"""A small untrained detector, a video without a face, and the faces of a real clip."""

from pathlib import Path

import numpy as np
import pytest

from dfutils.detector.network import Detector
from dfutils.faces import video
from dfutils.faces.extraction import VideoFaces, find_faces
from dfutils.serving import hub
from tests.support.served import small_detector


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return small_detector(tmp_path_factory.mktemp("model") / "detector")


@pytest.fixture(scope="module")
def detector(folder) -> Detector:
    return hub.load(folder)


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("blank") / "blank.mp4"
    video.write(path, [np.full((96, 128, 3), 90, np.uint8)] * 12)
    return path


@pytest.fixture(scope="module")
def seen(clips_dir, detector) -> VideoFaces:
    return find_faces(clips_dir / "d18.mp4", detector.face_settings)
