"""What `tfgen-audit` reads before it audits."""

import numpy as np
import pytest
from PIL import Image

from tfgen.runs.auditing import Auditing, complete


@pytest.mark.parametrize("num_images", [4, 7])
def test_pictures_without_labels_get_some(tmp_path, num_images):
    # More of them than classes too.
    rng = np.random.default_rng(0)
    for number in range(num_images):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    config = dict(
        model=dict(name="small_cnn", options={"width": 2}),
        data=dict(name=f"folder:{tmp_path}", split="all", image_size=8, num_classes=3),
        threat_model=dict(
            batch_norm_mode="eval",
            batch_norm_statistics="none",
            labels="restored",
            batch_size="known",
        ),
        attacks={"one": {"num_steps": 1}},
        audit=dict(batch_sizes=(2,)),
    )
    labels = Auditing(complete(config))._labels
    assert labels.shape == (num_images,)
    assert np.unique(labels).tolist() == [0, 1, 2]
