"""The numbers of an attack by optimisation, and the published sets of them."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.privacy.attack.gradient_distance import GRADIENT_FORMS
from tfgen.privacy.attack.image_priors import BATCH_NORM_FORMS
from tfgen.privacy.attack.labels import LABEL_METHODS

GROUPS = ("none", "lazy", "registered")
SCHEDULES = ("cosine", "steps", "constant")
OPTIMIZERS = ("adam", "lbfgs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """How candidates are brought to a shared gradient. Defaults are GradInversion's.

    Pixels move in the units of the network's input; a network that takes [0, 1] where the paper's
    takes pixels of variance one wants a smaller `learning_rate`.

    Attributes:
        num_steps: integer T. Defaults to `20000`.
        num_seeds: integer G, candidates that are optimised side by side. Defaults to `8`.
        gradient_form: string, the form of L_grad, see `gradient_distance`. Defaults to `"norm"`.
        gradient_weight: float a_G; 0 leaves the gradient out, which is the control of every claim.
            Defaults to `1e-3`.
        layer_weights: dict of factors on L_grad by path of the variable; others are 1. None: all
            are.
        late_kernels: float, share of the kernels, counted from the outputs in the order of the
            model's variables, that L_grad looks at; what lies before them and all biases, gains and
            offsets are left out. 0 looks at everything. Defaults to `0.0`.
        fit_scale: whether to fit the scale of the gradient, see `gradient_distance`. Defaults to
            `False`.
        metric_power: float, of the moments of gradients by whose inverse "whitened" L_grad weighs
            them, see `metric_of`. Defaults to `0.5`.
        metric_damping: float, what is added to these moments first, likewise. Defaults to `1e-3`.
        relu_width: float, width of the sigmoid for which the derivative of L_grad takes the steps
            of rectifiers, see `relaxed_relu`; 0 is exact. Defaults to `0.0`.
        tv_weight: float a_tv, weight of the total variation. Defaults to `1e-4`.
        l2_weight: float a_l2, weight of the size of the pixels. Defaults to `1e-6`.
        batch_norm_weight: float a_BN; has no effect if the threat model knows no statistics.
            Defaults to `0.1`.
        batch_norm_form: string, the form of R_BN, see `batch_norm_distance`. Defaults to `"norm"`.
        first_batch_norm_weight: float, further factor on the batch norm nearest to the pixels.
            Defaults to `1.0`.
        label_weight: float, weight of the candidates' own classification loss; 0 in the paper.
            Defaults to `0.0`.
        group: string, what seeds are drawn to: "registered" consensus, "lazy" (pixel mean) or
            "none". Defaults to `"registered"`.
        group_weight: float a_grp, weight of the distance from the consensus. Defaults to `0.01`.
        group_start: integer, first step with a group term. Defaults to `5000`.
        group_period: integer, steps between two computations of the consensus. Defaults to `100`.
        optimizer: "adam", or "lbfgs" (DLG), which knows no schedule, noise, group or augmentation.
            Defaults to `"adam"`.
        learning_rate: float, that of Adam, at its peak. Defaults to `0.1`.
        warmup_steps: integer, steps of linear rise. Defaults to `50`.
        schedule: "cosine" to zero; "steps", divided by ten at 3/8, 5/8 and 7/8; or "constant".
            Defaults to `"cosine"`.
        beta_1: float, Adam's decay of the mean. Defaults to `0.9`.
        beta_2: float, Adam's decay of the mean of squares. Defaults to `0.999`.
        epsilon: float, added to Adam's denominator. Defaults to `1e-8`.
        signed: whether Adam sees only the sign of the gradient (Inverting Gradients). Defaults to
            `False`.
        noise: float a_n, standard deviation of the Langevin noise on pixels in units of the current
            learning rate. Defaults to `0.2`.
        clip: whether pixels are kept in [0, 1] (of the image, before normalisation). Defaults to
            `True`.
        jitter: integer, largest random cyclic shift of the candidates in every step, in pixels.
            Defaults to `0`.
        flip: whether candidates are mirrored with probability one half in every step. Defaults to
            `False`.
        initial_mean: float, mean of the first candidates, in [0, 1]. Defaults to `0.5`.
        initial_std: float, their standard deviation, likewise. Defaults to `0.25`.
        label_method: string, how labels are restored, see `restore_labels`. Defaults to
            `"instance"`.

    Raises:
        ConfigError: an impossible value.
    """

    num_steps: int = 20_000
    num_seeds: int = 8
    gradient_form: str = "norm"
    gradient_weight: float = 1e-3
    layer_weights: Mapping[str, float] | None = None
    late_kernels: float = 0.0
    fit_scale: bool = False
    metric_power: float = 0.5
    metric_damping: float = 1e-3
    relu_width: float = 0.0
    tv_weight: float = 1e-4
    l2_weight: float = 1e-6
    batch_norm_weight: float = 0.1
    batch_norm_form: str = "norm"
    first_batch_norm_weight: float = 1.0
    label_weight: float = 0.0
    group: str = "registered"
    group_weight: float = 0.01
    group_start: int = 5_000
    group_period: int = 100
    optimizer: str = "adam"
    learning_rate: float = 0.1
    warmup_steps: int = 50
    schedule: str = "cosine"
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    signed: bool = False
    noise: float = 0.2
    clip: bool = True
    jitter: int = 0
    flip: bool = False
    initial_mean: float = 0.5
    initial_std: float = 0.25
    label_method: str = "instance"

    def __post_init__(self):
        for field, allowed in _CHOICES.items():
            one_of(field, getattr(self, field), allowed)
        for field, least in _WHOLE.items():
            whole_number(field, getattr(self, field), least)
        for field in _NOT_NEGATIVE:
            in_range(field, getattr(self, field), 0.0)
        if self.optimizer == "lbfgs" and self.group != "none":
            raise ConfigError("optimizer 'lbfgs' runs seeds one by one; set group to 'none'")
        if self.optimizer == "lbfgs" and self.relu_width:
            raise ConfigError(
                "optimizer 'lbfgs' needs the derivative of its objective; set relu_width to 0"
            )
        if not 0 <= self.late_kernels <= 1:
            raise ConfigError(f"late_kernels is {self.late_kernels}; expected a share, 0 to 1")
        for field in ("learning_rate", "metric_damping"):
            if not getattr(self, field) > 0:
                raise ConfigError(f"{field} is {getattr(self, field)}; expected above 0")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "AttackSettings":
        """Settings from keyword arguments; a field that does not exist is named.

        Raises:
            ConfigError: an unknown field, with the nearest that exists.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in config:
            if name not in known:
                nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(known)}"
                raise ConfigError(f"an attack has no setting {name!r}; {hint}")
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        """The fields, as keyword arguments."""
        return dataclasses.asdict(self)


