"""Are words that a language model proposes better negatives than words of other captions?

    python tools/studies/grounding_negatives.py --data_dir=data [--output=negatives.json]

Scenes are of five rooms, which a patch of stripes tells; each has four kinds of clothes or digits
of its own, three of which are there, and the caption names two: "in the kitchen a seven and a
coat".
Eight regions of a scene are given: the patch, the three things, and four of noise. The room alone
tells words of other rooms from those of a caption, so that a model need not look at the things.

The language model is trained on the captions; both kinds of negatives are as many. Of every run the
epoch is taken that chooses held-out nouns best among its own negatives, which needs no boxes.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
from relearning import Relearner

import tfgen
from tfgen.data import load
from tfgen.data.composed_scenes import KINDS
from tfgen.grounding.negatives import MaskedLanguageModel, propose_negatives
from tfgen.grounding.words import WordPieces, build_vocabulary, padded_ids

ROOMS = ("hall", "attic", "kitchen", "garden", "cellar")
SIDE, EACH = 14, 4  # pixels of a region's picture; kinds of a room, which are every fifth
NOUNS = (5, 8)  # [CLS] in the hall a seven and a coat [SEP]
NEGATIVES = 3


def vocabulary() -> list[str]:
    return build_vocabulary([" ".join(("in the a and", *ROOMS, *KINDS))] * 2)


def pictures(data_dir, split: str) -> list[np.ndarray]:
    """Pictures of each kind, float32 `[N, 14, 14]`."""
    found = []
    for name in ("mnist", "fashion_mnist"):
        source = load(name, split, data_dir)
        images, labels = source.images[:6000, ..., 0], np.asarray(source.labels[:6000])
        small = images.reshape(-1, SIDE, 2, SIDE, 2).mean((2, 4)).astype(np.float32) / 255.0
        found += [small[labels == label] for label in range(10)]
    return found


def scenes(found: list[np.ndarray], number: int, seed: int) -> dict:
    """Regions `[N, 8, 196]`, captions, and where each of two nouns' things is, `[N, 2]`."""
    rng = np.random.default_rng(seed)
    regions = np.zeros((number, 8, SIDE, SIDE), np.float32)
    places, captions = np.zeros((number, 2), int), []
    for row in range(number):
        room = int(rng.integers(len(ROOMS)))
        kinds = room + len(ROOMS) * rng.permutation(EACH)[:3]
        stripes = 0.5 + 0.5 * np.sin(np.arange(SIDE) * (room + 1) * 0.5)
        things = [found[kind][rng.integers(len(found[kind]))] for kind in kinds]
        order = rng.permutation(8)
        regions[row, order[:4]] = [np.tile(stripes, (SIDE, 1)), *things]
        places[row] = order[1:3]
        first, second = (KINDS[kind] for kind in kinds[:2])
        captions.append(f"in the {ROOMS[room]} a {first} and a {second}")
    regions += 0.1 * rng.standard_normal(regions.shape, np.float32)
    return {
        "regions": regions.reshape(number, 8, -1),
        "captions": captions,
        "places": places,
    }


def writer_for(pieces) -> Relearner:
    """A small language model."""
    model = MaskedLanguageModel(pieces.vocabulary, 32, 1, 2, 16, rate=0.3)
    return Relearner(model, keras.optimizers.Adam(5e-3))


def trained_writer(learner: Relearner, captions, pieces, epochs: int = 6) -> MaskedLanguageModel:
    """The language model, trained on captions alone."""
    model = learner.restart()
    ids = padded_ids([pieces(caption) for caption in captions])
    model.fit({"token_ids": ids}, batch_size=50, epochs=epochs, verbose=0)
    return model


def proposed(captions, pieces, model) -> np.ndarray:
    """By the language model: words `[N, 2, 1 + 3]` in the place of both nouns, the noun first."""
    tokens = [pieces(caption) for caption in captions]
    nouns = [[noun - 1 for noun in NOUNS]] * len(captions)
    words = propose_negatives(tokens, nouns, model.predict_on_ids, pieces, NEGATIVES + 2, NEGATIVES)
    return words.arrays(tokens, max_nouns=len(NOUNS))


