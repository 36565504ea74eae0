"""The model: batches and losses by closed forms, weights of tasks, backbones."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_detector import CNN, DATA, IMAGES, LABELS, RNG, fitted, make

from tfgen.errors import ConfigError, DataError, plain_user_errors
from tfgen.ood import MultiTaskOOD, scores
from tfgen.ood.backbones import build_backbone
from tfgen.ood.multi_task.tasks import Copies, Task
from tfgen.ood.transformations import build, build_all


@pytest.fixture(scope="module")
def model():
    return fitted()


def losses(model, **kwargs):
    found = model.losses_of(model.outputs(DATA["images"]), DATA["labels"], **kwargs)
    return {name: value.numpy() for name, value in found.items()}


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shared", "count"), [(False, 104), (True, 80)])
def test_transformed_batches_are_of_the_right_size(shared, count):
    tasks = [Task(t, 1.0, 0.0) for t in build_all(["rotation", "cutout", "blur"], (8, 8, 1))]
    copies = Copies(tasks, plain=True, shared=shared)
    made = copies.make(tf.constant(IMAGES))
    assert made.shape == (count, 8, 8, 1)
    for task in tasks:
        rows = copies.of_task(tf.split(made, copies.count), task.name)
        assert rows.shape[0] == 8 * task.transformation.num_levels  # each level has the whole batch
        np.testing.assert_array_equal(rows[:8], IMAGES)
        stacked = task.transformation(tf.constant(IMAGES))
        np.testing.assert_array_equal(rows, tf.reshape(stacked, rows.shape))
    assert make(share_identity=shared).images_per_example() * 8 == count


def test_without_classes_the_image_itself_is_one_of_the_levels():
    assert make(num_classes=None).images_per_example() == 1 + 3 + 4 + 2
    assert make(num_classes=None, share_identity=False).images_per_example() == 4 + 5 + 3


def test_sharing_levels_changes_no_loss():
    unshared = Copies(make().network.tasks, plain=True, shared=False)
    model = make()
    features, _ = model.network.features(unshared.make(DATA["images"]))
    outputs = model.network.outputs(features, unshared)
    found = model.losses_of(outputs, DATA["labels"])
    for name, value in losses(model).items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "loss"),
    [
        ("flip", 0.693147),
        ("blur", 1.098612),
        ("rotation", 1.386294),
        ("cutout", 1.609438),
        ("translation", 1.098612),
        ({"name": "translation", "joint": True}, 2.197225),
    ],
)
def test_heads_that_know_nothing(spec, loss):
    model = make([spec], None)
    head = model.heads[0].layers[-1]
    head.kernel.assign(0.0 * head.kernel)
    outputs = model.outputs(DATA["images"])
    np.testing.assert_allclose(outputs["task_losses"][:, 0], loss, atol=1e-6)
    np.testing.assert_allclose(model.difficulty(outputs), 1.0, atol=1e-6)


def test_losses_match_float64(model):
    outputs = {name: np.float64(value) for name, value in model.outputs(DATA["images"]).items()}

    def surprise(logits, labels):
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]

    found = losses(model)
    np.testing.assert_allclose(
        found["main"], surprise(outputs["logits"], LABELS), rtol=1e-5, atol=1e-6
    )
    for name, count in (("rotation", 4), ("cutout", 5), ("blur", 3)):
        levels = np.tile(np.arange(count), (8, 1))
        wanted = surprise(outputs[f"ssl_{name}"], levels).mean(1)
        np.testing.assert_allclose(found[f"ssl_{name}"], wanted, rtol=1e-5, atol=1e-6)
        classes = np.tile(LABELS[:, None], (1, count))
        wanted = surprise(outputs[f"supervised_{name}"], classes).mean(1)
        np.testing.assert_allclose(found[f"supervised_{name}"], wanted, rtol=1e-5, atol=1e-6)
    total, logs = model.total({k: tf.constant(v) for k, v in found.items()})
    means = {k: v.mean() for k, v in found.items()}
    ssl = sum(v for k, v in means.items() if k.startswith("ssl_")) / 3
    supervised = sum(v for k, v in means.items() if k.startswith("supervised_")) / 3
    np.testing.assert_allclose(total, means["main"] + ssl + supervised, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        [logs["ssl"], logs["supervised"]], [ssl, supervised], rtol=1e-5, atol=1e-6
    )


def test_smoothing_and_labels_that_are_no_class():
    model = make(("flip",), label_smoothing=0.1)
    logits = np.float64(model.outputs(DATA["images"])["logits"])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -(0.9 * log_p[np.arange(8), LABELS] + 0.1 * log_p.mean(-1))
    np.testing.assert_allclose(losses(model)["main"], wanted, rtol=1e-5)
    wrong = model.losses_of(model.outputs(DATA["images"]), tf.constant([4] * 8))
    assert not np.any(np.isfinite(wrong["main"]))
    small = make(("flip",), 3)
    small.compile("sgd", run_eagerly=True)
    with pytest.raises(DataError, match="none of the 3 classes"):
        small.fit(IMAGES, LABELS, verbose=0)
    traced = tf.function(lambda labels: small._labels_of({"labels": labels}), autograph=False)
    with pytest.raises(DataError, match="none of the 3 classes"), plain_user_errors():
        traced(tf.constant([0, 3]))
    with pytest.raises(DataError, match="no 'labels'"):
        model.training_loss(model.batch_of(IMAGES))


def gradients(model):
    with tf.GradientTape() as tape:
        loss = model.training_loss(DATA).loss
    shared = [*model.backbone.trainable_variables, *model.main_head.trainable_variables]
    return loss, [g.numpy() for g in tape.gradient(loss, shared)]


@pytest.mark.parametrize("num_classes", [4, None])
def test_a_weight_of_zero_removes_the_task_and_its_compute(num_classes):
    options = {} if num_classes is None else {"supervised_weights": [1.0, 0.0, 0.5]}
    zero = make(("rotation", "noise", "flip"), num_classes, ssl_weights=[2.0, 0.0, 1.0], **options)
    options = {} if num_classes is None else {"supervised_weights": [1.0, 0.5]}
    less = make(("rotation", "flip"), num_classes, ssl_weights=[2.0, 1.0], **options)
    assert zero.images_per_example() == less.images_per_example()
    assert zero.num_parameters == less.num_parameters
    zero.main_head = zero.main_head or zero.backbone
    less.main_head = less.main_head or less.backbone
    (loss, found), (same, wanted) = gradients(zero), gradients(less)
    assert loss == same
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_loss_is_linear_in_every_weight():
    def loss(weight):
        model = make(ssl_weights={"rotation": weight, "blur": 0.3}, supervised_weights=0.7)
        found = model.losses_of(model.outputs(DATA["images"]), DATA["labels"])
        return float(model.total(found)[0])

    found = np.array([loss(weight) for weight in (1.0, 2.0, 4.0)])
    np.testing.assert_allclose(found[2] - found[1], 2 * (found[1] - found[0]), rtol=1e-5)


def test_a_refused_step_leaves_batch_norms_alone(model):
    backbone = make().backbone
    before = [v.numpy() for v in backbone.non_trainable_variables]
    model = make()
    output = model.training_loss(DATA)
    moved = {v.path: value for v, value in output.updates}
    assert len(moved) == len(model.backbone.non_trainable_variables)
    for variable, start in zip(model.backbone.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, start)
        assert np.abs(moved[variable.path] - start).max() > 0
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.train_on_batch(np.float32(IMAGES), LABELS)
    for variable in model.backbone.non_trainable_variables:
        np.testing.assert_allclose(variable, moved[variable.path], atol=1e-5)


# -- backbones, and what is refused ----------------------------------------------------------------


def test_any_backbone_and_what_is_said_of_its_batch_norms(tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.5))(inputs)
    own = keras.Model(inputs, x)
    model = MultiTaskOOD(own, ("flip",), (8, 8, 1), 4)
    output = model.training_loss(DATA)
    plain = model.total(model.losses_of(model.outputs(DATA["images"]), DATA["labels"]))[0]
    penalty = 0.5 * float(tf.reduce_sum(own.layers[1].kernel ** 2))
    np.testing.assert_allclose(output.loss, float(plain) + penalty, rtol=1e-5)
    again = MultiTaskOOD.from_config(json.loads(json.dumps(model.get_config())))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.ood_score(IMAGES, "main"), model.ood_score(IMAGES, "main"))

    lagging = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    with pytest.warns(UserWarning, match="momentum 0.99.*lag behind"):
        MultiTaskOOD(lagging, ("flip",), (8, 8, 1), 4)
    flat = keras.Model(inputs, keras.layers.Reshape((-1, 4))(x))
    with pytest.raises(ConfigError, match=r"expected \[B, features\]"):
        MultiTaskOOD(flat, ("flip",), (8, 8, 1), 4)
    with pytest.raises(ConfigError, match="does not take images of shape"):
        MultiTaskOOD(own, ("flip",), (8, 8, 3), 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_classes=1), "num_classes is 1; expected at least 2"),
        (dict(transformations=(), num_classes=None), "nothing to learn"),
        (dict(num_classes=None, supervised_weights=1.0), "there are no classes"),
        (dict(ssl_weights=[1.0]), "1 numbers for 3 transformations"),
        (dict(ssl_weights=[1.0, -1.0, 1.0]), "'cutout' is -1.0"),
        (dict(ssl_weights={"rotations": 1.0}), "names 'rotations'"),
        (dict(ssl_weights=float("nan")), "expected a finite number"),
        (dict(flip=True, transformations=("flip",)), "leave one of the two out"),
        (dict(std=0.0), "std is 0.0"),
        (dict(score="ssl", ssl_weights=0.0), "score is 'ssl'"),
        (dict(image_shape=(8, 8)), r"expected \(H, W, C\)"),
        (dict(task_score_weights="all"), "task_score_weights is 'all'"),
        (dict(backbone="resnet"), "backbone is 'resnet'"),
        (dict(backbone={"name": "small_cnn", "widths": [4]}), "as many of one as of the other"),
        (dict(other_scores=["knn"]), "'knn' came as a score; expected one that was made"),
        (dict(other_scores=[scores.KLToUniform(name="main")]), "two scores are called 'main'"),
    ],
)
def test_mistakes_of_construction(options, message):
    arguments = dict(
        backbone=CNN,
        transformations=("rotation", "cutout", "blur"),
        image_shape=(8, 8, 1),
        num_classes=4,
    )
    with pytest.raises(ConfigError, match=message):
        MultiTaskOOD(**{**arguments, **options})


def test_the_classifier_alone():
    model = make(mean=[0.3], std=[0.2])
    classifier = model.classifier()
    np.testing.assert_allclose(classifier(IMAGES), model.outputs_of(IMAGES)["logits"], atol=1e-5)
    with pytest.raises(ConfigError, match="has no classes"):
        make(num_classes=None).classifier()


def test_shortcuts_are_convolutions_with_a_stride():
    backbone = build_backbone({"name": "resnet18", "width": 4}, (9, 9, 3))
    x = keras.Input((9, 9, 4))
    pool = backbone.get_layer("stage1_block0_every_second")
    conv = backbone.get_layer("stage1_block0_shortcut_conv")
    images = RNG.standard_normal((2, 9, 9, 4)).astype(np.float32)
    found = keras.Model(x, conv(pool(x)))(images)
    wanted = tf.nn.conv2d(images, conv.kernel, 2, "SAME")
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_published_size():
    backbone = MultiTaskOOD("resnet18", (), (32, 32, 3), 10)
    assert backbone.num_parameters == 11_173_962
    own = sum(int(np.prod(v.shape)) for v in backbone.backbone.trainable_variables)
    assert own == 11_168_832


def test_levels_are_those_of_the_task(model):
    assert build("rotation").num_levels == model.outputs(DATA["images"])["ssl_rotation"].shape[1]


@pytest.mark.parametrize("form", ["column", "one-hot"])
def test_labels_of_other_forms_are_the_same_labels(form):
    model = MultiTaskOOD(CNN, ["flip"], (8, 8, 3), 3)
    numbers = np.arange(6) % 3
    labels = numbers[:, None] if form == "column" else np.eye(3, dtype=np.float32)[numbers]
    images = np.random.default_rng(0).random((6, 8, 8, 3)).astype(np.float32)
    expected, found = (
        model.evaluation_logs({"images": tf.constant(images), "labels": tf.constant(each)})
        for each in (numbers, labels)
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    losses, _ = model.training_losses({"images": images, "labels": tf.constant(labels)})
    assert all(value.shape == (6,) for value in losses.values())
