"""What needs more than pip: run by `make test-tools`."""

import subprocess

import pytest

pytestmark = pytest.mark.tools


def test_the_report_opens_in_a_browser_without_a_network_or_a_script_error(published, tmp_path):
    report = published.lake / "runs" / "2020-02-06.1" / "report.html"
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=2000", "--dump-dom", report.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "Run 2020-02-06.1" in done.stdout
    assert done.stdout.count("<img") >= 4
    assert "CONSOLE" not in done.stderr
