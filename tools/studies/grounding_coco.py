"""What can be learnt of phrases from a few pictures of COCO and their captions, and nothing else?

    python tools/studies/grounding_coco.py --annotations=coco_mini/annotations.json \
        --pictures=coco_mini/images --folder=coco-study

Pictures are dealt into parts; each part in turn is left out of training and scored. Regions are
windows of a pyramid, cropped out of a few convolutions that are learnt along with the words. Beside
the number of pictures that were learnt from stand chance (a window at random), the middle of the
picture, and the ceiling (the best window's middle). Writes `study.json` and `gallery.html`.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
from relearning import Relearner

import tfgen
from tfgen.data import Pipeline, Source, load
from tfgen.grounding import boxes as geometry
from tfgen.grounding.coco import read_images
from tfgen.grounding.evaluation import Located, evaluate_phrases
from tfgen.grounding.localisation import rank_regions
from tfgen.grounding.picture_preparation import prepare_pictures
from tfgen.grounding.words import LexiconTagger, WordPieces, build_vocabulary
from tfgen.runs.evaluators.grounding_gallery import pictures_of, write_page
from tfgen.runs.grounding import phrases_of

SHAPE = (64, 64, 3)
TRAINED_ON = ("images", "token_ids", "word_positions", "image_ids")


def model_for(vocabulary, seed: int) -> tfgen.PhraseGrounding:
    return tfgen.PhraseGrounding(
        dims=32,
        num_words=24,
        region_features=dict(
            image_shape=SHAPE,
            grids=(1, 2, 3),
            crop_size=2,
            backbone={"filters": (12, 24, 32)},
            train_backbone=True,
        ),
        word_encoder=dict(vocabulary=vocabulary, dims=32),
        seed=seed,
    )


def train(learner: Relearner, arrays: dict, steps: int, seed: int) -> tfgen.PhraseGrounding:
    model = learner.restart()
    source = Source("coco", "train", {name: arrays[name] for name in TRAINED_ON})
    batches = Pipeline(source, min(32, len(source)), seed=seed).dataset()
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model


def located(model, arrays: dict) -> list[Located]:
    """What the model says of every phrase of some captions."""
    found = []
    source = Source("coco", "test", arrays)
    for batch in Pipeline(source, 50, training=False).dataset():
        ids = batch["image_ids"].numpy()
        for phrase in phrases_of(model, batch):
            order = rank_regions(phrase.scores, phrase.region_mask).regions
            boxes = phrase.boxes[order]
            found.append(Located(boxes, phrase.truth, ids[phrase.row]))
    return found


def baselines(found: list[Located]) -> dict:
    """Of the same phrases: a window at random, the middle of the picture, the best window."""
    middle = np.float32([[SHAPE[1] / 2 - 0.5, SHAPE[0] / 2 - 0.5]])
    chance, ceiling, centre = [], [], []
    for phrase in found:
        inside = geometry.points_inside(geometry.centres(phrase.ranked), phrase.truth).any(1)
        chance.append(inside.mean())
        ceiling.append(inside.any())
        centre.append(geometry.points_inside(middle, phrase.truth).any())
    return {name: float(np.mean(each)) for name, each in
            (("chance", chance), ("centre", centre), ("ceiling", ceiling))}  # fmt: skip


def study(arrays, vocabulary, sizes, folds: int, steps: int, seed: int = 0) -> tuple[dict, list]:
    """The curve over training pictures, each scored by a model that never saw it, and drawings."""
    ids = arrays["image_ids"]
    images = np.random.default_rng(seed).permutation(np.unique(ids))
    curve, pages = [], []
    learner = Relearner(model_for(vocabulary, seed), keras.optimizers.Adam(1e-3))
    for size in sizes:
        found = []
        for fold in range(folds):
            held = images[fold::folds]
            kept = np.setdiff1d(images, held, assume_unique=True)[:size]
            learnt = {name: array[np.isin(ids, kept)] for name, array in arrays.items()}
            test = {name: array[np.isin(ids, held)] for name, array in arrays.items()}
            model = train(learner, learnt, steps, seed)
            found += [one for one in located(model, test) if len(one.truth)]  # thinner than a pixel
            if size == max(sizes):
                shown = {name: array[::10] for name, array in test.items()}
                batch = Pipeline(Source("coco", "test", shown), len(shown["images"]),
                                 training=False).batch(0)  # fmt: skip
                pages += pictures_of(model, batch)
        result = evaluate_phrases(found)
        curve.append({"pictures": size, **result.values, "interval": result.intervals["pointing"]})
        print(json.dumps(curve[-1]), flush=True)
    found = {"curve": curve, **baselines(found), "phrases": len(found), "images": len(images)}
    return found, pages


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--sizes", default="10,20,30")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args()
    images = read_images(given.annotations)
    pieces = WordPieces(build_vocabulary(c for image in images for c in image.captions))
    folder = pathlib.Path(given.folder)
    prepare_pictures(folder / "set", "all", images, given.pictures, SHAPE, pieces, LexiconTagger())
    arrays = {
        n: np.asarray(a[:]) for n, a in load(f"arrays:{folder / 'set'}", "all").arrays.items()
    }
    sizes = [int(size) for size in given.sizes.split(",")]
    found, pages = study(arrays, pieces.vocabulary, sizes, given.folds, given.steps)
    (folder / "study.json").write_text(json.dumps(found, indent=2) + "\n")
    write_page(folder / "gallery.html", "Phrases learnt from the captions of a few pictures", pages)
    print(json.dumps({k: v for k, v in found.items() if k != "curve"}))


if __name__ == "__main__":
    main()
