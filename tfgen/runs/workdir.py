"""The folder of one run: what lies where, and that two runs do not mix.

config.json     the configuration with every default filled in
checkpoints/    the last two states of training
logs/           TensorBoard events and CSV
samples/        pictures
metrics.json    what evaluation measured
export/         artefacts
"""

import contextlib
import itertools
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfgen.errors import ConfigError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.locking import locked
from tfgen.files.temporaries import sweep_tree
from tfgen.runs.config import differences
from tfgen.systems.presets import OTHER_KINDS

# A run that changes these is another run. What else may change between a stop and a resumption is
# said and then obeyed.
_FIXED = {
    "training": ("model", "data"),
    "search": ("model", "criteria", "data"),
    "audit": ("model", "data", "threat_model", "attacks", "defences", "audit"),
    "transformation": ("model", "data", "teacher", "distillation", "training"),
}
_FREE = {
    "transformation": ("pool", "scores", "latency", "plan", "fine_tuning", "quantization"),
}
_FREE_BY_DEFAULT = ("optimizer", "training", "evaluation")
# Depends on the length of the run, which may be extended; it shapes no weight.
_DERIVED = ("total_steps",)


class Workdir:
    """Names and files of a run's folder.

    Args:
        path: the folder; made when something is first written.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._holds_run = False

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.json"

    @property
    def exports(self) -> Path:
        return self.path / "export"

    def claimed(self, chief: bool = True) -> contextlib.AbstractContextManager[None]:
        """Keeps others from training or auditing here, within a block.

        Args:
            chief: of several workers, which share one folder, the chief holds it.

        Raises:
            InUseError: another process does so already.
        """
        if not chief:
            return contextlib.nullcontext()
        return self._claimed()

    @contextlib.contextmanager
    def _claimed(self):
        with locked(self.path / ".lock", str(self.path)):
            sweep_tree(self.path)
            yield

    def read_config(self) -> dict[str, Any]:
        """The configuration of the run that lies here.

        Raises:
            ConfigError: there is none, or it is not readable.
        """
        if not self.config_path.is_file():
            raise ConfigError(
                f"{self.path} holds no run: {self.config_path.name} is missing; "
                f"make one with tfgen-train --workdir={self.path}"
            )
        config = read_json(self.config_path, ConfigError)
        if not isinstance(config.get("model"), dict):
            raise ConfigError(f"{self.config_path} holds no configuration with a model; restore it")
        self._holds_run = True
        return config

    def compare(self, config: Mapping[str, Any]) -> list[str]:
        """Checks that `config` may continue what lies here.

        Returns:
            What changed that may change, one `section.field: old -> new` each.

        Raises:
            ConfigError: a run of another kind, another model or other data, naming the fields; of
                an audit anything else; or the report of an audit of unknown configuration.
        """
        kind = _kind(config)
        if not self.config_path.is_file():
            if kind == "audit":
                self._refuse_remains()
            return []
        old = self.read_config()
        if _kind(old) != kind:
            raise ConfigError(
                f"{self.path} holds the configuration and results of a run of another kind "
                f"({_kind(old)}, not {kind}); choose another --workdir"
            )
        changed = [d for d in differences(old, config, _FIXED[kind]) if _field(d) not in _DERIVED]
        if changed:
            raise ConfigError(
                f"{self.path} holds a run with another configuration ({'; '.join(changed)}); "
                "choose another --workdir, or the configuration it was made with"
            )
        # What is left open in a new configuration was resolved in the old one.
        free = _FREE.get(kind, _FREE_BY_DEFAULT)
        return [d for d in differences(old, config, free) if not d.endswith(" -> None")]

    def _refuse_remains(self):
        """Results that an audit would replace, though nothing says that they are its own."""
        for path in (self.path / "audit.json", self.checkpoints, self.metrics_path):
            if path.exists():
                raise ConfigError(
                    f"{self.path} holds {path.name} but no {self.config_path.name} that says how "
                    "it was made; choose another --workdir"
                )

    def refuse_run(self, instead: str) -> None:
        """Refuses a folder that holds a run, to what keeps no configuration of its own.

        Args:
            instead: string, what was to go there, for the message.

        Raises:
            ConfigError: there is a run.
        """
        if self.config_path.is_file():
            raise ConfigError(
                f"{self.path} holds the configuration and results of a run, not {instead}; choose "
                "another --workdir"
            )

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes config.json, whole or not at all."""
        write_json(self.config_path, config)
        self._holds_run = True

    def read_metrics(self) -> dict[str, Any]:
        """What was measured so far, by name; empty before any evaluation.

        JSON has no NaN: what was none is None (see `tfgen.runs.numbers.with_nan`). A file that
        holds something else is said to, and left alone.
        """
        try:
            return self._read_metrics()
        except ConfigError as error:
            warnings.warn(str(error), stacklevel=2)
            return {}

    def _read_metrics(self):
        if not os.path.lexists(self.metrics_path):
            return {}
        found = read_json(self.metrics_path, ConfigError, "its numbers are left out")
        for name, values in found.items():
            if not isinstance(values, dict):
                raise ConfigError(
                    f"{self.metrics_path}: {name!r} is {str(values)[:40]!r}, expected named "
                    "numbers; its numbers are left out"
                )
        return found

    def write_metrics(self, name: str, values: Mapping[str, Any]) -> None:
        """Puts `values` under `name` into metrics.json, beside what is there.

        A file that holds something else is kept under another name, which is said.

        Raises:
            ConfigError: the run was removed meanwhile.
        """
        self.check_present()
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):  # or two writers would lose one's numbers
            try:
                found = self._read_metrics()
            except ConfigError as error:
                beside = _free_name(self.metrics_path)
                os.rename(self.metrics_path, beside)
                warnings.warn(f"{error}; it is kept as {beside.name}", stacklevel=2)
                found = {}
            write_json(self.metrics_path, {**found, name: values})

    def check_present(self) -> None:
        """Refuses to go on in a folder that held a run when this process began with it.

        Raises:
            ConfigError: it was removed meanwhile.
        """
        if self._holds_run and not self.config_path.is_file():
            raise ConfigError(
                f"{self.path} was removed, or emptied, while this program worked with it; restore "
                "it, or begin again in another folder"
            )


def _free_name(path: Path) -> Path:
    """A name beside `path` that nothing has, ending in `.damaged`."""
    for number in itertools.count(1):
        beside = path.with_name(f"{path.name}.damaged" + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(beside):
            return beside


def _kind(config: Mapping) -> str:
    """What a configuration is of."""
    found = (kind for section, (kind, _) in OTHER_KINDS.items() if section in config)
    return next(found, "training")


def _field(difference: str) -> str:
    return difference.split(":", 1)[0].split(".", 1)[1]
