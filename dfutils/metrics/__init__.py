"""Figures with intervals, from labels and scores alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "calibration": ["choose_threshold", "fit_calibration"],
        "figures": ["confusion", "paired_difference", "summary"],
        "slices": ["by_slice"],
    },
)
