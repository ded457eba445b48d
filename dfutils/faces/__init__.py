"""A video in, strips of its people's faces out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "batch": ["preprocess"],
        "extraction": ["FaceClip", "extract"],
        "strips": ["load_strip"],
        "video": ["frames", "probe"],
    },
)
