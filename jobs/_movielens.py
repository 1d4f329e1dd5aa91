"""MovieLens 100K wherever pip works: the wheel `recbole` carries it as plain text; nothing is installed or run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from recbatch import sources

_WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_PIP_SECONDS = 120

TERMS = (
    "MovieLens 100K (GroupLens Research, University of Minnesota; research use, no redistribution;"
    " Harper and Konstan 2015, doi:10.1145/2827872), taken from the wheel recbole 1.2.1."
)


def fetch_movielens_100k(data_dir: Path) -> str | None:
    """The `--source` of MovieLens 100K below `data_dir`, fetched if it is not there; none where pip cannot get it.

    Raises:
        OSError: the folder cannot be written.
        DataError: the wheel is not the one that was pinned.
    """
    folder = data_dir / "recbole" / "ml-100k"
    if (folder / "ml-100k.inter").is_file():
        return f"recbole:{folder}"
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir) as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"recbole==1.2.1 --hash=sha256:{_WHEEL_SHA256}\n")
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
        ]
        try:
            # Arguments are fixed here; the index is whatever pip is configured for.
            subprocess.run(  # noqa: S603
                [*command, "-r", str(wanted), "-d", scratch], check=True, timeout=_PIP_SECONDS, capture_output=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return None
        report = sources.import_data(next(Path(scratch).glob("recbole-*.whl")), data_dir=data_dir)
    return report.source
