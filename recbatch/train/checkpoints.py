"""Training that was cut short, kept so that the next run goes on where it ended: to the last bit the same weights."""

from __future__ import annotations

import hashlib
import io
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recbatch import store
from recbatch.contracts import Json

Arrays = list[npt.NDArray[np.generic]]
_DIGEST_BYTES = 64
_SECONDS_APART = 20.0


class Checkpoints:
    """A folder of checkpoints, one file per part; only what this program wrote whole is read back."""

    def __init__(self, folder: Path, seconds_apart: float = _SECONDS_APART) -> None:
        """Touches nothing.

        Args:
            folder: of one model; made at the first checkpoint.
            seconds_apart: least time between two checkpoints of one part.
        """
        self._folder, self._apart, self._last = folder, seconds_apart, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._last >= self._apart

    def save(self, name: str, arrays: Arrays, facts: Json) -> None:
        """Writes one, in place of the one before.

        Raises:
            OSError: the file system refuses.
        """
        store.make_folder(self._folder)
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, text, *arrays)
        body = content.getvalue()
        store.write_bytes(self._folder / f"{name}.npz", hashlib.sha256(body).hexdigest().encode() + body)
        self._last = time.monotonic()

    def load(self, name: str) -> tuple[Arrays, Json] | None:
        """The latest one; none where there is none, or a bit of it has changed."""
        try:
            whole = (self._folder / f"{name}.npz").read_bytes()
        except OSError:
            return None
        digest, body = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as found:
            arrays = [found[f"arr_{place}"] for place in range(len(found.files))]
        return arrays[1:], json.loads(arrays[0].tobytes())
