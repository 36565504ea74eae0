"""NVAE in every format, its statistics away from their start so that folding is put to the test."""

import numpy as np
import pytest

import tfgen
from tfgen import export

TINY = {
    "image_shape": (8, 8, 1),
    "padding": 0,
    "num_channels": 4,
    "num_groups": 1,
    "latent_channels": 3,
    "encoder_cells": 1,
    "decoder_cells": 1,
    "preprocess_blocks": 1,
    "preprocess_cells": 1,
    "postprocess_blocks": 1,
    "postprocess_cells": 1,
}
OTHERS = {
    "colour": {
        "image_shape": (8, 12, 3),
        "decoder": "logistic_mixture",
        "num_mixtures": 3,
        "num_flows": 1,
    },
    "five_bits": {"decoder": "logistic_mixture", "num_bits": 5, "num_mixtures": 2},
    "normal": {"image_shape": (12, 12, 2), "padding": 2, "decoder": "normal"},
    "vanilla": {"num_scales": 1, "num_groups": 1},
    "elu": {"architecture": "res_elu", "squeeze_excite": False},
    "grouped": {"architecture": "mbconv_den", "num_channels": 8},
}


def shaken_nvae(**options):
    """An NVAE whose every weight and statistic is away from its initial value."""
    model = tfgen.NVAE(**{**TINY, **options})
    model.build((None, *model.image_shape))
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            variable.assign(variable * rng.uniform(0.7, 1.3, variable.shape))
    return model


def export_and_report(model, folder, formats):
    return export.export_all(model, str(folder), "nvae", formats=formats, num_examples=2)


def test_every_format(tmp_path):
    model = shaken_nvae()
    for report in export_and_report(model, tmp_path, export.FORMATS):
        assert report.max_difference <= 1e-4 or "float32" not in report.target
        assert report.max_difference <= report.tolerance


def test_a_model_of_mixed_precision_leaves_in_float32(tmp_path):
    model = shaken_nvae(dtype="mixed_bfloat16", num_scales=1)
    (report,) = export_and_report(model, tmp_path, ["onnx"])
    assert report.max_difference <= 1e-4
    assert model.compute_dtype == "bfloat16"


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_decoders_and_cells(name, tmp_path):
    formats = ("saved_model", "litert_float32", "onnx")
    for report in export_and_report(shaken_nvae(**OTHERS[name]), tmp_path, formats):
        assert report.max_difference <= 1e-4
