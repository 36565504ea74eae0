"""KerasHub, which is an extra: its module, and its presets with one sentence where they fail."""

import os
from typing import Any

from tfgen.errors import UserError


def keras_hub():
    """KerasHub, a module.

    Raises:
        UserError: it is not installed.
    """
    try:
        import keras_hub as hub
    except ImportError as error:
        raise UserError(
            "BERT and detectors need KerasHub; pip install 'tfgen[grounding]', or learn words "
            "along with word_encoder= and take windows with region_features="
        ) from error
    return hub


def from_preset(kind: str, preset: str | os.PathLike) -> Any:
    """What a class of KerasHub makes of a preset.

    Args:
        kind: string, the name of a class of `keras_hub.models`.
        preset: string, a name that KerasHub fetches, or the path of a folder that `save_to_preset`
            wrote.

    Raises:
        UserError: KerasHub is not installed, or the preset is not to be had.
    """
    hub = keras_hub()
    try:
        return getattr(hub.models, kind).from_preset(str(preset))
    except Exception as error:  # of the network, of the folder, of its files
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"the preset {str(preset)!r} of {kind} cannot be loaded ({line}); give the path of a "
            "folder with its weights, or a name where there is a network"
        ) from error
