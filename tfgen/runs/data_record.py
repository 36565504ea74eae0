"""The data a run was trained on, remembered so that a later change does not pass unseen."""

from pathlib import Path

from tfgen.data import Source
from tfgen.errors import UserError
from tfgen.files.json_file import read_json, write_json


class DataRecord:
    """`data.json` in the folder of a run: how many images there were, and their fingerprint.

    Args:
        folder: path of the run's folder; made when something is first written.
    """

    def __init__(self, folder: Path):
        self.path = Path(folder) / "data.json"

    def change(self, source: Source) -> str | None:
        """A sentence for a person if a run is about to go on with other data than it began with.

        Args:
            source: the `Source` that it is about to be trained on.
        """
        before = self._read()
        if not before or before == _description(source):
            return None
        found = (
            f"its data changed since this run was last trained: "
            f"{before['examples']:,} examples then, {len(source):,} now"
        )
        if before["examples"] == len(source):
            found += " with other contents"
        return f"{found}; it goes on with what there is now, in another order"

    def write(self, source: Source) -> None:
        """Remembers what the run is trained on."""
        write_json(self.path, _description(source))

    def _read(self) -> dict:
        """What was written, or nothing where that is missing or damaged."""
        try:
            record = read_json(self.path)
        except UserError:
            return {}
        return record if isinstance(record.get("examples"), int) else {}


def _description(source) -> dict:
    return {"examples": len(source), "fingerprint": source.fingerprint()}
