"""Which systems there are: one row each, and everything else asks here.

A system is a class that trains by `fit` (a `tfgen.training.Model`). Its row names the class, which
is imported when it is first needed, and says what programs and model cards have to know about it.
"""

import dataclasses
import importlib
import inspect
from typing import Any

from tfgen.errors import ConfigError
from tfgen.training import Model


@dataclasses.dataclass(frozen=True)
class Base:
    """The trained model that a system stands on.

    Attributes:
        argument: string, the name of the constructor's argument, and of the field of a
            configuration that names the preset or workdir of the base.
        frozen: whether training leaves the base as it is, to the last bit.
    """

    argument: str = "vae"
    frozen: bool = True


@dataclasses.dataclass(frozen=True)
class System:
    """One row of the registry.

    Attributes:
        path: string, `module:Class`.
        title: string, what it is, in a few words.
        paper: string, authors and year, as a Markdown link.
        base: a `Base`, what it stands on, or None.
        evaluators: tuple of names of `tfgen.runs.evaluators`, what `tfgen-evaluate` measures.
        small_operations: whether a training step is so many small operations that a processor
            computes several at a time faster than each with all cores (docs/benchmarks.md).
    """

    path: str
    title: str
    paper: str
    base: Base | None = None
    evaluators: tuple[str, ...] = ("likelihood", "sample_quality", "pictures")
    small_operations: bool = False

    def load(self) -> type[Model]:
        """The class."""
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)


SYSTEMS: dict[str, System] = {
    "nvae": System(
        "tfgen.generative.nvae:NVAE",
        title="NVAE, a deep hierarchical variational autoencoder",
        paper="[Vahdat & Kautz, 2020](https://arxiv.org/abs/2007.03898)",
        small_operations=True,
    ),
    "ncp": System(
        "tfgen.generative.ncp:NCPVAE",
        title="NCP-VAE, a noise-contrastive prior over a trained VAE",
        paper="[Aneja et al., 2021](https://arxiv.org/abs/2010.02917)",
        base=Base("vae"),
        evaluators=("likelihood", "sample_quality", "pictures", "holes"),
    ),
    "vaebm": System(
        "tfgen.generative.vaebm:VAEBM",
        title="VAEBM, an energy network over a trained VAE",
        paper="[Xiao et al., 2021](https://arxiv.org/abs/2010.00654)",
        base=Base("vae"),
        evaluators=("partition", "likelihood", "sample_quality", "pictures"),
    ),
    "lsgm": System(
        "tfgen.generative.lsgm:LSGM",
        title="LSGM, a score-based prior in a VAE's latent space",
        paper="[Vahdat et al., 2021](https://arxiv.org/abs/2106.05931)",
        base=Base("vae", frozen=False),
        small_operations=True,
    ),
    "multi_task_ood": System(
        "tfgen.ood:MultiTaskOOD",
        title="A classifier or model of unlabelled images that knows what it does not know",
        paper="[Mohseni et al., 2021](https://arxiv.org/abs/2106.03899)",
        evaluators=("detection",),
    ),
    "phrase_grounding": System(
        "tfgen.grounding:PhraseGrounding",
        title="Phrase grounding, learnt from captions alone",
        paper="[Gupta et al., 2020](https://arxiv.org/abs/2006.09920)",
        evaluators=("grounding", "grounding_gallery"),
    ),
    "unas": System(
        "tfgen.search.unas:SearchedClassifier",
        title="A classifier whose cells or blocks were searched for",
        paper="[Vahdat et al., 2020](https://arxiv.org/abs/1912.07651)",
        evaluators=("classification",),
        small_operations=True,
    ),
    "hant": System(
        "tfgen.search.hant:NetworkClassifier",
        title="A classifier around any Keras network, such as one that was made fast by HANT",
        paper="[Molchanov et al., 2021](https://arxiv.org/abs/2107.10624)",
        evaluators=("classification",),
    ),
}


def find_system(name: Any, where: str = "config.model.name") -> System:
    """The row of a system.

    Args:
        name: string, its key in `SYSTEMS`.
        where: string, what named it, for the message.

    Raises:
        ConfigError: there is no such system; the message lists those there are.
    """
    if not isinstance(name, str) or name not in SYSTEMS:
        raise ConfigError(f"{where} is {name!r}; expected one of {sorted(SYSTEMS)}")
    return SYSTEMS[name]


def name_of(model: Model) -> str:
    """The key in `SYSTEMS` of a model's class.

    Raises:
        ConfigError: no row names it.
    """
    kind = type(model)
    for name, system in SYSTEMS.items():
        if system.path.rpartition(":")[2] == kind.__name__ and system.load() is kind:
            return name
    raise ConfigError(
        f"{kind.__name__} is no system of the registry (tfgen.systems.registry); there are "
        f"{', '.join(SYSTEMS)}"
    )


def arguments_of(kind: type) -> dict[str, inspect.Parameter]:
    """What a class's constructor takes by name, but for those every Keras model takes."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {p.name: p for p in named if p.name not in ("self", "name")}
