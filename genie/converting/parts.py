"""The folder in which the finished recordings of a conversion wait until all are there."""

import json
import shutil
from pathlib import Path
from typing import Any

from genie.common.errors import UserError
from genie.common.files import replacing

IDENTITY = "identity.json"


class Parts:
    """A hidden folder beside the output, with an episode file for each recording that is finished.

    A part is whole or not there, so a conversion that was killed goes on with the recordings that have none. Parts of
    another conversion are of no use and deleted.
    """

    def __init__(self, output: Path, identity: dict[str, Any]):
        self.folder = output.with_name(f".{output.name}.parts")
        self.identity = json.loads(json.dumps(identity))  # as it is read back: tuples are lists
        self.found = self._read()

    def _read(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / IDENTITY).read_text())
        except (OSError, ValueError):
            return None

    @property
    def resumed(self) -> bool:
        """Whether the parts that are there are of this very conversion."""
        return self.found == self.identity

    def changes(self) -> str:
        """In words, what is not as it was when the parts that are there were made; "" where there are none."""
        if self.found is None or self.resumed:
            return ""
        then, now = self.found.get("data", {}), self.identity["data"]
        differing = [f"{key} {then.get(key)} -> {now.get(key)}" for key in now if then.get(key) != now.get(key)]
        return ", ".join(differing) or "other files"

    def open(self) -> None:
        """Makes the folder, without what another conversion left there. UserError where it cannot be made."""
        if self.resumed:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"cannot write into {self.folder.parent}: {error.strerror or error}") from None
        with replacing(self.folder / IDENTITY, "w") as file:
            json.dump(self.identity, file)

    def path(self, number: int) -> Path:
        """The part of a recording."""
        return self.folder / f"{number:06d}.h5"

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
