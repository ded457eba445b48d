"""How good, where it fails, and why."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "error_analysis": ["ErrorAnalysis"],
        "errors": ["mistakes"],
        "evaluate": ["measure"],
        "evaluation": ["Evaluation", "calibrate", "score_splits"],
        "experiment": ["Experiment"],
        "reference_scores": ["baselines"],
        "robustness": ["RobustnessTest"],
        "saliency": ["gradcam"],
        "scoring": ["score"],
    },
)
