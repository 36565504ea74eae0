"""Small whole files of every reader of phrase grounding, and what reads all of each."""

import base64
import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from tfgen.data.named_arrays import read_arrays, save_arrays
from tfgen.grounding.coco import read_captions, read_images
from tfgen.grounding.entities import Entities
from tfgen.grounding.negatives.proposals import WordNegatives
from tfgen.grounding.regions import MAFRegions, OfficialRegions, read_tsv
from tfgen.grounding.words.bert import read_vocabulary

SENTENCES = """\
[/EN#1/people A man] in [/EN#2/clothing/other a red t-shirt] by [/EN#3/scene the sea] .
[/EN#0/notvisual It] is [/EN#4/other a  ball] .
"""
ANNOTATION = """\
<annotation><size><width>50</width><height>40</height></size>
<object><name>1</name><name>2</name>
<bndbox><xmin>3</xmin><ymin>5</ymin><xmax>9</xmax><ymax>15</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>1</nobndbox></object>
</annotation>
"""
CAPTIONS = {
    "annotations": [
        {"image_id": 7, "id": 1, "caption": "A dog runs."},
        {"image_id": 8, "id": 2, "caption": "Café 🐕"},
    ]
}
IMAGES = {
    "images": [
        {
            **{"file_name": "7.jpg", "image_id": 7, "width": 64, "height": 48},
            "captions": [{"caption": "a dog", "phrases": [{"text": "dog", "box_ids": [3]}]}],
            "boxes": [{"id": 3, "bbox_xyxy": [1.0, 2.0, 9.5, 12.0]}],
        }
    ]
}
ROWS = {"101": 1, "102": 0}
DETECTIONS = {
    "101": {"bboxes": [[0, 0, 4, 4], [1, 2, 3, 4]], "classes": ["cat", "dog"]},
    "102": {"bboxes": [[1, 1, 2, 2]]},
}


class Reader(NamedTuple):
    """One reader.

    Attributes:
        write: writes whole files into a folder.
        name: of the one that is damaged.
        read: reads all that the folder holds, and looks at it.
    """

    write: Callable[[Path], object]
    name: str
    read: Callable[[Path], object]


def write_official(folder):
    rng = np.random.default_rng(0)
    shapes = {"features": (3, 4), "boxes": (3, 4), "scores": (3,)}
    for name, shape in shapes.items():
        with h5py.File(folder / f"{name}.hdf5", "w") as file:
            file["7"] = rng.random(shape).astype(np.float32)
            file.create_dataset("8", data=rng.random(shape), chunks=True, compression="gzip")


def read_official(folder):
    found = OfficialRegions(folder)
    try:
        for name in found.ids():
            look_at(found[name])
    finally:
        found.close()


def look_at(regions):
    count = len(regions.features)
    assert regions.features.ndim == 2
    assert regions.boxes.shape == (count, 4)
    assert regions.scores is None or regions.scores.shape == (count,)
    for numbers in regions[:3]:
        assert numbers is None or (numbers.dtype == np.float32 and np.isfinite(numbers).all())
    if regions.image_size is not None:
        assert all(0 < length < 2**31 for length in regions.image_size)


def write_maf(folder):
    with h5py.File(folder / "features.hdf5", "w") as file:
        file["features"] = np.random.default_rng(0).random((3, 6)).astype(np.float32)
        file["pos_bboxes"] = np.array([[0, 1], [1, 3]])
    (folder / "rows.json").write_text(json.dumps(ROWS))
    (folder / "detections.json").write_text(json.dumps(DETECTIONS))


def write_maf_pickle(folder):
    write_maf(folder)
    (folder / "rows.json").write_bytes(pickle.dumps({101: 1, 102: 0}))


def read_maf(folder):
    found = MAFRegions(
        *(folder / name for name in ("features.hdf5", "rows.json", "detections.json"))
    )
    for name in found.ids():
        look_at(found[name])
        assert all(isinstance(kind, str) for kind in found.class_names(name))


def tsv_line(*changes):
    rng = np.random.default_rng(0)
    arrays = (rng.random(shape).astype("<f4").tobytes() for shape in ((2, 4), (2, 3)))
    columns = ["42", "640", "480", "2", *(base64.b64encode(a).decode() for a in arrays)]
    for place, text in changes:
        columns[place] = text
    return "\t".join(columns)


def write_tsv(folder):
    (folder / "a.tsv").write_text(f"{tsv_line()}\n{tsv_line((0, '43'))}\n")


