"""Files of phrase grounding made to mislead or to do harm: one sentence, or the right data."""

import gzip
import json
import os
import pickle
import time
import tracemalloc
import zlib

import damaged_readers as whole
import h5py
import numpy as np
import pytest

from tfgen.errors import DataError
from tfgen.grounding.coco import read_captions, read_images
from tfgen.grounding.entities import Entities, parse_boxes, parse_caption
from tfgen.grounding.negatives.proposals import WordNegatives
from tfgen.grounding.regions import MAFRegions, OfficialRegions, read_tsv
from tfgen.grounding.regions.tables import read_table
from tfgen.grounding.words.bert import read_vocabulary

MIB = 1 << 20


@pytest.mark.parametrize("name", ["captions", "images", "sentences", "annotations", "vocabulary"])
def test_marks_and_line_ends_of_windows_change_nothing(tmp_path, name):
    reader = whole.READERS[name]
    reader.write(tmp_path)
    path = tmp_path / reader.name
    content = path.read_bytes()
    before = _content(name, tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert _content(name, tmp_path) == before


def _content(name, folder):
    if name == "vocabulary":
        return read_vocabulary(folder / "a")
    if name in ("captions", "images"):
        return repr((read_captions if name == "captions" else read_images)(folder / "a"))
    entities = Entities(folder)
    return repr((entities.captions("77"), entities.boxes("77")))


# -- what is made to do harm -----------------------------------------------------------------------


def test_links_and_arrays_of_other_files(tmp_path):
    whole.write_official(tmp_path)
    other = tmp_path / "other.hdf5"
    with h5py.File(other, "w") as file:
        file["x"] = np.ones((3, 4), np.float32)
    (tmp_path / "raw").write_bytes(bytes(48))
    layout = h5py.VirtualLayout((3, 4), np.float32)
    layout[:] = h5py.VirtualSource(other, "x", (3, 4))
    with h5py.File(tmp_path / "features.hdf5", "w") as file:
        file["external"] = h5py.ExternalLink(other, "x")
        file["group/inner"] = np.ones((3, 4), np.float32)
        file["outer"] = h5py.ExternalLink(other, "/")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (3, 4), np.float32, external=[(tmp_path / "raw", 0, 48)])
    with h5py.File(tmp_path / "boxes.hdf5", "a") as file:
        file["group/inner"] = np.ones((3, 4), np.float32)
    found = OfficialRegions(tmp_path)
    for name, sentence in (
        ("external", "is a link"),
        ("outer/x", "is a link"),
        ("virtual", "lies in other files"),
        ("raw", "lies in other files"),
        ("group", "is none; expected an array of numbers"),
        (".", "is a link or missing|is none|cannot be read as HDF5"),
    ):
        with pytest.raises(DataError, match=sentence):
            found[name]
    assert found._read("features", "group/inner").shape == (3, 4)
    with pytest.raises(DataError, match=r"^the name of an image is 7; expected a text$"):
        found[7]


