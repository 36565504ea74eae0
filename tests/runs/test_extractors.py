"""Extractors of features that a flag names: a network, or one sentence."""

import keras
import numpy as np
import pytest
from irregular import irregular_files

from tfgen.errors import DataError
from tfgen.runs.quality import extractor_from


def test_a_keras_model_is_one(tmp_path):
    path = tmp_path / "small.keras"
    keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()]).save(path)
    extractor = extractor_from(str(path))
    assert extractor(np.zeros((2, 4, 4, 1), np.float32)).shape == (2, 16)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("content", [b"", b"junk", b"PK\3\4 cut", b"\x89HDF\r\n\x1a\n cut"])
def test_what_is_no_network(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\{suffix} (is no Keras model|do not fit)"):
        extractor_from(str(path))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_is_no_regular_file(tmp_path, suffix):
    for found in irregular_files(tmp_path).values():
        link = tmp_path / f"a{suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(found)
        with pytest.raises(DataError, match="expected a regular file"):
            extractor_from(str(link))
