"""Nights in a row: faults among them, and every law after each."""

import subprocess
from dataclasses import replace

import pytest

from ._soak import LARGER, RECORD, SLOWER, Soak, World, bad_input, bad_model, full_disk, kill


@pytest.fixture
def soak(cli, tmp_path):
    """Nights into a lake on a disk of its own, where this user may mount one."""
    for name in ("in", "disk"):
        (tmp_path / name).mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", tmp_path / "disk"]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    on_disk = replace(cli, lake=tmp_path / "disk" / "lake")
    yield lambda nights: Soak(on_disk, World(tmp_path / "in", nights), tmp_path / "aside")
    if mounted:
        subprocess.run(["umount", tmp_path / "disk"], check=True)


@pytest.mark.long
def test_six_nights_with_a_fault_of_each_kind(soak):
    week = soak(6)
    week.run({1: bad_input, 2: kill, 3: full_disk, 4: bad_model})
    assert len(week.curve) == 5
    assert min(week.world.comings_and_goings("user_id")) > 0, "users come and go"
    assert week.read["nights"] == 6


@pytest.mark.long
@pytest.mark.soak
def test_sixty_nights_stay_as_they_began(soak):
    months = soak(60)
    months.run({14: bad_input, 25: kill, 36: full_disk, 47: bad_model})
    print()
    for line in months.lines:
        realised = months.curve.get(line["night"])
        print(
            f"{line['night']} {line['users']:>4} users {line['titles']:>4} titles {line['seconds']:6.2f} s"
            f" {line['peak'] / 2**20:6.0f} MiB {line['lake'] / 1e6:6.1f} MB"
            f" ndcg@10 {realised if realised is None else format(realised, '.4f')} {line['fault'] or ''}"
        )
    seconds, peak, lake = months.flat().values()
    print(
        f"first and last ten: {seconds[0]:.2f} and {seconds[1]:.2f} s a night, {peak[0] / 2**20:.0f} and"
        f" {peak[1] / 2**20:.0f} MiB at peak, {lake[0] / 1e6:.1f} and {lake[1] / 1e6:.1f} MB of lake,"
        f" {months.lines[-1]['records'] / 60e3:.0f} kB of records a night"
    )
    for column in ("user_id", "item_id"):
        came, went = months.world.comings_and_goings(column)
        print(f"{came} {column}s came, {went} went")
        assert came > went > 0, "the world turns, and grows"
    print(f"{months.read['reads']:,} reads of {months.read['nights']} nights while they ran: no error, no mixture")
    assert months.read["nights"] == 60
    assert len(months.curve) == 59
    assert seconds[1] <= SLOWER * seconds[0]
    assert peak[1] <= LARGER * peak[0]
    assert lake[1] <= LARGER * lake[0]
    assert months.lines[-1]["records"] <= 60 * RECORD