def grown(read, sentence, most=64 * MIB):
    """Raises, within a second or two and without memory of NumPy or Python."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(DataError, match=sentence) as error:
            read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert peak < most, peak
    assert time.process_time() - start < 20


def test_shapes_far_larger_than_the_file(tmp_path):
    whole.write_official(tmp_path)
    with h5py.File(tmp_path / "features.hdf5", "w") as file:
        file.create_dataset("wide", (1 << 40, 4), np.float32, chunks=(1 << 10, 4))
        file.create_dataset("cells", (1 << 24, 4), np.float32, chunks=(1, 1))
        file.create_dataset(
            "chunk", (3, 4), np.float32, chunks=(1 << 14, 1 << 12), maxshape=(None,) * 2
        )
    for name in ("wide", "cells", "chunk"):
        grown(lambda name=name: OfficialRegions(tmp_path)._read("features", name), "unpack to")


def test_a_chunk_that_unpacks_to_a_thousand_times_as_much(tmp_path):
    whole.write_official(tmp_path)
    with h5py.File(tmp_path / "features.hdf5", "w") as file:
        array = file.create_dataset("7", (512, 600), "f4", chunks=(512, 600), compression="gzip")
        zeros = zlib.compressobj(9)
        block = zeros.compress(bytes(MIB)) + zeros.flush(zlib.Z_FULL_FLUSH)
        array.id.write_direct_chunk((0, 0), block[:2] + block[2:] * 300)
    grown(lambda: OfficialRegions(tmp_path)["7"], "a chunk of it unpacks to more than 1,228,800")


def test_features_that_compress_well_are_read(tmp_path):
    whole.write_official(tmp_path)
    content = np.random.default_rng(0).random((700, 512)).astype(np.float32)
    for name, array in (("features", content), ("boxes", np.ones((700, 4)))):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file.create_dataset("7", data=array, compression="gzip", chunks=array.shape)
    (tmp_path / "scores.hdf5").unlink()
    np.testing.assert_array_equal(OfficialRegions(tmp_path)["7"].features, content)


def test_scores_of_other_regions(tmp_path):
    whole.write_official(tmp_path)
    with h5py.File(tmp_path / "scores.hdf5", "a") as file:
        del file["7"]
        file["7"] = np.ones(4)
    with pytest.raises(
        DataError, match=r"'7' has scores of shape \(4,\); expected one for each of"
    ):
        OfficialRegions(tmp_path)["7"]


def test_rows_and_ends_beyond_the_features(tmp_path):
    whole.write_maf(tmp_path)
    names = [tmp_path / name for name in ("features.hdf5", "rows.json", "detections.json")]
    names[1].write_text(json.dumps({"101": -1, "102": 2}))
    for image in ("101", "102"):
        with pytest.raises(
            DataError, match=f"image '{image}' has no row among the 2 of pos_bboxes"
        ):
            MAFRegions(*names)[image]
    names[1].write_text(json.dumps(whole.ROWS))
    with h5py.File(names[0], "a") as file:
        file["pos_bboxes"][...] = [[-2, 1], [1, 4]]
    for image, ends in (("101", "1 to 4"), ("102", "-2 to 1")):
        with pytest.raises(
            DataError, match=f"'{image}' has the features from {ends}; expected some"
        ):
            MAFRegions(*names)[image]
    with pytest.raises(DataError, match="has no image '7'"):
        MAFRegions(*names).class_names("7")


def shared(depth):
    """Lists within lists of which every one is twice in the next."""
    found = (0, 1)
    for _ in range(depth):
        found = (found, found)
    return found


SHARED = pickle.dumps(shared(40), 2)[2:-1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x80\x04r\xff\xff\xff\x3f.", "cannot be read as a table"),  # room for 2**30 values
        (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", "cannot be read as|memory"),
        (b"\x80\x02}(" + SHARED + b"K\x01u.", "the table has a tuple as key; expected numbers"),
        (b"\x80\x02}" + SHARED + b"K\x01s.", "the table has a tuple as key; expected numbers"),
        (b"\x80\x02(" + SHARED + b"K\x01d.", "the table has a tuple as key; expected numbers"),
        (b"\x80\x04\x8f(" + SHARED + b"\x90.", "cannot be read as a table"),
        (pickle.dumps({1 << 100_000: 1}), "cannot be read as a table"),
        (pickle.dumps([1]), "holds a list; expected a table"),
        (b"cos\n\x1b[2J\n.", r"the table names os\.\\x1b\[2J; expected plain"),
        (b"{" + b'"a":1,' * 2 + b'"b":2}', "the key 'a' occurs twice"),
    ],
)  # fmt: skip
def test_tables_made_to_do_harm(tmp_path, content, sentence):
    (tmp_path / "a").write_bytes(content)
    grown(lambda: read_table(tmp_path / "a"), sentence)


def test_boxes_that_share_their_numbers(tmp_path):
    whole.write_maf(tmp_path)
    names = [tmp_path / name for name in ("features.hdf5", "rows.json", "detections.json")]
    names[2].write_bytes(pickle.dumps({"101": {"bboxes": [shared(40)]}, "102": 3}))
    grown(lambda: MAFRegions(*names)["101"], "'bboxes' that are no list of four finite numbers")
    with pytest.raises(DataError, match="'102' has a int of detections; expected a table"):
        MAFRegions(*names)["102"]


def test_quotation_marks_in_a_tsv_are_signs_as_any_other(tmp_path):
    lines = [whole.tsv_line((0, '"42')), whole.tsv_line((0, '4"3'))]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    assert [name for name, _ in read_tsv(tmp_path / "a.tsv")] == ['"42', '4"3']


def test_a_gzip_file_that_lies_of_its_length(tmp_path):
    path = tmp_path / "captions.json.gz"
    path.write_bytes(gzip.compress(bytes(4 * MIB)) * 70 + gzip.compress(b""))
    grown(lambda: read_captions(path), "unpacks from .* bytes to over 268,435,456", 900 * MIB)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": 2}, "has several captions with the id '2'"),
        ({"id": [1]}, "is no file of COCO captions"),
        ({"id": True}, "is no file of COCO captions"),
        ({"image_id": None}, "is no file of COCO captions"),
        ({"caption": "\ud800"}, "cannot be read as JSON"),
    ],
)
def test_captions_without_numbers_of_their_own(tmp_path, change, sentence):
    first, *others = whole.CAPTIONS["annotations"]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"annotations": [{**first, **change}, *others]}))
    with pytest.raises(DataError, match=sentence):
        read_captions(path)


@pytest.mark.parametrize(
    "change",
    [
        {"file_name": "/etc/passwd"},
        {"file_name": "../7.jpg"},
        {"file_name": 7},
        {"width": 0},
        {"height": -3},
        {"width": 1.5},
        {"captions": ["a dog"]},
        {"captions": [{"caption": 3}]},
        {"boxes": [{"id": 3, "bbox_xyxy": 5}]},
        {"boxes": [{"id": 3, "bbox_xyxy": [1, 2, 3]}]},
        {"boxes": [{"id": 3, "bbox_xyxy": [1, 2, 3, 1e300]}]},
        {"boxes": [{"id": 3, "bbox_xyxy": [1, 2, 3, "4"]}]},
    ],
)
def test_images_that_cannot_be(tmp_path, change):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [{**whole.IMAGES["images"][0], **change}]}))
    with pytest.raises(DataError, match="is no file of images with captions and boxes"):
        read_images(path)


def test_entities_of_xml(tmp_path):
    laughs = "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "ha" * 100}">' for n in range(12)
    )
    text = f"<!DOCTYPE x [{laughs}]><annotation><object><name>&a11;</name></object></annotation>"
    grown(lambda: parse_boxes(text), "is no annotation of Flickr30K Entities")
    secret = tmp_path / "secret"
    secret.write_text("7")
    text = (
        f'<!DOCTYPE x [<!ENTITY s SYSTEM "file://{secret}">]><annotation><object><name>&s;</name>'
        "</object></annotation>"
    )
    with pytest.raises(DataError, match="is no annotation of Flickr30K Entities"):
        parse_boxes(text)
    parse_boxes("<annotation>" + "<a>" * 200_000 + "</a>" * 200_000 + "</annotation>")


@pytest.mark.parametrize("number", ["inf", "nan", "1e300", "-1e400"])
def test_ends_of_boxes_that_are_no_pixels(number):
    for old in (">3<", ">50<"):
        with pytest.raises(DataError, match="is no annotation of Flickr30K Entities"):
            parse_boxes(whole.ANNOTATION.replace(old, f">{number}<", 1))


def test_sentences_of_many_or_long_marks(tmp_path):
    start = time.process_time()
    with pytest.raises(DataError, match="has a mark that cannot be read") as error:
        parse_caption("[/EN#1/" * 40_000)
    assert len(str(error.value)) < 200
    assert len(parse_caption("[/EN#1/other dog] " * 5_000).phrases) == 5_000
    assert time.process_time() - start < 10
    whole.write_entities(tmp_path)
    path = tmp_path / "Sentences" / "77.txt"
    path.write_text("one\x85line\u2028of\x1ctext\ntwo\n[/EN#1/other x", encoding="utf-8")
    with pytest.raises(DataError, match=r"77\.txt: the caption '\[/EN#1/other x' has a mark"):
        Entities(tmp_path).captions("77")
    path.write_text("one\x85line\u2028of\x1ctext\ntwo\n", encoding="utf-8")
    texts = [caption.text for caption in Entities(tmp_path).captions("77")]
    assert texts == ["one line of text", "two"]


def test_pieces_that_end_lines_elsewhere(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n\x85\n\u2028\ndog", encoding="utf-8")
    assert read_vocabulary(tmp_path / "vocab.txt") == ["[PAD]", "\x85", "\u2028", "dog"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"words": np.ones((2, 3))}, "words is of float64; expected integers from 0 on"),
        ({"caption": np.array([-1, 0])}, "caption is of int64; expected integers from 0 on"),
        ({"position": np.array(3)}, "expected one row for each noun"),
        ({"words": np.ones((3, 3), int)}, "expected one row for each noun"),
        ({"words": np.full((2, 3), 1 << 40)}, "words is of int64; expected integers from 0 on"),
    ],
)
def test_negatives_that_are_no_numbers_of_words(tmp_path, change, sentence):
    numbers = whole.negatives()
    arrays = {name: getattr(numbers, name) for name in ("caption", "position", "length", "words")}
    with open(tmp_path / "a.npz", "wb") as file:
        np.savez(file, **(arrays | change))
    with pytest.raises(DataError, match=sentence):
        WordNegatives.load(tmp_path / "a.npz")


def test_arrays_without_rows_or_numbers(tmp_path):
    for array in (np.array(3.0), np.ones(3, "c8"), np.zeros(3, "M8[s]"), np.zeros(3, "i4,f4")):
        whole.write_arrays(tmp_path)
        np.save(tmp_path / "regions_train.npy", array)
        with pytest.raises(DataError, match="expected rows of numbers or texts"):
            whole.look_at_arrays(tmp_path)
    os.remove(tmp_path / "regions_train.npy")
    np.save(tmp_path / "image_row_train.npy", np.array(2))
    with pytest.raises(DataError, match="expected rows of numbers or texts"):
        whole.look_at_arrays(tmp_path)
