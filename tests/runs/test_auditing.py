"""What `tfgen-audit` reads before it audits."""

import numpy as np
import pytest
from PIL import Image

from tfgen.errors import CheckpointError
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


def trained(workdir, **model):
    """An audit of digits whose network was trained, and what it said of that."""
    config = dict(
        model=dict(name="small_cnn", options={"width": 2}, **{"epochs": 1, **model}),
        data=dict(name="digits"),
        threat_model=dict(
            batch_norm_mode="eval",
            batch_norm_statistics="none",
            labels="restored",
            batch_size="known",
        ),
        attacks={"one": {"num_steps": 1, "num_seeds": 1}},
        audit=dict(batch_sizes=(2,)),
    )
    auditing, said = Auditing(complete(config)), []
    auditing.prepare(said.append, verbose=0, workdir=workdir)
    return auditing, said


def test_an_audit_that_goes_on_takes_its_trained_network(tmp_path, monkeypatch):
    first, said = trained(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Auditing, "_fit", None)  # nothing is trained again
        again, repeated = trained(tmp_path)
    assert said == repeated
    assert "training accuracy" in said[0]
    assert first._training == again._training
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.model.loss is not None  # attacks differentiate the loss of a compiled model
    with pytest.raises(CheckpointError, match="other model"):
        trained(tmp_path, learning_rate=0.5)