_CHOICES = {
    "gradient_form": GRADIENT_FORMS,
    "batch_norm_form": BATCH_NORM_FORMS,
    "group": GROUPS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "label_method": LABEL_METHODS,
}
# Whole numbers, and the smallest that each may be.
_WHOLE = dict(num_steps=1, num_seeds=1, group_period=1, group_start=0, warmup_steps=0, jitter=0)
_NOT_NEGATIVE = (
    "gradient_weight",
    "metric_power",
    "relu_width",
    "tv_weight",
    "l2_weight",
    "batch_norm_weight",
    "first_batch_norm_weight",
    "label_weight",
    "group_weight",
    "noise",
    "initial_std",
)

# Published attacks as settings; sources in the comments.
ATTACKS: dict[str, dict[str, Any]] = {
    # Yin et al., 2021, arXiv:2104.07586.
    "gradinversion": {},
    # Geiping et al., 2020, arXiv:2003.14053: cosine, total variation, signed Adam, one seed.
    "inverting_gradients": dict(
        gradient_form="cosine",
        gradient_weight=1.0,
        tv_weight=1e-3,
        l2_weight=0.0,
        batch_norm_weight=0.0,
        group="none",
        num_seeds=1,
        signed=True,
        noise=0.0,
        warmup_steps=0,
        schedule="steps",
    ),
    # Zhu et al., 2019, arXiv:1906.08935, and with labels restored first Zhao et al., 2020,
    # arXiv:2001.02610 (iDLG): which of the two is the threat model's choice of labels.
    "dlg": dict(
        optimizer="lbfgs",
        num_steps=300,
        num_seeds=1,
        gradient_form="squared",
        gradient_weight=1.0,
        tv_weight=0.0,
        l2_weight=0.0,
        batch_norm_weight=0.0,
        group="none",
        noise=0.0,
    ),
}


def attack_settings(config: Mapping[str, Any]) -> AttackSettings:
    """Settings from a preset's name and what differs from it.

    Raises:
        ConfigError: no such preset or setting.
    """
    config = dict(config)
    preset = config.pop("preset", "gradinversion")
    one_of("attack preset", preset, ATTACKS)
    return AttackSettings.from_config({**ATTACKS[preset], **config})
