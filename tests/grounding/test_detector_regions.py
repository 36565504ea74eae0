"""Regions by detectors of KerasHub: small ones with random weights go the way of large ones."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.grounding import PhraseGrounding
from tfgen.grounding.regions import DetectorRegions
from tfgen.grounding.regions.roi_align import roi_align

hub = pytest.importorskip("keras_hub")
SHAPE = (128, 128, 3)


@pytest.fixture(scope="module")
def retinanet():
    encoder = hub.models.ResNetBackbone(
        [64], [3], [64, 64, 64], [1, 1, 1], [1, 2, 2], "basic_block", use_pre_activation=False,
        image_shape=SHAPE,
    )  # fmt: skip
    backbone = hub.models.RetinaNetBackbone(encoder, 3, 4, False, image_shape=SHAPE)
    decoder = hub.layers.NonMaxSuppression("xyxy", True, 0.5, 1e-6, max_detections=40)
    detector = hub.models.RetinaNetObjectDetector(
        backbone, 3, "xyxy", pre_logits_num_conv_layers=1, prediction_decoder=decoder
    )
    for weight in detector.box_head.weights:  # boxes are the anchors, not all outside the picture
        weight.assign(tf.zeros_like(weight))
    return detector


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (96, 192, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def regions(retinanet):
    return DetectorRegions(retinanet, num_regions=12)


@pytest.fixture(scope="module")
def found(regions, picture):
    return regions(picture)


def test_boxes_are_in_pixels_of_the_picture(retinanet, picture, found):
    assert found.image_size == (96, 192)
    assert len(found.boxes) == len(found.features) == 12
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2:] <= [191, 95]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert found.features.shape[1] == retinanet.backbone.output["P3"].shape[-1]
    # The detector's own answer, of the picture as it sees it.
    small = tf.image.resize(picture[None].astype(np.float32) / 255, SHAPE[:2], antialias=True)
    own = retinanet.decode_predictions(retinanet(small), small)
    assert found.scores[0] == pytest.approx(float(tf.reduce_max(own["confidence"])), rel=1e-3)


def test_features_are_crops_of_the_level_of_a_box_s_size(regions):
    levels = [np.random.default_rng(n).normal(size=(1, 16 >> n, 16 >> n, 4)).astype(np.float32)
              for n in range(2)]  # fmt: skip
    edges = np.float32([[0, 0, 20, 20], [0, 0, 128, 128], [8, 8, 120, 127]])
    made = regions._features([tf.constant(level) for level in levels], edges)
    for row, (level, stride) in enumerate(((0, 8), (0, 8), (0, 8))):
        crop = roi_align(tf.constant(levels[level]), edges[None, row : row + 1], 7, 1 / stride)
        np.testing.assert_allclose(made[row], np.mean(crop[0, 0], (0, 1)), atol=1e-5)
    wide = np.float32([[0, 0, 224, 224], [0, 0, 223, 223]])  # the published rule's own edge
    made = regions._features([tf.constant(level) for level in levels], wide)
    crop = roi_align(tf.constant(levels[1]), wide[None, :1], 7, 1 / 16)
    np.testing.assert_allclose(made[0], np.mean(crop[0, 0], (0, 1)), atol=1e-5)
    crop = roi_align(tf.constant(levels[0]), wide[None, 1:], 7, 1 / 8)
    np.testing.assert_allclose(made[1], np.mean(crop[0, 0], (0, 1)), atol=1e-5)


def test_a_picture_in_which_nothing_is_found(regions):
    whole = [[0, 0, 128, 128]]
    assert regions._kept(np.zeros((3, 4)), np.zeros(3), 0)[0].tolist() == whole
    outside = np.float32([[-50, 3, -10, 9], [200, 3, 220, 9], [5, 5, 5, 9]])
    boxes, scores = regions._kept(outside, np.float32([0.9, 0.8, 0.7]), 3)
    assert boxes.tolist() == whole
    assert scores.tolist() == [0]
    boxes, scores = regions._kept(np.float32([[-9, 4, 9, 200]]), np.float32([0.5]), 1)
    assert boxes.tolist() == [[0, 4, 9, 128]]


def test_a_model_grounds_in_them(found):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog"]
    model = PhraseGrounding(
        found.features.shape[1], dims=4, word_encoder=dict(vocabulary=words, dims=4)
    )
    (phrase,) = model.ground(caption="a dog", regions=found.features, boxes=found.boxes)
    assert phrase.box.tolist() in found.boxes.tolist()


@pytest.mark.slow
def test_d_fine(picture):
    encoder = hub.models.HGNetV2Backbone(
        depths=[1, 1, 1, 1], embedding_size=8, hidden_sizes=[16, 16, 32, 32],
        stem_channels=[3, 8, 8], hidden_act="relu", use_learnable_affine_block=True,
        stackwise_stage_filters=[[8, 8, 16, 1, 1, 3], [16, 8, 16, 1, 1, 3],
                                 [16, 8, 32, 1, 1, 3], [32, 8, 32, 1, 1, 3]],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        image_shape=SHAPE, out_features=["stage3", "stage4"],
    )  # fmt: skip
    backbone = hub.models.DFineBackbone(
        backbone=encoder, decoder_in_channels=[16, 16], encoder_hidden_dim=16, num_labels=3,
        num_denoising=0, hidden_dim=16, learn_initial_query=False, num_queries=20,
        anchor_image_size=SHAPE[:2], feat_strides=[16, 32], num_feature_levels=2,
        encoder_in_channels=[32, 32], encode_proj_layers=[1], num_attention_heads=2,
        encoder_ffn_dim=16, num_encoder_layers=1, hidden_expansion=0.34, depth_multiplier=0.5,
        eval_idx=-1, num_decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=16,
        decoder_n_points=[2, 2], lqe_hidden_dim=8, num_lqe_layers=1,
        out_features=["stage3", "stage4"], image_shape=SHAPE,
    )  # fmt: skip
    decoder = hub.layers.NonMaxSuppression("yxyx", True, 0.9, 1e-6, max_detections=20)
    detector = hub.models.DFineObjectDetector(
        backbone, num_classes=3, bounding_box_format="yxyx", prediction_decoder=decoder
    )
    found = DetectorRegions(detector, num_regions=6)(picture)
    assert len(found.boxes) > 1
    assert found.features.shape == (len(found.boxes), 16)
    assert np.isfinite(found.features).all()


def test_what_is_no_detector():
    with pytest.raises(ConfigError, match=r"expected a RetinaNetObjectDetector"):
        DetectorRegions(lambda image: image)


def test_pictures_of_any_size_need_one(retinanet):
    with pytest.raises(ConfigError, match=r"give image_shape"):
        DetectorRegions(retinanet, (None, None, 3))


def test_a_preset_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"of ObjectDetector cannot be loaded"):
        DetectorRegions.from_preset(str(tmp_path / "none"))


def test_no_picture(regions):
    with pytest.raises(DataError, match=r"the image has shape"):
        regions(np.zeros((2, 2, 5), np.uint8))
