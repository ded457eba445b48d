"""The network, its clips and its fitting."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clips": ["ClipDataset"],
        "experiment": ["fit_ablation", "fit_experiment", "fit_views", "load_clips", "new_detector", "save_detector"],
        "frozen": ["frozen_features"],
        "network": ["Detector"],
        "training": ["fit"],
    },
)
