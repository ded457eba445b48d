"""Fakes made here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "face_swap": ["METHODS", "self_blend", "swap"],
        "sample": ["build_sample"],
    },
)
