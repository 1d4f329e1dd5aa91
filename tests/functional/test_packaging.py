"""The wheel, installed elsewhere, runs a night from another directory; nothing called jobs or sql lands anywhere."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_runs_a_night_elsewhere(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("recbatch-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if not name.startswith("recbatch-")} == {"recbatch"}
    wanted = {
        "recbatch/py.typed",
        "recbatch/jobs/nightly.py",
        "recbatch/sql/marts/recommendations.sql",
        "recbatch/report/template.html",
        "recbatch/cron/airflow/recbatch_nightly.py",
        "recbatch/cron/nightly.sh",
    }
    assert wanted <= set(names)
    assert not [name for name in names if "tests" in name.split("/")]

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True
    )
    # The dependencies are this environment's; a plain path in a .pth file does not bring its editable recbatch along.
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RECBATCH_", "PYTHON"))}
    command = [
        tmp_path / "venv" / "bin" / "recbatch",
        "nightly",
        "--source",
        "sample:users=150,titles=80",
        "--run-date",
        "2020-02-01",
    ]
    where = subprocess.run(
        [python, "-c", "import recbatch; print(recbatch.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=elsewhere,
        env=clean,
    )
    assert str(tmp_path) in where.stdout
    night = subprocess.run(
        [*command, "--set", "train.epochs=20"], capture_output=True, text=True, cwd=elsewhere, env=clean, check=False
    )
    assert night.returncode == 0, night.stderr[-2000:]
    assert (elsewhere / "lake" / "catalog.duckdb").is_file()


def test_the_locks_name_no_index_and_pin_every_dependency_by_hash():
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        entries = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert entries
        assert all("==" in line and line.endswith("\\") for line in entries)
    runtime = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert {"tensorflow", "scann", "duckdb", "pyarrow", "setuptools", "wheel"} <= runtime
