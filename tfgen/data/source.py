"""One split of a data set: named arrays, looked at before anything trusts them."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from tfgen.data.labels import as_labels
from tfgen.data.mapped import Array, Mapped, is_in_memory
from tfgen.data.ranges import as_levels
from tfgen.data.subset import described, shuffled_rows
from tfgen.errors import DataError
from tfgen.ops.labels import check_classes


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Examples of one split as named arrays, with what is known about them.

    The names that the library knows: "images" are uint8 `[N, H, W, C]`, "labels" integers `[N]`;
    both are brought to that from any form that `tfgen.data.ranges` and `tfgen.data.labels` take.
    Others are as a system defines them: a table, bags of words, captions, features of regions.

    Attributes:
        name: string, as given to `load`.
        split: string, as given to `load`.
        arrays: dict, name -> `[N, ...]`: a NumPy array, or for large sets something that is indexed
            like one (`Array`); all of one length.
        path: the file or folder they came from, or None when a library made them.
        notes: tuple of sentences about what was left out or changed on the way in. Defaults to
            `()`.
        class_names: tuple of the name of each label, where the set says it; else None.
        subset: string such as "a random 1,000 of 10,000 test images (seed 0)", or None for all
            there are.

    Raises:
        DataError: there are no arrays, or their lengths differ; images or labels that are none.
    """

    name: str
    split: str
    arrays: Mapping[str, Array]
    path: str | None = None
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    subset: str | None = None

    def __post_init__(self):
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(
                f"{self.name!r} has arrays of lengths {found or 'none'}; expected at least one "
                "array, and one row for each example in all of them"
            )

        if self.subset is None:  # a part of what was looked at may be dark, or lack a class
            self._normalise()

    def _normalise(self) -> None:
        """Images as uint8 and labels as integers, in whatever form they came."""
        arrays, where = dict(self.arrays), f"{self.name!r}"
        if isinstance(arrays.get("images"), np.ndarray):
            arrays["images"] = as_levels(arrays["images"], where)
        if "labels" in arrays:
            arrays["labels"], names = as_labels(arrays["labels"], len(self), where)
            object.__setattr__(self, "class_names", self.class_names or names)
        object.__setattr__(self, "arrays", arrays)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def images(self) -> Array:
        """uint8 `[N, H, W, C]`.

        Raises:
            DataError: the set has none.
        """
        if "images" not in self.arrays:
            raise DataError(f"{self.name!r} has no images; it has {', '.join(self.arrays)}")
        return self.arrays["images"]

    @property
    def labels(self) -> np.ndarray | None:
        """Integers `[N]`, or None when the set has none."""
        return self.arrays.get("labels")

    def check_classes(self, num_classes: int) -> None:
        """Refuses a set that a model of so many classes can neither learn from nor be scored by.

        Args:
            num_classes: integer, classes of the model.

        Raises:
            DataError: there are no labels, or some name no class of the model.
        """
        if self.labels is None:
            raise DataError(f"{self.name!r} has no labels, which a classifier needs")
        check_classes(self.labels, num_classes, repr(self.name))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(int(size) for size in self.images.shape[1:])

    @property
    def in_memory(self) -> bool:
        """Whether all arrays are plain ones of moderate size."""
        return all(map(is_in_memory, self.arrays.values()))

    @property
    def extent(self) -> str:
        """Which examples these are, to stand beside numbers: "all 10,000 test images" or the
        subset."""
        return self.subset or f"all {self._size}"

    @property
    def _size(self) -> str:
        noun = "images" if "images" in self.arrays else "examples"
        return f"{len(self):,} {noun if self.split == 'all' else f'{self.split} {noun}'}"

    def take(self, num_examples: int | None, seed: int = 0) -> "Source":
        """A random subset, or all examples for None or as many as there are.

        Files are often sorted, by class or by difficulty, so the first N would not stand for the
        rest. The subset of N of a seed begins with the subset of any smaller number.

        Args:
            num_examples: integer N, or None for all.
            seed: integer, seed of the choice. Defaults to `0`.

        Raises:
            DataError: there are fewer.
        """
        if num_examples is None or num_examples == len(self):
            return self
        if not 0 < num_examples <= len(self):
            raise DataError(
                f"{num_examples} images of {self.name!r} were asked for; "
                f"its {self.split!r} split has {len(self)}"
            )
        return self._part(shuffled_rows(len(self), seed)[:num_examples], seed)

    def split_off(self, num_examples: int, seed: int = 0) -> tuple["Source", "Source"]:
        """All but `num_examples` examples drawn at random, and those; both in the set's order.

        Args:
            num_examples: how many are set aside.
            seed: integer, seed of the choice. Defaults to `0`.

        Raises:
            DataError: nothing would be left on one side.
        """
        if not 0 < num_examples < len(self):
            raise DataError(
                f"{num_examples} of the {len(self)} images of {self.name!r} cannot be set aside; "
                "expected at least 1, and fewer than all"
            )
        order = shuffled_rows(len(self), seed)
        parts = order[num_examples:], order[:num_examples]
        return tuple(self._part(np.sort(rows), seed) for rows in parts)

    def of_classes(self, classes: Sequence[int], others: bool = False) -> "Source":
        """The examples of some classes, whose labels become 0, 1, ... in the given order.

        Args:
            classes: sequence of integers, each once.
            others: whether to take all other examples instead, with the labels they have. Defaults
                to `False`.

        Raises:
            DataError: there are no labels, a class has no examples, or nothing is left.
        """
        if self.labels is None:
            raise DataError(f"{self.name!r} has no labels to choose classes by")
        known = np.unique(self.labels)
        wrong = [label for label in classes if label not in known]
        if wrong or len(set(classes)) != len(classes) or not len(classes):
            raise DataError(
                f"classes {list(classes)} of {self.name!r}: expected some of "
                f"{', '.join(map(str, known))}, each once"
            )
        rows = np.flatnonzero(np.isin(self.labels, classes) != others)
        if not len(rows):
            raise DataError(f"{self.name!r} has no classes but {list(classes)}")
        words = ", ".join(map(str, classes))
        subset = f"{len(rows):,} of {self.subset or self._size}, {'not ' * others}of class {words}"
        arrays = {name: self._rows(array, rows) for name, array in self.arrays.items()}
        if not others:
            new = {old: k for k, old in enumerate(classes)}
            arrays["labels"] = np.array([new[old] for old in arrays["labels"]], np.int64)
            if self.class_names is not None:
                names = tuple(self.class_names[old] for old in classes)
                return dataclasses.replace(self, arrays=arrays, subset=subset, class_names=names)
        return dataclasses.replace(self, arrays=arrays, subset=subset)

    def fingerprint(self) -> str:
        """16 hex digits that change when the data do, by length and by up to 4096 of the rows.

        The rows are spread evenly; sets of files are read at 16 rows, since each is decoded.
        """
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
            count = min(len(self), 4096 if isinstance(array, np.ndarray) else 16)
            rows = np.unique(np.linspace(0, len(self) - 1, count).astype(np.int64))
            digest.update(np.ascontiguousarray(array[rows]).data)
        return digest.hexdigest()[:16]

    def _part(self, rows: np.ndarray, seed: int) -> "Source":
        arrays = {name: self._rows(array, rows) for name, array in self.arrays.items()}
        subset = described(len(rows), self.subset or self._size, seed)
        return dataclasses.replace(self, arrays=arrays, subset=subset)

    @staticmethod
    def _rows(array: Array, rows: np.ndarray) -> Array:
        return array[rows] if is_in_memory(array) else Mapped(array, rows=rows)
