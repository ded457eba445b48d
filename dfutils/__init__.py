"""Find deepfake videos, say how sure, and show where the detector fails."""

__version__ = "0.1.0"