def look_at_tsv(folder):
    for name, regions in read_tsv(folder / "a.tsv"):
        assert isinstance(name, str)
        look_at(regions)


def write_entities(folder):
    for name, ending, text in (("Sentences", "txt", SENTENCES), ("Annotations", "xml", ANNOTATION)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"77.{ending}").write_text(text)
    (folder / "val.txt").write_text("77\n78\n")


def read_entities(folder):
    entities = Entities(folder)
    for name in entities.image_ids("val"):
        for caption in entities.captions(name):
            for phrase in caption.phrases:
                last = phrase.first_word + phrase.num_words
                assert caption.text.split()[phrase.first_word : last] == phrase.text.split()
        found = entities.boxes(name)
        assert all(np.isfinite(boxes).all() for boxes in found.boxes.values())
        assert all(boxes.shape[1:] == (4,) for boxes in found.boxes.values())


def look_at_captions(path):
    found = read_captions(path)
    assert len(set(found.caption_ids)) == len(found.texts) == len(found.image_ids) > 0
    for column in found:
        "".join(column).encode()


def look_at_images(path):
    for image in read_images(path):
        assert all(isinstance(text, str) for text in (image.file_name, *image.captions))
        assert min(image.image_size) > 0
        for box in image.boxes.values():
            assert box.shape == (4,)
            assert np.isfinite(box).all()
        for number, text, boxes in image.phrases:
            assert isinstance(image.captions[number], str)
            assert isinstance(text, str)
            assert isinstance(boxes, tuple)


def negatives():
    numbers = np.arange(6, dtype=np.int32)
    return WordNegatives(numbers[:2], numbers[1:3], numbers[:2] // 2 + 1, numbers.reshape(2, 3))


def look_at_negatives(path):
    found = WordNegatives.load(path)
    for name in ("caption", "position", "length", "words"):
        array = getattr(found, name)
        assert array.dtype.kind in "iu"
        assert array.min(initial=0) >= 0
        assert len(array) == len(found)


def write_arrays(folder):
    arrays = {"regions": np.ones((2, 3, 4), np.float32), "words": np.ones((3, 2, 5), np.float32)}
    save_arrays(folder, "train", arrays | {"image_row": np.array([0, 1, 1])})


def look_at_arrays(folder):
    for array in read_arrays(folder, "train").values():
        array[np.arange(len(array))]


def writing(name, text):
    return lambda folder: (folder / name).write_bytes(text)


_JSON = {name: json.dumps(value).encode() for name, value in
         (("captions", CAPTIONS), ("images", IMAGES))}  # fmt: skip
READERS = {
    "authors' features": Reader(write_official, "features.hdf5", read_official),
    "authors' scores": Reader(write_official, "scores.hdf5", read_official),
    "MAF's features": Reader(write_maf, "features.hdf5", read_maf),
    "MAF's rows": Reader(write_maf, "rows.json", read_maf),
    "MAF's rows, pickled": Reader(write_maf_pickle, "rows.json", read_maf),
    "MAF's boxes": Reader(write_maf, "detections.json", read_maf),
    "TSV": Reader(write_tsv, "a.tsv", look_at_tsv),
    "sentences": Reader(write_entities, "Sentences/77.txt", read_entities),
    "annotations": Reader(write_entities, "Annotations/77.xml", read_entities),
    "split": Reader(write_entities, "val.txt", read_entities),
    "captions": Reader(
        writing("a", _JSON["captions"]), "a", lambda folder: look_at_captions(folder / "a")
    ),
    "captions, gzipped": Reader(
        writing("a", gzip.compress(_JSON["captions"])),
        "a",
        lambda folder: look_at_captions(folder / "a"),
    ),
    "images": Reader(
        writing("a", _JSON["images"]), "a", lambda folder: look_at_images(folder / "a")
    ),
    "negatives": Reader(
        lambda folder: negatives().save(folder / "a"),
        "a",
        lambda folder: look_at_negatives(folder / "a"),
    ),
    "vocabulary": Reader(
        writing("a", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\ndog\ncaf\xc3\xa9\n"),
        "a",
        lambda folder: read_vocabulary(folder / "a"),
    ),
    "arrays": Reader(write_arrays, "regions_train.npy", look_at_arrays),
    "rows of arrays": Reader(write_arrays, "image_row_train.npy", look_at_arrays),
}
