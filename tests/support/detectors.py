"""Detectors with random weights."""

from typing import Any

from dfutils.core.params import NetworkSettings
from dfutils.detector.network import Detector


def untrained(**settings: Any) -> Detector:
    """Return a detector of these settings that needs no network."""
    return Detector(NetworkSettings(**{"pretrained": "none", **settings}))
