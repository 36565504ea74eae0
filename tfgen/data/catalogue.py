"""The data sets of the papers: what their images are, and where they can come from."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """One data set of the catalogue.

    Attributes:
        name: string by which `load` knows it.
        image_shape: tuple `(height, width, channels)` of every image.
        num_bits: integer, bit depth at which the papers model it; 1 for binary data. Defaults to
            `8`.
        binary: whether pixels are Bernoulli intensities to draw from, anew at every access.
            Defaults to `False`.
        flip: whether the papers train with random horizontal flips. Defaults to `False`.
        num_images: dict of published split sizes. Local copies may hold fewer.
        files: tuple of file names looked for in the data folder, in this order, beside `NAME.npz`.
            Defaults to `()`.
        keras: string, the module of `keras.datasets` that fetches it, or None.
        tfds: string, the name by which TensorFlow Datasets fetches it, or None.
        tfds_splits: dict, split of ours -> split of TFDS, where they differ.
        crop: tuple `(left, upper, right, lower)` cut from originals of `crop_from` before resizing;
            None cuts nothing.
        crop_from: tuple `(width, height)` of the originals that `crop` belongs to, or None.
        evaluation_split: string, the split whose numbers the papers report. Defaults to `"test"`.
        licence: string, terms of the data, as their makers state them; reads on after "is under".
            Defaults to `""`.
        note: string, where a user gets the files, or what to know about them. Defaults to `""`.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_bits: int = 8
    binary: bool = False
    flip: bool = False
    num_images: Mapping[str, int] = dataclasses.field(default_factory=dict)
    files: tuple[str, ...] = ()
    keras: str | None = None
    tfds: str | None = None
    tfds_splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    crop: tuple[int, int, int, int] | None = None
    crop_from: tuple[int, int] | None = None
    evaluation_split: str = "test"
    licence: str = ""
    note: str = ""


_ENTRIES = (
    DatasetInfo(
        name="digits",
        image_shape=(16, 16, 1),
        num_bits=1,
        binary=True,
        num_images={"train": 1500, "test": 297},
        licence="CC BY 4.0 (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository)",
        note=(
            "scikit-learn's 8x8 handwritten digits, embedded in the package: no network needed. "
            "Enlarged to 16x16 (bilinear) and split by a fixed permutation."
        ),
    ),
    DatasetInfo(
        name="mnist",
        image_shape=(28, 28, 1),
        num_bits=1,
        binary=True,
        num_images={"train": 60_000, "test": 10_000},
        keras="mnist",
        licence="CC BY-SA 3.0 (Y. LeCun, C. Cortes and C. J. C. Burges)",
        note="The four idx files, gzipped or not, are read from a folder of this name.",
    ),
    DatasetInfo(
        name="stacked_mnist",
        image_shape=(32, 32, 3),
        num_images={"train": 120_000, "test": 20_000},
        licence="CC BY-SA 3.0, as MNIST",
        note="Made of MNIST: see there.",
    ),
    DatasetInfo(
        name="fashion_mnist",
        image_shape=(28, 28, 1),
        num_bits=1,
        binary=True,
        num_images={"train": 60_000, "test": 10_000},
        keras="fashion_mnist",
        licence="MIT (Zalando SE)",
        note="The four idx files, gzipped or not, are read from a folder of this name.",
    ),
    DatasetInfo(
        name="omniglot",
        image_shape=(28, 28, 1),
        num_bits=1,
        binary=True,
        num_images={"train": 24_345, "test": 8_070},
        files=("chardata.mat", "omniglot28.npz"),
        licence="MIT (B. Lake, R. Salakhutdinov and J. Tenenbaum)",
        note="The papers use the 28x28 file chardata.mat of the IWAE authors (yburda/iwae).",
    ),
    DatasetInfo(
        name="cifar10",
        image_shape=(32, 32, 3),
        flip=True,
        num_images={"train": 50_000, "test": 10_000},
        keras="cifar10",
        licence="no formal licence: free for research with citation (A. Krizhevsky, 2009)",
    ),
    DatasetInfo(
        name="cifar100",
        image_shape=(32, 32, 3),
        flip=True,
        num_images={"train": 50_000, "test": 10_000},
        files=("cifar100_test.npz",),
        keras="cifar100",
        licence="no formal licence: free for research with citation (A. Krizhevsky, 2009)",
    ),
    DatasetInfo(
        name="svhn",
        image_shape=(32, 32, 3),
        num_images={"train": 73_257, "test": 26_032},
        tfds="svhn_cropped",
        licence="its authors' terms: non-commercial use only (Y. Netzer et al., 2011)",
        note="The original train_32x32.mat and test_32x32.mat are read from a folder svhn/.",
    ),
    DatasetInfo(
        name="imagenet32",
        image_shape=(32, 32, 3),
        flip=True,
        num_images={"train": 1_281_147, "test": 50_000},
        tfds="downsampled_imagenet/32x32",
        tfds_splits={"test": "validation"},
        licence="the ImageNet terms: non-commercial research and education",
        note=(
            "The down-sampling of van den Oord et al. (2016), train_32x32/ and valid_32x32/. The "
            "later official 32x32 release was made differently: bits/dim do not compare."
        ),
    ),
    DatasetInfo(
        name="celeba64",
        image_shape=(64, 64, 3),
        flip=True,
        num_images={"train": 162_770, "validation": 19_867, "test": 19_962},
        tfds="celeb_a",
        crop=(15, 40, 163, 188),
        crop_from=(178, 218),
        evaluation_split="validation",
        licence="the CelebA agreement: non-commercial research (Z. Liu et al., 2015)",
        note="Aligned faces (img_align_celeba) with list_eval_partition.txt beside them.",
    ),
    DatasetInfo(
        name="celeba_hq256",
        image_shape=(256, 256, 3),
        num_bits=5,
        flip=True,
        num_images={"train": 27_000, "test": 3_000},
        licence="CC BY-NC 4.0 (T. Karras et al.), over the CelebA agreement",
        note="Images or the TFRecords of Glow (celeba-tfr), in train/ and validation/.",
    ),
    DatasetInfo(
        name="ffhq256",
        image_shape=(256, 256, 3),
        num_bits=5,
        flip=True,
        num_images={"train": 63_000, "test": 7_000},
        licence="CC BY-NC-SA 4.0 (NVIDIA); each photograph has a licence of its own",
        note=(
            "The 1024x1024 or 256x256 images; without train/ and test/ folders, a fixed tenth "
            "of them is held out (the papers' split was drawn without a seed)."
        ),
    ),
)

CATALOGUE: dict[str, DatasetInfo] = {entry.name: entry for entry in _ENTRIES}
