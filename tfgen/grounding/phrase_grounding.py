"""Phrase grounding learnt from captions alone (Gupta et al., arXiv:2006.09920)."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfgen.grounding import losses
from tfgen.grounding.critic import Critic, every_pair, own_pair
from tfgen.grounding.inference import GroundingInference
from tfgen.grounding.projection import Projection
from tfgen.grounding.reading import BatchReading
from tfgen.grounding.regions.features import RegionFeatures
from tfgen.grounding.selection import WordChoiceSelection
from tfgen.grounding.sides import NETWORKS, sides_of, trained_sides
from tfgen.grounding.words.encoder import WordEncoder
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.ops.random_streams import hashed
from tfgen.training import Model, StepOutput


@keras.saving.register_keras_serializable(package="tfgen")
class PhraseGrounding(GroundingInference, BatchReading, Model):
    """Says which region of an image a phrase of its caption means, without a box in training.

    Words attend to regions, and the attention is trained inside a critic that has to tell a
    caption's own image from others, and its nouns from other nouns that would fit the sentence.
    Both losses bound the mutual information of image and word.

    Features of regions and words come with the data (of a detector and of BERT, in the paper), or
    are computed here: `region_features` from images, `word_encoder` from token ids.

    A batch has these arrays:

    - `regions` `[B, M, region_dims]`, or `images` `[B, H, W, C]` in [0, 1] with `region_features`;
    - `region_mask` `[B, M]`; without it, rows of zeros are padding;
    - `words` `[B, T, word_dims]`, or `token_ids` `[B, L]` (0 is padding) with a `word_encoder`, and
      perhaps `word_positions` `[B, T]` of those that count;
    - `word_mask` `[B, T]`; without it, rows of zeros or padded tokens are padding;
    - for the second loss `negatives` `[B, 1 + N, word_dims]`, the true noun first, or
      `negative_ids` `[B, 1 + N]` and `noun_position` `[B]`, or of up to K nouns `noun_negatives`
      `[B, K, 1 + N]`, `noun_positions` `[B, K]` and `noun_count` `[B]`, one of which every step
      draws anew; perhaps `negative_mask` and `noun_valid` `[B]`;
    - `image_ids` `[B]`, perhaps, so that captions of one image are no negatives of each other:
      integers, or strings in a `tf.data.Dataset`.

    Args:
        region_dims: integer, width of the regions' features; ignored where `region_features` makes
            them. Defaults to `2048`.
        word_dims: integer, width of the words' features; ignored with a `word_encoder`. Defaults to
            `768`.
        dims: integer d, width in which both are compared. Defaults to `384`.
        num_layers: integer, dense layers of each of the four networks, 1 to 3. Defaults to `2`.
        image_weight: float, weight of the loss of negative images. Defaults to `1.0`.
        language_weight: float, weight of the loss of negative words. Defaults to `1.0`.
        symmetric_weight: float, weight of the loss of negative captions for an image, which the
            paper does not have. Defaults to `0.0`.
        learn_temperature: whether the scores are multiplied by a factor that is learnt; the paper's
            are plain products. Defaults to `False`.
        compat: string, "official" for the published code's treatment of padding (padded regions
            attend and all padding enters the statistics of a batch), so that its numbers come out
            again; None leaves padding out. Defaults to `None`.
        num_regions: integer M of what is served. Defaults to `30`.
        num_words: integer, words or tokens of what is served. Defaults to `32`.
        region_features: dict of the arguments of `RegionFeatures`; None: regions are given.
        word_encoder: dict of the arguments of `WordEncoder`; None: words are given.
        threshold: float, an answer of `ground` is kept where the phrase's score is at least this;
            None keeps all. See `calibrate`.
        seed: integer, seed of the initial weights. Defaults to `0`.
        name: string, the model's name. Defaults to `"phrase_grounding"`.

    Call arguments:
        data: dict of arrays as above.

    Returns:
        A `Critic`: the score `[B, T]` of every word with its own image, and its attention
        `[B, T, M]`.

    Raises:
        ConfigError: an argument is out of range.
    """

    progress_names = ("loss", "image_loss", "language_loss")

    def __init__(
        self,
        region_dims=2048,
        word_dims=768,
        dims=384,
        num_layers=2,
        image_weight=1.0,
        language_weight=1.0,
        symmetric_weight=0.0,
        learn_temperature=False,
        compat: str | None = None,
        num_regions=30,
        num_words=32,
        region_features: Mapping[str, Any] | None = None,
        word_encoder: Mapping[str, Any] | None = None,
        threshold: float | None = None,
        seed=0,
        name="phrase_grounding",
        **kwargs,
    ):
        super().__init__(name=name, seed=seed, **kwargs)
        for key, value in (
            ("image_weight", image_weight),
            ("language_weight", language_weight),
            ("symmetric_weight", symmetric_weight),
        ):
            in_range(key, value, 0.0)
        one_of("compat", compat, (None, "official"))
        self._options = dict(
            region_dims=whole_number("region_dims", region_dims, 1),
            word_dims=whole_number("word_dims", word_dims, 1),
            dims=whole_number("dims", dims, 1),
            num_layers=whole_number("num_layers", num_layers, 1, 3),
            image_weight=image_weight,
            language_weight=language_weight,
            symmetric_weight=symmetric_weight,
            learn_temperature=bool(learn_temperature),
            compat=compat,
            num_regions=whole_number("num_regions", num_regions, 1),
            num_words=whole_number("num_words", num_words, 1),
            region_features=None if region_features is None else dict(region_features),
            word_encoder=None if word_encoder is None else dict(word_encoder),
            threshold=threshold,
        )
        self.region_features = self._part(RegionFeatures, region_features)
        self.word_encoder = self._part(WordEncoder, word_encoder)
        if self.region_features is not None:
            self.image_shape = self.region_features.image_shape
            self._options["num_regions"] = self.region_features.num_regions
        self.official = compat == "official"
        self.threshold = threshold
        self._selection = None
        self._networks = {key: self._network(key) for key in NETWORKS}

    def _part(self, kind, options):
        if options is None:
            return None
        return kind(**{"seed": self.seed, "dtype": self.dtype_policy, **options})

    def _network(self, key):
        side, _, _ = key.partition("_")
        part = self.region_features if side == "region" else self.word_encoder
        width = self._options[f"{side}_dims"] if part is None else part.dims
        return Projection(
            width,
            self._options["dims"],
            self._options["num_layers"],
            seed=hashed(self.seed, key) % 2**31,
            dtype=self.dtype_policy,
            name=key,
        )

    def build(self, input_shape=None):
        if self.built:
            return
        parts = (self.region_features, self.word_encoder, *self._networks.values())
        for part in parts:
            if part is not None:
                part.build()
        if self._options["learn_temperature"]:
            self.log_scale = self.add_weight(
                shape=(),
                initializer="zeros",
                dtype="float32",
                autocast=False,
                name="log_scale",
            )
        self.built = True

    def call(self, data) -> Critic:
        pairs = self.pairs(data)
        sides = sides_of(self._networks, pairs)
        return self._scored(own_pair, *sides["words"], *sides["regions"], pairs)

    def predict_step(self, data):
        """Of `predict`: `attention` `[B, T, M]` and `scores` `[B, T]` of a batch, in a dict."""
        critic = self(dict(self.batch_of(data)))
        return {"attention": critic.attention, "scores": critic.logits}

    # -- training ----------------------------------------------------------------------------------

    def training_loss(self, data) -> StepOutput:
        self.build()
        parts, updates = self.caption_losses(data, training=True)
        options, logs = self._options, {}
        image, words = parts["image"], parts["has_words"]
        total = options["image_weight"] * tf.reduce_mean(image)
        logs["image_loss"] = tf.reduce_mean(image)
        logs["image_bound"] = losses.mean_over_valid(parts["log_candidates"] - image, words)
        if "symmetric" in parts:
            logs["symmetric_loss"] = tf.reduce_mean(parts["symmetric"])
            total += options["symmetric_weight"] * logs["symmetric_loss"]
        if "language" in parts:
            valid = parts["valid"]
            logs["language_loss"] = losses.mean_over_valid(parts["language"], valid)
            logs["word_choice"] = losses.mean_over_valid(parts["word_choice"], valid)
            total += options["language_weight"] * logs["language_loss"]
        if options["learn_temperature"]:
            logs["scale"] = tf.exp(self.log_scale.value)
        return StepOutput(total, logs, updates)

    def evaluation_logs(self, data):
        self.build()
        parts, _ = self.caption_losses(data, training=False)
        options = self._options
        logs = {"image_loss": parts["image"]}
        loss = options["image_weight"] * parts["image"]
        if "symmetric" in parts:
            loss += options["symmetric_weight"] * parts["symmetric"]
        if "language" in parts:
            # Of captions with such a noun; `nouns` is the share of those.
            logs["word_choice"] = parts["word_choice"] * parts["valid"]
            logs["nouns"] = parts["valid"]
            logs["language_loss"] = parts["language"]
            loss += options["language_weight"] * parts["language"]
        return {"loss": loss, **logs}

    def caption_losses(self, data: Mapping[str, Any], training: bool) -> tuple[dict, list]:
        """What is known of each caption of a batch, and how the running statistics move.

        Args:
            data: dict of arrays, as the class says.
            training: whether batches are normalised by their own statistics.

        Returns:
            A dict of `[B]` by name: `image` (nats), `log_candidates`, `has_words`; `symmetric`
            where it has a weight; `language` (nats), `word_choice` (whether the true noun scores
            above all others) and `valid` where there are negatives. And pairs of a variable and its
            next value.
        """
        seed = self.step_seed("noun") if training else None
        data = self.checked(data)
        pairs, negatives = self.pairs(data), self.negatives(data, seed)
        if training:
            sides, updates = trained_sides(self._networks, pairs, negatives, self.official)
        else:
            sides, updates = sides_of(self._networks, pairs, negatives), []
        critic = self._scored(every_pair, *sides["words"], *sides["regions"], pairs)
        candidates = None
        if pairs.image_ids is not None and not self.official:
            candidates = losses.same_image_candidates(pairs.image_ids)
        size = tf.cast(tf.shape(critic.logits)[1], tf.float32)
        number = size if candidates is None else tf.reduce_sum(candidates, axis=1)
        parts = {
            "image": losses.image_contrastive(critic.logits, pairs.word_mask, candidates),
            "has_words": tf.cast(tf.reduce_any(pairs.word_mask > 0, axis=1), tf.float32),
        }
        parts["log_candidates"] = tf.math.log(number) * tf.ones_like(parts["image"])
        if self._options["symmetric_weight"]:
            parts["symmetric"] = losses.word_contrastive(critic.logits, pairs.word_mask, candidates)
        if negatives is not None:
            logits = self._scored(own_pair, *sides["negatives"], *sides["regions"], pairs).logits
            mask = None if self.official else negatives.mask
            parts["language"] = losses.language_contrastive(logits, negatives.valid, mask)
            others = tf.where(negatives.mask[:, 1:] > 0, logits[:, 1:], logits.dtype.min)
            best = tf.reduce_max(others, axis=1)
            parts["word_choice"] = tf.cast(logits[:, 0] > best, tf.float32)
            parts["valid"] = negatives.valid
        return parts, updates

    def training_callbacks(self, held_out, directory=None):
        if held_out is None:
            return []
        self._selection = WordChoiceSelection(held_out, directory, restore=False)
        return [self._selection]

    def finish(self) -> bool:
        return self._selection is not None and self._selection.give_back()

    def _scored(self, compare, queries, word_values, keys, region_values, pairs) -> Critic:
        mask = None if self.official else pairs.region_mask
        critic = compare(queries, word_values, keys, region_values, mask)
        if self._options["learn_temperature"]:
            return critic._replace(logits=critic.logits * tf.exp(self.log_scale.value))
        return critic

    def describe(self):
        self.build()
        return {
            "parameters": self.num_parameters,
            "region_dims": self._width("region_key"),
            "word_dims": self._width("word_query"),
            "compared_dims": self._options["dims"],
        }

    def get_config(self):
        config = {**super().get_config(), **self._options, "seed": self.seed}
        return {**config, "threshold": self.threshold}
