"""A classifier, or a model of unlabelled images, that says what it was not made for."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ood.augmentation import augment
from tfgen.ood.multi_task.contrastive import Contrast
from tfgen.ood.multi_task.detection import Detection
from tfgen.ood.multi_task.network import Network, Outputs
from tfgen.ood.multi_task.scores import own_scores
from tfgen.ood.multi_task.settings import (
    active_tasks,
    backbone_config,
    check_tasks,
    checked_shape,
    per_channel,
    weights_by_name,
)
from tfgen.ood.multi_task.tasks import class_losses
from tfgen.ood.transformations import build_all, spec_of
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.ops.labels import class_indices
from tfgen.training import StepOutput

TASK_SCORE_WEIGHTS = ("one", "weights", "normalised")


@keras.saving.register_keras_serializable(package="tfgen")
class MultiTaskOOD(Detection):
    """Multi-task transformation learning (Mohseni, Vahdat & Yadawa, 2021, arXiv:2106.03899).

    One backbone sees every image under all levels of all transformations. Heads tell the level,
    and with classes other heads tell the class at every level, beside the classifier of the images
    themselves:

        L = L_main + 1/N sum_n lambda_n L_ssl,n + 1/N' sum_n lambda'_n L_sup,n

    N and N' count the transformations whose weight is above 0; where both weights of one are 0 it
    is neither trained nor computed. Without `num_classes` there is the second term alone, for
    unlabelled images, or those of one class.

    Trained by `fit`; then `fit_scores` with training images and `calibrate` with images held out
    make it a detector, see `Detection`.

    Args:
        backbone: a `keras.Model` from images to features, any; or one by name, "resnet18",
            "resnet18_imagenet" or "small_cnn", or a dict of the name and options. Defaults to
            `"resnet18"`.
        transformations: sequence of names, dicts of a name and options, or layers, see
            `tfgen.ood.transformations`; none makes a plain classifier. Defaults to
            `("rotation", "translation")`.
        image_shape: sequence `(H, W, C)`. Defaults to `(32, 32, 3)`.
        num_classes: integer C; None: images without labels.
        ssl_weights: float, or one for each transformation, a sequence or a dict by name; lambda.
            Defaults to `1.0`.
        supervised_weights: float, sequence or dict, likewise, lambda'; None is 1 with classes and
            0 without.
        head_width: integer, hidden units of the transformations' heads; None: as many as features.
        share_identity: whether levels that are the image itself are computed once in training, as
            they are otherwise; it changes batch norm's statistics alone. Defaults to `True`.
        mean: float or sequence of one a channel, taken off pixels after the transformations.
            Defaults to `0.5`.
        std: float or sequence, which the difference is divided by. Defaults to `0.25`.
        label_smoothing: float, at least 0 and below 1. Defaults to `0.0`.
        crop_padding: integer, pixels by which images are shifted at random in training, all levels
            alike. Defaults to `0`.
        flip: whether images are mirrored at random in training, likewise. Defaults to `False`.
        contrastive: dict of options of `tfgen.ood.multi_task.Contrast`, which adds CSI's loss over
            two views of every image and doubles a training step; None: not part of it.
        score: string, the score that is served, see `scores`; None: "combined_distance" with
            classes and transformations, "ssl" without classes, "main" without transformations.
        task_score_weights: string, what each task counts in the score "ssl": "one", its "weights",
            or 1 after it is "normalised" by its mean over in-distribution images. Defaults to
            `"one"`.
        acceptance: float, in (0, 1), share of images like those held out that `calibrate` lets
            pass. Defaults to `0.95`.
        other_scores: sequence of further `tfgen.ood.scores.Score`. Defaults to `()`.
        seed: integer, of the weights and of all that training draws. Defaults to `0`.
        name: string, the model's name. Defaults to `"multi_task_ood"`.

    Call arguments:
        images: float32 `[B, H, W, C]` in [0, 1].
        training: whether batch norms use the statistics of the batch. Defaults to `False`.

    Returns:
        Dict of what all heads say, see `outputs`.

    Raises:
        ConfigError: an argument is out of range, or does not go with another.
    """

    progress_names = ("loss", "main", "accuracy", "ssl", "supervised")

    def __init__(
        self,
        backbone: str | Mapping | keras.Model = "resnet18",
        transformations: Sequence = ("rotation", "translation"),
        image_shape: Sequence[int] = (32, 32, 3),
        num_classes: int | None = None,
        ssl_weights: float | Sequence | Mapping = 1.0,
        supervised_weights: float | Sequence | Mapping | None = None,
        head_width: int | None = None,
        share_identity: bool = True,
        mean: float | Sequence = 0.5,
        std: float | Sequence = 0.25,
        label_smoothing: float = 0.0,
        crop_padding: int = 0,
        flip: bool = False,
        contrastive: Mapping | None = None,
        score: str | None = None,
        task_score_weights: str = "one",
        acceptance: float = 0.95,
        other_scores: Sequence = (),
        seed: int = 0,
        name: str = "multi_task_ood",
        **kwargs,
    ):
        super().__init__(name=name, seed=seed, **kwargs)
        self.image_shape = checked_shape(image_shape)
        self.num_classes = num_classes
        if num_classes is not None:
            self.num_classes = whole_number("num_classes", num_classes, 2)
        self.share_identity, self.flip = bool(share_identity), bool(flip)
        self.label_smoothing = label_smoothing
        in_range("label_smoothing", label_smoothing, 0.0, below=1.0)
        self.crop_padding = whole_number("crop_padding", crop_padding, 0)
        self.mean, self.std = per_channel("mean", mean), per_channel("std", std)
        in_range("mean", self.mean, -np.inf)
        in_range("std", self.std, 0.0, above=True)
        self.contrast = Contrast.of(contrastive, num_classes is not None)
        one_of("task_score_weights", task_score_weights, TASK_SCORE_WEIGHTS)
        self.task_score_weights = task_score_weights
        in_range("acceptance", acceptance, 0.0, above=True, below=1.0)
        self.acceptance = acceptance
        self.transformations = build_all(transformations, self.image_shape)
        names = [each.name for each in self.transformations]
        self.ssl_weights = weights_by_name("ssl_weights", ssl_weights, names)
        if supervised_weights is None:
            supervised_weights = 0.0 if num_classes is None else 1.0
        self.supervised_weights = weights_by_name("supervised_weights", supervised_weights, names)
        tasks = active_tasks(self.transformations, self.ssl_weights, self.supervised_weights)
        check_tasks(tasks, self.num_classes, self.flip)
        if self.contrast is not None:
            self.contrast.check(tasks, self.crop_padding or self.flip, self.share_identity)
        if head_width is not None:
            whole_number("head_width", head_width, 1)
        self.head_width = head_width
        self._backbone_spec = backbone
        normalisation = (self.mean, self.std)
        self.network = Network(
            backbone,
            tasks,
            self.image_shape,
            self.num_classes,
            head_width,
            normalisation,
            self.seed,
            self.dtype_policy,
            None if self.contrast is None else self.contrast.width,
        )
        # Where Keras looks for layers; their order is that of checkpoints.
        self.backbone, self.main_head = self.network.backbone, self.network.main
        self.heads = self.network.heads
        own = own_scores(self.network, task_score_weights)
        self.make_detector(own, other_scores, score)
        self.built = True

    def build(self, input_shape=None):
        """Everything is built by the constructor."""

    def outputs(self, images: tf.Tensor, levels: bool = True) -> Outputs:
        """What all heads say of images, in inference.

        Args:
            images: float32 `[B, H, W, C]` in [0, 1].
            levels: whether to compute the transformations, which are all but one of the passes
                through the backbone. Defaults to `True`.

        Returns:
            Dict of float32 tensors, see `Network.outputs`; "features" `[B, D]` is always there.
        """
        copies = self.network.copies(plain=True, levels=levels)
        features, _ = self.network.features(copies.make(images))
        return self.network.outputs(features, copies)

    def call(self, images, training=False):
        if not training:
            return self.outputs(images)
        copies = self.network.copies(plain=True)
        features, _ = self.network.features(copies.make(images), training=True)
        return self.network.outputs(features, copies)

    def training_loss(self, data) -> StepOutput:
        losses, updates = self.training_losses(data)
        loss, logs = self.total({k: v for k, v in losses.items() if k in self.coefficients()})
        if self.contrast is not None:
            logs["contrastive"] = tf.reduce_mean(losses["contrastive"])
            loss += self.contrast.weight * logs["contrastive"]
        if self.num_classes:
            logs["accuracy"] = tf.reduce_mean(losses["accuracy"])
        return StepOutput(loss + self._penalties(), logs, updates)

    def training_losses(self, data) -> tuple[dict[str, tf.Tensor], list]:
        """Every loss of a training batch, `[B]` each, augmented and with the batch's statistics.

        Args:
            data: dict of "images" and, with classes, "labels".

        Returns:
            Those of `losses_of`, and with classes "accuracy"; "contrastive" `[copies * 2 B]` where
            that is learned, and then all others of both views, `[2 B]`. And what batch norms would
            remember, pairs of a variable and its next value.
        """
        images, labels = self._augmented(data)
        copies = self.network.copies(plain=False, shared=self.share_identity)
        copied = copies.make(images, self.step_seed("transformations"))
        features, updates = self.network.features(copied, training=True)
        outputs = self.network.outputs(features, copies)
        losses = self.losses_of(outputs, labels)
        if self.num_classes:
            losses["accuracy"] = self._is_right(outputs, labels)
        if self.contrast is not None:
            projections = tf.cast(self.network.projection(features), tf.float32)
            losses["contrastive"] = self.contrast.losses(projections, copies.count, labels)
        return losses, updates

    def _augmented(self, data):
        """Images as they are trained on, and their labels: with a contrast two views of each."""
        images, labels = tf.cast(data["images"], tf.float32), self._labels_of(data)
        if self.contrast is None:
            return self._view(images, 0.0), labels
        views = [self._view(images, self.contrast.jitter, number) for number in (0, 1)]
        return tf.concat(views, 0), None if labels is None else tf.tile(labels, [2])

    def _view(self, images, jitter, *number):
        if not (self.crop_padding or self.flip or jitter):
            return images
        seed = self.step_seed("augmentation", *number)
        return augment(images, seed, self.crop_padding, self.flip, jitter)

    def losses_of(self, outputs: Outputs, labels: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Every task's loss in nats, `[B]` each: "main", "ssl_NAME" and "supervised_NAME".

        Args:
            outputs: dict of what the heads say, see `outputs`.
            labels: int32 `[B]`, or None where there are no classes.
        """
        found, smoothing = {}, self.label_smoothing
        if self.num_classes:
            found["main"] = class_losses(outputs["logits"], labels, smoothing)
        for column, task in enumerate(self.network.ssl_tasks):
            found[f"ssl_{task.name}"] = outputs["task_losses"][:, column]
        for task in self.network.supervised_tasks:
            name = f"supervised_{task.name}"
            found[name] = class_losses(outputs[name], labels, smoothing)
        return found

    def coefficients(self) -> dict[str, float]:
        """What each loss of `losses_of` counts in the whole, by name: linear in the weights."""
        ssl, supervised = self.network.ssl_tasks, self.network.supervised_tasks
        found = {"main": 1.0} if self.num_classes else {}
        found |= {f"ssl_{t.name}": t.ssl_weight / len(ssl) for t in ssl}
        return found | {
            f"supervised_{t.name}": t.supervised_weight / len(supervised) for t in supervised
        }

    def total(self, losses: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The loss of a batch, a scalar, and what to report of it, by name.

        Args:
            losses: dict of `[B]` tensors, those of `losses_of`.
        """
        means = {name: tf.reduce_mean(values) for name, values in losses.items()}
        weighted = {name: c * means[name] for name, c in self.coefficients().items()}
        logs = dict(means)
        for kind in ("ssl", "supervised"):
            own = [value for name, value in weighted.items() if name.startswith(f"{kind}_")]
            if own:
                logs[kind] = tf.add_n(own)
        return tf.add_n(list(weighted.values())), logs

    def evaluation_logs(self, data):
        outputs = self.outputs(tf.cast(data["images"], tf.float32))
        labels = self._labels_of(data)
        found = self.losses_of(outputs, labels)
        if self.num_classes:
            accuracy = self._is_right(outputs, labels)
            return {"loss": found["main"], "accuracy": accuracy, **found}
        return {"loss": self.difficulty(outputs), **found}

    def difficulty(self, outputs: Outputs) -> tf.Tensor:
        """`[B]`, how badly levels are told: 1 is as by a head that knows nothing.

        Args:
            outputs: dict of what the heads say, see `outputs`.
        """
        entropies = [task.transformation.entropy for task in self.network.ssl_tasks]
        return tf.reduce_mean(outputs["task_losses"] / tf.constant(entropies, tf.float32), axis=1)

    def classifier(self) -> keras.Model:
        """The classifier alone, a `keras.Model` from images in [0, 1] to logits; it shares weights.

        Raises:
            ConfigError: there are no classes.
        """
        if self.main_head is None:
            raise ConfigError(
                f"{self.name!r} has no classes, and so no classifier; give num_classes"
            )
        images = keras.Input(self.image_shape, name="images")
        mean, std = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        x = keras.ops.divide(keras.ops.subtract(images, mean), std)
        x = self.backbone(x)
        if len(x.shape) == 4:
            x = keras.layers.GlobalAveragePooling2D(name="features")(x)
        return keras.Model(images, self.main_head(x), name="classifier")

    def images_per_example(self) -> int:
        """Passes through the backbone that one image takes in a training step."""
        return self.network.copies(plain=False, shared=self.share_identity).count

    def describe(self):
        return {
            **super().describe(),
            "image_shape": list(self.image_shape),
            "classes": self.num_classes,
            "tasks": {
                task.name: [task.ssl_weight, task.supervised_weight] for task in self.network.tasks
            },
            "images_per_example": self.images_per_example(),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": backbone_config(self._backbone_spec),
            "transformations": [spec_of(each) for each in self.transformations],
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "ssl_weights": dict(self.ssl_weights),
            "supervised_weights": dict(self.supervised_weights),
            "head_width": self.head_width,
            "share_identity": self.share_identity,
            "mean": self.mean,
            "std": self.std,
            "label_smoothing": self.label_smoothing,
            "crop_padding": self.crop_padding,
            "flip": self.flip,
            "contrastive": None if self.contrast is None else self.contrast.get_config(),
            "score": self._served_score,
            "task_score_weights": self.task_score_weights,
            "acceptance": self.acceptance,
            "other_scores": self.other_scores_config(),
            "seed": self.seed,
        }

    def _labels_of(self, data):
        """int32 `[B]`, or None where there are no classes."""
        if self.num_classes is None:
            return None
        return class_indices(data["labels"], self.num_classes)

    def _is_right(self, outputs, labels):
        best = tf.argmax(outputs["logits"], axis=-1, output_type=tf.int32)
        return tf.cast(tf.equal(best, labels), tf.float32)

    def _penalties(self):
        """Of a backbone's own regularisers."""
        found = self.backbone.losses
        return tf.add_n([tf.cast(loss, tf.float32) for loss in found]) if found else 0.0
