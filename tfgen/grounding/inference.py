"""What a trained model answers: the region that each phrase of a caption means."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, DataError
from tfgen.grounding.localisation import phrase_scores
from tfgen.grounding.pictures import as_pixels
from tfgen.grounding.words.phrases import Phrase, located, noun_phrases, noun_words
from tfgen.grounding.words.tagging import LexiconTagger, Tagger
from tfgen.grounding.words.tokens import UNKNOWN, WordPieces, padded_ids
from tfgen.serving import PORTABLE, Signature


class Grounded(NamedTuple):
    """One phrase of a caption and where it is.

    Attributes:
        phrase: string, the phrase as it stands in the caption.
        first_word: integer, its first word, counted from 0 between spaces.
        box: float32 `[4]`, x1, y1, x2, y2 in pixels of the image that was given, both ends
            included; None where the model abstains, or the phrase has no word it knows.
        score: float, how well the phrase's words fit the image, at best: larger is surer.
        attention: float32 `[M]`, how much of each region was looked at, the largest over the
            phrase's pieces.
        boxes: float32 `[M, 4]`, all regions.
    """

    phrase: str
    first_word: int
    box: np.ndarray | None
    score: float
    attention: np.ndarray
    boxes: np.ndarray


class GroundingInference:
    """The part of `tfgen.PhraseGrounding` that is used once it is trained."""

    def ground(
        self,
        image=None,
        caption: str = "",
        *,
        phrases: Sequence[str] | None = None,
        regions=None,
        boxes=None,
        words=None,
        word_pieces: Sequence[Sequence[int]] | None = None,
        tagger: Tagger | None = None,
    ) -> list[Grounded]:
        """Where the phrases of a caption are in an image.

        Of a phrase its nouns and adjectives are looked for, the largest attention of their pieces
        deciding; all of its words where it has none, or with `compat="official"`.

        Args:
            image: path of a picture, or an array `[H, W]` or `[H, W, C]`, uint8 or floats in
                [0, 1], of any size; None where `regions` are given.
            caption: string, a sentence about the image.
            phrases: sequence of strings that occur in the caption; None: its noun phrases.
            regions: `[M, region_dims]` features of the image's regions; None: the model's own
                windows.
            boxes: `[M, 4]` of those regions; or of regions of the image that the model is to look
                at instead of its windows.
            words: `[L, word_dims]` features of the caption's pieces; None: those of the model's own
                encoder.
            word_pieces: sequence, for each word of the caption between spaces, of sequences of the
                rows of `words` that are its own; None where there are no `words`.
            tagger: function that finds nouns, see `tfgen.grounding.words`; None: the one that comes
                along.

        Returns:
            A list of `Grounded` in the order of the caption; empty for a caption without nouns.

        Raises:
            DataError: an image, caption or features that do not fit.
            ConfigError: features are missing that the model does not make itself.
        """
        tagger = tagger or LexiconTagger()
        found = self._phrases(caption, phrases, tagger)
        if not found:
            return []
        data, boxes = self._region_arrays(image, regions, boxes)
        arrays, groups = self._word_arrays(caption, words, word_pieces)
        groups = self._counted(found, caption, tagger, groups)
        critic = self(data | arrays)
        attention, logits = critic.attention[0].numpy(), critic.logits[0].numpy()
        return [
            self._answer(phrase, pieces, attention, logits, boxes)
            for phrase, pieces in zip(found, groups)
        ]

    def calibrate(self, dataset, false_rate: float = 0.05) -> float:
        """Sets the threshold below which `ground` abstains, without any box.

        Words that the caption's context allows but that are not in the image are scored; at most
        this share of them may pass.

        Args:
            dataset: iterable of batches with negatives, as for training.
            false_rate: float in (0, 1). Defaults to `0.05`.

        Returns:
            The threshold, which the model keeps.

        Raises:
            DataError: no batch has negatives.
        """
        scores = []
        for batch in dataset:
            batch = self.batch_of(batch)
            negatives = self.negatives(batch)
            if negatives is not None:
                critic = self({**_only_regions(batch), "words": negatives.words})
                mask = negatives.mask * tf.expand_dims(negatives.valid, 1)
                scores.append(critic.logits.numpy()[:, 1:][mask.numpy()[:, 1:] > 0])
        scores = np.concatenate(scores) if scores else np.zeros(0)
        if not scores.size:
            raise DataError("no caption has negatives; expected batches as for the second loss")
        self.threshold = float(np.quantile(scores, 1.0 - false_rate))
        return self.threshold

    @property
    def tokenizer(self) -> WordPieces:
        """Cuts captions as the model's own encoder reads them.

        Raises:
            ConfigError: it has none.
        """
        if self.word_encoder is None:
            raise ConfigError(
                "this model has no word_encoder; give words= and word_pieces=, features of the "
                "caption by the encoder that it was trained with"
            )
        return WordPieces(self.word_encoder.vocabulary)

    # -- serving -----------------------------------------------------------------------------------

    def signatures(self) -> dict[str, Signature]:
        """`ground`, of features of regions and words, or token ids where the model has an encoder;
        `ground_image`, of pictures, where it makes the regions itself.

        They answer `attention` `[B, T, M]` of each word and `scores` `[B, T]`, and `ground_image`
        the `boxes` `[B, M, 4]` of its regions, in pixels of the image.
        """
        floats, count, length = tf.float32, self._options["num_regions"], self._options["num_words"]
        regions = {
            "regions": tf.TensorSpec([None, count, self._width("region_key")], floats),
            "region_mask": tf.TensorSpec([None, count], floats),
        }
        if self.word_encoder is None:
            words = {
                "words": tf.TensorSpec([None, length, self._width("word_query")], floats),
                "word_mask": tf.TensorSpec([None, length], floats),
            }
        else:
            words = {"token_ids": tf.TensorSpec([None, length], tf.int32)}
        found = {"ground": self._signature({**regions, **words})}
        if self.region_features is not None:
            images = {"images": tf.TensorSpec([None, *self.image_shape], floats)}
            found["ground_image"] = self._signature({**images, **words})
        return found

    def _signature(self, inputs):
        return Signature(self._served, inputs, _example(inputs, self.word_encoder), PORTABLE)

    def _served(self, **inputs):
        critic = self(inputs)
        found = {"attention": critic.attention, "scores": critic.logits}
        if "images" in inputs:
            # All of them, and not the likeliest: which one that is may turn on the last digit,
            # on which runtimes differ.
            boxes = tf.expand_dims(tf.constant(self.region_features.boxes), 0)
            found["boxes"] = tf.tile(boxes, [tf.shape(critic.attention)[0], 1, 1])
        return found

    # -- internals ---------------------------------------------------------------------------------

    def _phrases(self, caption, phrases, tagger) -> list[Phrase]:
        if not isinstance(caption, str):
            raise DataError(f"a caption is {caption!r}; expected a text")
        if phrases is None:
            return noun_phrases(caption, tagger)
        texts = isinstance(phrases, Iterable) and not isinstance(phrases, str)
        if not texts or not all(isinstance(phrase, str) for phrase in phrases):
            raise DataError(f"phrases is {phrases!r}; expected a list of texts")
        return [located(phrase, caption) for phrase in phrases]

    def _region_arrays(self, image, regions, boxes):
        if regions is not None:
            if boxes is None:
                raise DataError("regions are given without boxes; expected one box for each region")
            regions = _features("regions", regions, self._width("region_key"))
            boxes = _numbers("boxes", boxes)
            if boxes.shape != (len(regions), 4):
                raise DataError(
                    f"regions have shape {regions.shape} and boxes {boxes.shape}; expected [M, D] "
                    "and [M, 4]"
                )
            return {"regions": regions[None], "region_mask": np.ones((1, len(regions)))}, boxes
        if self.region_features is None:
            raise ConfigError(
                "this model has no region_features; give regions= and boxes=, features of an image "
                "by the detector that it was trained with"
            )
        pixels, size = as_pixels(image, self.image_shape)
        scale = np.asarray([size[1], size[0]] * 2, np.float32)
        scale /= np.asarray([*self.image_shape[1::-1]] * 2, np.float32)
        if boxes is None:
            own = self.region_features.boxes
            edges = (own + np.float32([0, 0, 1, 1])) * scale
            return {"images": pixels[None]}, _of_pixels(edges, size)
        boxes = _boxes_within(boxes, size)
        edges = (boxes + np.float32([0, 0, 1, 1])) / scale - np.float32([0, 0, 1, 1])
        features = self.region_features(tf.constant(pixels[None]), tf.constant(edges[None]))
        return {"regions": features, "region_mask": np.ones((1, len(boxes)))}, boxes

    def _word_arrays(self, caption, words, word_pieces):
        if words is not None:
            if word_pieces is None:
                raise DataError("words are given without word_pieces, which rows belong to a word")
            words = _features("words", words, self._width("word_query"))
            count, rows = len(caption.split()), {row for group in word_pieces for row in group}
            if len(word_pieces) != count or not rows <= set(range(len(words))):
                raise DataError(
                    f"word_pieces are of {len(word_pieces)} words, with rows up to "
                    f"{max(rows, default=0)}; expected {count} words and rows below {len(words)}"
                )
            return {"words": words[None], "word_mask": np.ones((1, len(words)))}, word_pieces
        tokens = self.tokenizer(caption)
        encoder = self.word_encoder
        if encoder.blocks and len(tokens.ids) > encoder.max_length:
            raise DataError(
                f"the caption has {len(tokens.ids)} tokens; expected at most {encoder.max_length}, "
                "word_encoder.max_length of the model: cut it"
            )
        known = [
            [piece for piece in group if tokens.pieces[piece] != UNKNOWN]
            for group in tokens.word_pieces
        ]
        return {"token_ids": padded_ids([tokens])}, known

    def _counted(self, found, caption, tagger, groups) -> list[list[int]]:
        """The pieces of each phrase that say what it means.

        The published code takes all of them, which an encoder that sees the whole caption can
        bear; of one trained on nouns and adjectives alone the others say nothing. A phrase without
        any, "the two", is about its last word.
        """
        telling = set(noun_words(caption, tagger, adjectives=True))
        chosen = []
        for phrase in found:
            words = range(phrase.first_word, phrase.first_word + len(phrase.words))
            if not self.official:
                words = [word for word in words if word in telling] or words[-1:]
            chosen.append([piece for word in words if word < len(groups) for piece in groups[word]])
        return chosen

    def _answer(self, phrase, pieces, attention, logits, boxes) -> Grounded:
        if not pieces:
            empty = np.zeros(len(boxes), np.float32)
            return Grounded(phrase.text, phrase.first_word, None, -np.inf, empty, boxes)
        seen, score = phrase_scores(attention[pieces]), float(logits[pieces].max())
        sure = self.threshold is None or score >= self.threshold
        box = boxes[int(np.argmax(seen))] if sure else None
        return Grounded(phrase.text, phrase.first_word, box, score, seen, boxes)


def _features(name, features, width) -> np.ndarray:
    """Float32 `[N, width]`, at least one row and all finite."""
    features = _numbers(name, features)
    if features.ndim != 2 or features.shape[1] != width or not len(features):
        raise DataError(
            f"{name} have shape {features.shape}; expected at least one row of {width} numbers, "
            "the width that the model was made for"
        )
    if not np.isfinite(features).all():
        raise DataError(f"{name} hold NaN or infinite numbers; mend the features")
    return features


def _numbers(name, values) -> np.ndarray:
    try:
        found = np.asarray(values)
        if found.dtype.kind in "bcSUMm":  # which would become numbers all the same
            raise TypeError(f"they are of {found.dtype}")
        with np.errstate(over="ignore"):
            return found.astype(np.float32)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"{name} are no array of numbers ({error})") from error


def _boxes_within(boxes, size) -> np.ndarray:
    """Float32 `[M, 4]`, in order and each with a part in an image of that height and width."""
    boxes = _numbers("boxes", boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise DataError(f"boxes have shape {boxes.shape}; expected [M, 4], at least one")
    if not np.all(boxes[:, 2:] >= boxes[:, :2]) or not np.isfinite(boxes).all():
        wrong = next(b for b in boxes if not np.all(b[2:] >= b[:2]) or not np.isfinite(b).all())
        raise DataError(f"a box is {wrong.tolist()}; expected x1 <= x2 and y1 <= y2, in pixels")
    height, width = size
    if boxes.min() >= 0 and boxes.max() <= 1 and min(size) > 2:
        raise DataError(
            f"boxes lie from {boxes.min():g} to {boxes.max():g}; expected pixels of an image of "
            f"{width} by {height}: multiply shares by its width and height"
        )
    outside = np.any(boxes[:, 2:] < 0, axis=1) | np.any(boxes[:, :2] >= [width, height], axis=1)
    if outside.any():
        raise DataError(
            f"a box is {boxes[outside][0].tolist()}; expected one that meets the image of "
            f"{width} by {height} pixels"
        )
    return boxes


def _of_pixels(edges, size) -> np.ndarray:
    """Boxes between edges, both ends included; those of less than a pixel are the pixel."""
    height, width = size
    first = np.minimum(edges[:, :2], np.float32([width - 1, height - 1]))
    return np.concatenate([first, np.maximum(edges[:, 2:] - 1.0, first)], axis=1)


def _only_regions(batch: Mapping[str, Any]) -> dict[str, Any]:
    names = ("regions", "region_mask", "images")
    return {name: batch[name] for name in names if name in batch}


def _example(inputs, word_encoder):
    """Plausible inputs of a signature, the same for the same seed."""

    def make(batch_size, seed):
        rng, found = np.random.default_rng(seed), {}
        for name, spec in inputs.items():
            shape = (batch_size, *spec.shape[1:])
            if name.endswith("mask"):
                found[name] = np.ones(shape, np.float32)
                if shape[1] > 2:  # some padding
                    found[name][:, -1] = 0.0
            elif name == "token_ids":
                found[name] = rng.integers(0, len(word_encoder.vocabulary), shape).astype(np.int32)
            else:
                found[name] = rng.random(shape, np.float32)
        return found

    return make
