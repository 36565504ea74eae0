"""Deep generative models, fast networks and trustworthy gradients for TensorFlow and Keras.

The public names load on first use, so that `import tfgen` costs nothing.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "Fromage": "tfgen.optimizers",
    "GradientAudit": "tfgen.privacy",
    "GradientInversion": "tfgen.privacy",
    "LSGM": "tfgen.generative.lsgm",
    "MultiTaskOOD": "tfgen.ood",
    "NCPVAE": "tfgen.generative.ncp",
    "NVAE": "tfgen.generative.nvae",
    "PhraseGrounding": "tfgen.grounding",
    "VAEBM": "tfgen.generative.vaebm",
    "from_preset": "tfgen.systems.presets",
}
_ROOMS = (
    "data",
    "distributions",
    "errors",
    "export",
    "files",
    "generative",
    "grounding",
    "layers",
    "metrics",
    "ood",
    "ops",
    "optimizers",
    "privacy",
    "samplers",
    "training",
)

__all__ = sorted([*_PUBLIC, *_ROOMS, "__version__"])


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"tfgen.{name}")
    raise AttributeError(f"module 'tfgen' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
