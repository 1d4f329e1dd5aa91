"""Damage to a finished run is found by `verify` and never by a reader first."""

import pytest


@pytest.mark.parametrize(
    "name", ["manifest.json", "report.html", "recommendations/part-00000.parquet", "metrics/part-00000.parquet"]
)
def test_a_flipped_bit_in_a_run_is_found(cli, base_lake, name):
    path = cli.lake / "runs" / "2020-02-01.1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    said = cli("verify", code=74).stdout
    assert "2020-02-01.1" in said
    assert said.splitlines()[-1].startswith("damaged")


def test_a_lost_catalog_or_pointer_is_repaired_by_the_next_night(cli, base_lake):
    (cli.lake / "latest.json").write_text("{}")
    assert "latest.json" in cli("verify", code=74).stdout
    (cli.lake / "catalog.duckdb").unlink()
    assert cli.night("2020-02-01")["note"] == "already published, nothing to do"
    assert cli.rows("select run_id from runs") == [{"run_id": "2020-02-01.1"}]
    assert "sound" in cli("verify").stdout


def test_a_read_only_lake_is_a_line_and_changes_nothing(cli, base_lake):
    (cli.lake / "_staging").rmdir()
    (cli.lake / "_staging").write_text("in the way")
    said = cli.night("2020-02-02", code=73)
    assert "_staging" in said.splitlines()[-1]
    assert cli.rows("select run_id from runs") == [{"run_id": "2020-02-01.1"}]
