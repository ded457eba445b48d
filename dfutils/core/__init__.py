"""Parameters, stage records, safe files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": ["InputError"],
        "experiments": ["claim", "from_notebook", "headline"],
        "files": ["write_table"],
        "parameter_files": ["load_params"],
        "params": ["Params"],
        "stages": ["finish"],
    },
)
