"""What the attacker of an audit is assumed to know. Nothing here has a default: it decides."""

import dataclasses
from typing import Any

from tfgen.errors import UserError

BATCH_NORM_MODES = ("eval", "train")
BATCH_NORM_STATISTICS = ("none", "moving", "batch")
LABELS = ("known", "restored", "optimized")
BATCH_SIZES = ("known", "unknown")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """The assumptions under which a gradient is attacked.

    Attributes:
        batch_norm_mode: how the client normalised: "eval" with moving averages, so that the images
            of a batch do not meet before the loss, or "train" with the statistics of its batch.
            Dropout and other layers that draw at random do so in "train" alone; the attacker never
            knows what the client drew, and draws anew in every step.
        batch_norm_statistics: which statistics the attacker matches: "none"; "moving", the averages
            in the network it was sent; "batch", those of the client's own batch, as synchronised
            batch norm or uploaded moving averages give away.
        labels: "known"; "restored" from the gradient of the head; "optimized" together with the
            images, as DLG does.
        batch_size: "known", or "unknown" and then estimated as the number of classes that the
            gradient proves to be in the batch.

    Raises:
        UserError: a value that is none of these.
    """

    batch_norm_mode: str
    batch_norm_statistics: str
    labels: str
    batch_size: str

    def __post_init__(self):
        for field, allowed in _ALLOWED.items():
            value = getattr(self, field)
            if value not in allowed:
                expected = ", ".join(map(repr, allowed))
                raise UserError(f"threat_model.{field} is {value!r}; expected one of {expected}")

    def get_config(self) -> dict[str, Any]:
        """The fields, as keyword arguments."""
        return dataclasses.asdict(self)

    def describe(
        self, batch_norm: bool = True, dropout: bool = True, frozen: str = "none"
    ) -> list[str]:
        """One sentence for each assumption.

        Args:
            batch_norm: whether the network has batch-norm layers to assume anything of. Defaults to
                `True`.
            dropout: whether it has layers that draw at random in training. Defaults to `True`.
            frozen: which of its batch-norm layers are frozen, "none", "some" or "all" of them.
                Defaults to `"none"`.
        """
        chosen = {field: _SENTENCES[field][getattr(self, field)] for field in _ALLOWED}
        if self.batch_norm_mode == "train":
            chosen["batch_norm_mode"] = _TRAINING[frozen]
        sentences = [
            sentence
            for field, sentence in chosen.items()
            if batch_norm or not field.startswith("batch_norm")
        ]
        return [*sentences, _RANDOM[self.batch_norm_mode]] if dropout else sentences


_ALLOWED = {
    "batch_norm_mode": BATCH_NORM_MODES,
    "batch_norm_statistics": BATCH_NORM_STATISTICS,
    "labels": LABELS,
    "batch_size": BATCH_SIZES,
}
_RANDOM = {
    "eval": "Layers that draw at random in training (dropout, noise, augmentation) drew nothing.",
    "train": (
        "What layers drew at random at the client (masks of dropout, noise, augmentation) the "
        "attacker does not know."
    ),
}
_TRAINING = {
    "none": "The client normalised with the statistics of its own batch.",
    "some": (
        "The client normalised with the statistics of its own batch, and with moving averages "
        "where batch norm is frozen."
    ),
    "all": "The client normalised with moving averages, since all of its batch norm is frozen.",
}
_SENTENCES = {
    "batch_norm_mode": {
        "eval": "The client normalised with moving averages (batch norm in inference mode).",
        "train": _TRAINING["none"],
    },
    "batch_norm_statistics": {
        "none": "The attacker uses no batch-norm statistics.",
        "moving": "The attacker matches the moving averages of the network it was sent.",
        "batch": "The attacker knows the batch-norm statistics of the client's batch.",
    },
    "labels": {
        "known": "The attacker knows the labels of the batch.",
        "restored": "The attacker restores the labels from the gradient of the last layer.",
        "optimized": "The attacker optimises the labels together with the images.",
    },
    "batch_size": {
        "known": "The attacker knows the batch size.",
        "unknown": "The attacker estimates the batch size from the gradient of the last layer.",
    },
}
