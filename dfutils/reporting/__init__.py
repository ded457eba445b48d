"""Figures, tables and pages."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data_report": ["DatasetReport", "FacesReport", "SplitReport"],
        "error_report": ["ErrorReport"],
        "evaluation_report": ["EvaluationReport", "RobustnessReport"],
        "training_report": ["TrainingReport"],
        "wording": ["caution"],
    },
)
