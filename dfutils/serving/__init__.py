"""One video to an explained verdict, for a person or a program."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "web_page": ["serve"],
        "verdict": ["Verdict", "predict_video"],
        "verdict_report": ["VerdictReport"],
    },
)
