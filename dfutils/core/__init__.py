"""Parameters, stage records, safe files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": ["InputError"],
        "files": ["write_table"],
        "parameter_files": ["from_notebook", "load_params"],
        "params": ["Params"],
        "stages": ["claim", "finish"],
    },
)
