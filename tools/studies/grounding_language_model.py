"""Trains the small masked language model on a file of COCO captions, and says how well it guesses.

    python tools/studies/grounding_language_model.py --captions=captions_val2017.json.gz \
        --output=language_model.keras

Every twentieth image is held out with all of its captions. What is guessed is right where the word
itself is named, with one word in 2,000 for chance; nouns are masked one at a time.
"""

import argparse

import keras
import numpy as np

from tfgen.grounding.coco import read_captions
from tfgen.grounding.negatives import MaskedLanguageModel, propose_negatives
from tfgen.grounding.words import (
    LexiconTagger,
    WordPieces,
    build_vocabulary,
    noun_words,
    padded_ids,
)
from tfgen.grounding.words.tokens import MASK, UNKNOWN

LENGTH, BATCH = 20, 64


def parts(captions) -> tuple[list[str], list[str]]:
    """Captions to learn from, and those of every twentieth image."""
    held = set(sorted(set(captions.image_ids))[::20])
    found = ([], [])
    for text, image in zip(captions.texts, captions.image_ids):
        found[image in held].append(text)
    return found


def model_for(vocabulary, steps: int) -> MaskedLanguageModel:
    model = MaskedLanguageModel(vocabulary, dims=96, num_blocks=2, num_heads=4, rate=0.25)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, max(1, steps - 300), alpha=0.02, warmup_target=2e-3, warmup_steps=300
    )
    model.compile(keras.optimizers.Adam(rate))
    return model


def noun_accuracy(model, tokens, nouns, pieces) -> dict:
    """Of nouns of one piece that the vocabulary has, masked one at a time."""
    ids, unknown = padded_ids(tokens, LENGTH), pieces.number(UNKNOWN)
    places = [
        (row, group[0])
        for row, (found, words) in enumerate(zip(tokens, nouns))
        for group in (found.word_pieces[word] for word in words)
        if len(group) == 1 and group[0] < LENGTH and found.ids[group[0]] != unknown
    ]
    ranks = []
    for start in range(0, len(places), 256):
        rows, columns = np.array(places[start : start + 256]).T
        every, masked = np.arange(len(rows)), ids[rows]
        own = masked[every, columns]
        masked[every, columns] = pieces.number(MASK)
        logits = model.predict_on_ids(masked)[every, columns]
        ranks += (logits > logits[every, own][:, None]).sum(1).tolist()
    ranks = np.array(ranks)
    return {"nouns": len(ranks), "first": np.mean(ranks < 1), "first_five": np.mean(ranks < 5)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", required=True)
    parser.add_argument("--output", default=None)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--stop_after", type=int, default=5, help="epochs of the schedule that run")
    given = parser.parse_args()
    learnt, held = parts(read_captions(given.captions))
    pieces = WordPieces(build_vocabulary(learnt, size=2000, least=3))
    tokens, others = [pieces(text) for text in learnt], [pieces(text) for text in held]
    model = model_for(pieces.vocabulary, given.epochs * (len(learnt) // BATCH))
    data, unseen = ({"token_ids": padded_ids(each, LENGTH)} for each in (tokens, others))
    for epoch in range(min(given.epochs, given.stop_after)):
        model.fit(data, batch_size=BATCH, verbose=0)
        found = model.evaluate(unseen, batch_size=128, verbose=0, return_dict=True)
        print(f"after {epoch + 1} passes over {len(learnt):,} captions: {found}", flush=True)
    nouns = [noun_words(text, LexiconTagger()) for text in held]
    print(noun_accuracy(model, others, nouns, pieces))
    negatives = propose_negatives(others, nouns, model.predict_on_ids, pieces)
    for row in range(0, len(negatives), max(1, len(negatives) // 10)):
        caption, position = negatives.caption[row], negatives.position[row]
        words = " ".join(pieces.vocabulary[word] for word in negatives.words[row] if word)
        print(f"{held[caption]} | {others[caption].pieces[position]} | {words}")
    if given.output:
        model.save(given.output)


if __name__ == "__main__":
    main()
