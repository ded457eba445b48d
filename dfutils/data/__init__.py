"""Which videos, with which labels, and how to get them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "catalog": ["index", "load", "pool_faces"],
        "indexing": ["check", "fingerprint", "fingerprints", "pool"],
        "layouts": ["LAYOUTS"],
        "obtaining": ["obtain"],
        "selection": ["choose"],
    },
)
