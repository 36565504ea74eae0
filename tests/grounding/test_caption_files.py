"""Flickr30K Entities and COCO captions: files of the published form, whole and damaged."""

import gzip
import json

import numpy as np
import pytest

from tfgen.errors import DataError
from tfgen.grounding.coco import read_captions, read_images
from tfgen.grounding.entities import Entities, parse_boxes, parse_caption, scored_phrases

SENTENCES = """\
[/EN#1/people A man] in [/EN#2/clothing/other a red t-shirt] by [/EN#3/scene the sea] .
[/EN#0/notvisual It] is [/EN#4/other a  ball] .
"""
THING = "<object>{names}{box}</object>"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def annotation(*things):
    size = "<size><width>50</width><height>40</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(things)}</annotation>"


def thing(names, box=None, **flags):
    marks = "".join(f"<{flag}>{value}</{flag}>" for flag, value in flags.items())
    names = "".join(f"<name>{name}</name>" for name in names)
    return THING.format(names=names, box=marks + (BOX.format(*box) if box else ""))


@pytest.fixture
def folder(tmp_path):
    for name in ("Sentences", "Annotations"):
        (tmp_path / name).mkdir()
    (tmp_path / "Sentences" / "77.txt").write_text(SENTENCES)
    (tmp_path / "Annotations" / "77.xml").write_text(
        annotation(
            thing("1", (1, 1, 10, 20)),
            thing(["1", "2"], (3, 5, 9, 15)),
            thing("3", scene=1, nobndbox=1),
            thing("4", (30, 30, 20, 20)),  # the other way round
            thing("5", scene=0, nobndbox=1),
        )
    )
    (tmp_path / "val.txt").write_text("77\n78\n")
    return tmp_path


def test_a_folder_of_entities(folder):
    entities = Entities(folder)
    assert entities.image_ids() == entities.image_ids("val") == ["77"]
    first, second = entities.captions("77")
    assert first.text == "A man in a red t-shirt by the sea ."
    assert [p.first_word for p in first.phrases] == [0, 3, 7]
    assert first.phrases[1].kinds == ("clothing", "other")
    assert second.phrases[1].text == "a ball"
    boxes = entities.boxes("77")
    assert boxes.boxes["1"].tolist() == [[0, 0, 9, 19], [2, 4, 8, 14]]
    assert boxes.boxes["2"].tolist() == [[2, 4, 8, 14]]
    assert (boxes.scenes, boxes.without_box) == ({"3"}, {"3", "5"})
    assert boxes.image_size == (40, 50)
    found = list(scored_phrases([first, second], boxes))
    assert [(number, phrase.entity) for number, phrase, _ in found] == [
        (0, "1"),
        (0, "2"),
        (1, "4"),
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[/EN#1/people A man rides .", "has a mark that is not closed, or empty"),
        ("[/EN#1/people ] rides .", "has a mark that is not closed, or empty"),
        ("[/EN#1/people A [/EN#2/other man]]", "has a mark that is not closed, or empty"),
        ("[/EN#/people A man] rides", "has a mark that cannot be read"),
    ],
)
def test_marks_that_cannot_be_read(line, sentence):
    with pytest.raises(DataError, match=sentence):
        parse_caption(line)


def test_captions_without_marks_and_with_odd_words():
    assert parse_caption("  A man   rides .\n").text == "A man rides ."
    caption = parse_caption("[/EN#9/people Ünï 🐕 ] , [/EN#1/other x]")
    assert [phrase.text for phrase in caption.phrases] == ["Ünï 🐕", "x"]
    assert caption.phrases[1].first_word == 3


@pytest.mark.parametrize(
    "text",
    [
        "<annotation>",
        "<annotation><object><name>1</name><bndbox></bndbox></object></annotation>",
        "<annotation><size><width>x</width></size></annotation>",
        b"\xff\xfe",
    ],
)
def test_damaged_annotations(text):
    with pytest.raises(DataError, match="is no annotation of Flickr30K Entities"):
        parse_boxes(text)


def test_folders_that_lack_something(folder):
    entities = Entities(folder)
    with pytest.raises(DataError, match=r"test\.txt cannot be read"):
        entities.image_ids("test")
    with pytest.raises(DataError, match=r"78\.xml cannot be read"):
        entities.boxes("78")
    (folder / "Sentences" / "77.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"77\.txt cannot be read"):
        entities.captions("77")
    with pytest.raises(DataError, match="has no folder Sentences; put what"):
        Entities(folder / "Sentences")


def test_published_entities(need_data):
    entities = Entities(need_data("flickr30k_entities") / "flickr30k_entities")
    total = 0
    for image in entities.image_ids():
        for caption in entities.captions(image):
            words = caption.text.split()
            for phrase in caption.phrases:
                last = phrase.first_word + phrase.num_words
                assert words[phrase.first_word : last] == phrase.text.split()
                total += 1
    assert total > 100
    excerpt = entities.folder / "Annotations" / "1000092795.excerpt.xml"
    found = parse_boxes(excerpt.read_text())
    assert found.image_size == (500, 333)
    assert found.boxes["1"][0].tolist() == [158, 124, 218, 334]
    assert len(found.boxes["4"]) >= 2
    captions = entities.captions("1000092795")
    assert {phrase.entity for _, phrase, _ in scored_phrases(captions, found)} <= set(found.boxes)


# -- COCO ------------------------------------------------------------------------------------------


def test_coco_captions(tmp_path):
    rows = [
        {"image_id": 7, "id": 1, "caption": " A dog\n runs. "},
        {"image_id": 7, "id": 2, "caption": "  "},
        {"image_id": 8, "id": 3, "caption": "Café 🐕"},
    ]
    path = tmp_path / "captions.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"annotations": rows}).encode()))
    found = read_captions(path)
    assert found.texts == ("A dog runs.", "Café 🐕")
    assert (found.image_ids, found.caption_ids) == (("7", "8"), ("1", "3"))
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_captions(path)
    for content, sentence in (
        ({"annotations": [{"id": 1}]}, "is no file of COCO captions"),
        ({"annotations": []}, "has no captions"),
        ([1], "is no file of COCO captions"),
    ):
        (tmp_path / "x.json").write_text(json.dumps(content))
        with pytest.raises(DataError, match=sentence):
            read_captions(tmp_path / "x.json")
    with pytest.raises(DataError, match="there is no file"):
        read_captions(tmp_path / "nothing.json")
    with pytest.raises(DataError, match="is no file of images with captions and boxes"):
        read_images(tmp_path / "x.json")


def test_published_captions_of_coco(need_data):
    found = read_captions(
        need_data("coco_captions_val2017.json.gz") / "coco_captions_val2017.json.gz"
    )
    assert len(found.texts) == len(set(found.caption_ids)) == 24_974
    assert len(set(found.image_ids)) == 4_992


def test_pictures_with_captions_and_boxes(need_data):
    folder = need_data("coco_mini") / "coco_mini"
    images = read_images(folder / "annotations.json")
    assert len(images) == 40
    assert sum(len(image.captions) for image in images) == 200
    assert sum(len(image.boxes) for image in images) == 413
    assert sum(len(image.phrases) for image in images) == 281
    for image in images:
        assert (folder / image.file_name).is_file() or list(folder.rglob(image.file_name))
        for number, text, boxes in image.phrases:
            assert text in image.captions[number]
            assert all(np.isfinite(image.boxes[box]).all() for box in boxes)