def random_words(captions, pieces, seed: int) -> dict:
    """By chance: nouns of other captions, but not the noun itself."""
    rng = np.random.default_rng([seed, 1])
    ids = padded_ids([pieces(caption) for caption in captions])
    own, pool = ids[:, NOUNS], ids[:, NOUNS].ravel()
    drawn = np.zeros((len(ids), len(NOUNS), NEGATIVES), np.int32)
    while (wrong := (drawn == own[..., None]) | (drawn == 0)).any():
        drawn[wrong] = rng.choice(pool, wrong.sum())
    return {
        "noun_positions": np.tile(np.int32(NOUNS), (len(ids), 1)),
        "noun_negatives": np.concatenate([own[..., None], drawn], -1).astype(np.int32),
        "noun_count": np.full(len(ids), len(NOUNS), np.int32),
    }


def arrays_of(part: dict, pieces, negatives: dict) -> dict:
    """What a model is trained on."""
    ids = padded_ids([pieces(caption) for caption in part["captions"]])
    positions = np.tile(np.int32(NOUNS), (len(ids), 1))
    given = {"regions": part["regions"], "token_ids": ids, "word_positions": positions}
    return {**given, **negatives}


def pointing(model, part: dict, pieces) -> float:
    """The share of named things whose region has the most attention."""
    ids = padded_ids([pieces(caption) for caption in part["captions"]])
    found = model.predict({"regions": part["regions"], "token_ids": ids}, verbose=0)["attention"]
    return float(np.mean(found[:, NOUNS].argmax(-1) == part["places"]))


def grounding_for(pieces, seed: int = 0) -> tfgen.PhraseGrounding:
    return tfgen.PhraseGrounding(
        SIDE**2,
        dims=32,
        word_encoder=dict(vocabulary=pieces.vocabulary, dims=32),
        num_words=10,
        seed=seed,
    )


def run(model, train: dict, held: dict, test: dict, pieces, epochs: int) -> list[dict]:
    """Trains one model; what it reaches after every epoch."""
    found = []
    for _ in range(epochs):
        model.fit(train, batch_size=25, verbose=0)
        logs = model.evaluate(held, batch_size=100, verbose=0, return_dict=True)
        found.append(
            {"word_choice": logs["word_choice"], "pointing": pointing(model, test, pieces)}
        )
    return found


def study(data_dir, seeds: int, number: int, epochs: int) -> dict:
    """Both kinds of negatives on the same scenes, for several seeds."""
    things = {split: pictures(data_dir, split) for split in ("train", "test")}
    results = {"language_model": [], "random": [], "curves": []}
    pieces = WordPieces(vocabulary())
    writers = writer_for(pieces)
    learner = Relearner(grounding_for(pieces), keras.optimizers.Adam(1e-3))
    for seed in range(seeds):
        parts = [
            scenes(things[split], size, 10 * seed + k)
            for k, (split, size) in enumerate(
                (("train", number), ("train", number // 5), ("test", number // 5))
            )
        ]
        captions = parts[0]["captions"]
        writer = trained_writer(writers, captions, pieces)
        start = grounding_for(pieces, seed)
        start.build()
        makers = {
            "language_model": lambda c: proposed(c, pieces, writer),  # noqa: B023
            "random": lambda c: random_words(c, pieces, seed),  # noqa: B023 (called at once)
        }
        for name, make in makers.items():
            train, held = (arrays_of(p, pieces, make(p["captions"])) for p in parts[:2])
            model = learner.restart(start.get_weights())
            curve = run(model, train, held, parts[2], pieces, epochs)
            best = max(range(epochs), key=lambda k: curve[k]["word_choice"])
            results[name].append(curve[best]["pointing"])
            results["curves"].append({"negatives": name, "seed": seed, "epochs": curve})
            print(name, seed, [round(each["pointing"], 3) for each in curve], flush=True)
    return {**results, **difference(results)}


def difference(results: dict) -> dict:
    """The mean of the differences by seed, and its standard error."""
    gaps = np.subtract(results["language_model"], results["random"])
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else None
    return {"difference": float(gaps.mean()), "standard_error": error}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--number", type=int, default=3000, help="training scenes")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", default=None)
    given = parser.parse_args()
    found = study(given.data_dir, given.seeds, given.number, given.epochs)
    if given.output:
        pathlib.Path(given.output).write_text(json.dumps(found, indent=2) + "\n")
    for name in ("language_model", "random"):
        print(f"{name}: {np.mean(found[name]):.4f} of {found[name]}")
    print(f"difference {found['difference']:.4f}, standard error {found['standard_error']}")


if __name__ == "__main__":
    main()
