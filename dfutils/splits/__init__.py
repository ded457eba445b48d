"""Who may be in which split, and what leaks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "division": ["POLICIES", "divide"],
        "leakage": ["audit", "embed"],
        "policies": ["assign", "hold_out"],
    },
)
