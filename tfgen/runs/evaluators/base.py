"""What every evaluator is given, and what it has to say."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from tfgen.runs.numbers import Kind, is_text, misfit

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trained model under evaluation, and the data it is measured on.

    Attributes:
        model: the model with its weights, live, a `keras.Model`.
        served: the model's frozen form, or the model itself where it has none, a `Servable`.
        base: the frozen form of the generator underneath, or None.
        config: dict, the complete configuration.
        split: string, the split of the data that are scored.
        num_images: integer, how many of them are scored, drawn at random where they are not all.
        batch_size: integer, examples computed at once; changes no number beyond rounding.
        seed: integer, seed of everything that is drawn.
        folder: path where pictures go.
        load: function `load(split, name=None, other_classes=False)`, the data of a split, cheap to
            call again; see `tfgen.runs.experiment.load_source`.
        batches: function `batches(source, batch_size, binarized)`, a pipeline over such data,
            prepared as in training but in order.
        progress: function `progress(title, total)` that shows a bar and yields a function of how
            much is done.
    """

    model: Any
    served: Any
    base: Any
    config: Mapping[str, Any]
    split: str
    num_images: int
    batch_size: int
    seed: int
    folder: Path
    load: Callable[..., Any]
    batches: Callable[[Any, int, bool], Any]
    progress: Progress

    def source(self, split: str | None = None):
        """The whole data of a split, or by default those that are scored."""
        if split is not None:
            return self.load(split)
        return self.load(self.split).take(self.num_images, self.seed)

    def pipeline(self, source=None, binarized: bool = True):
        """Evaluation batches of a source, by default of the data that are scored."""
        source = self.source() if source is None else source
        return self.batches(source, self.batch_size, binarized)


class Evaluator:
    """Measures something of a `Subject`; a subclass is a frozen dataclass of its options.

    Attributes:
        record: string, the name under which `metrics.json` keeps what it measures, beside the
            split's other numbers; None puts its numbers among them.
        shown: dict of what `table` shows, by name, as `tfgen.runs.numbers.misfit` takes it; what
            comes first is there where this was measured at all.
    """

    record: ClassVar[str | None] = None
    shown: ClassVar[Mapping[str, Kind]] = {}

    def check(self, subject: Subject) -> None:
        """Refuses options that do not fit, before anything takes time.

        Raises:
            UserError: what does not fit.
        """

    def measure(self, subject: Subject, found: Mapping[str, Any]) -> dict[str, Any]:
        """The numbers, as JSON holds them; empty if there is nothing to measure.

        Args:
            subject: the `Subject` that is measured.
            found: dict of what the evaluators before this one measured.
        """
        raise NotImplementedError

    def lines(self, found: Mapping[str, Any]) -> Sequence[str]:
        """The numbers in a few lines for a person."""
        del found
        return ()

    @classmethod
    def measured(cls, numbers: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """The splits of which there is something to show in `table`, right or wrong."""
        first = next(iter(cls.shown), None)
        return {split: found for split, found in numbers.items() if first in found}

    @classmethod
    def left_out(cls, numbers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """By split, why what is there cannot be shown."""
        found = {}
        for split, values in cls.measured(numbers).items():
            reason = misfit(values, cls.shown) if is_text(split) else "a split of no plain name"
            if reason:
                found[split] = reason
        return found

    @classmethod
    def table(cls, numbers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        """Lines of Markdown for a model card; none by default.

        Args:
            numbers: dict of what was measured, by split, all of it as `shown` says.
        """
        del numbers
        return iter(())


def images_of(numbers: Mapping[str, Any]) -> str:
    """Which images the numbers of a split are of, for a table."""
    return numbers.get("images") or f"{numbers['num_images']:,}"
