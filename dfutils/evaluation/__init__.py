"""How good, where it fails, and why."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": ["mistakes"],
        "evaluate": ["measure"],
        "reference_scores": ["baselines"],
        "saliency": ["gradcam"],
        "scoring": ["score"],
    },
)
