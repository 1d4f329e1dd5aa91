"""The lake belongs to the group of its readers, what was there and what comes, and to nobody else."""

import grp
import os
import stat

import pytest

from jobs import _lake
from recbatch import publish, store
from recbatch.errors import ConfigError, PermissionRefused
from tests.unit import _lake_fixture as rows_of

FOLDERS = 0o2750


@pytest.fixture
def lake(tmp_path):
    lake = store.Lake(tmp_path / "lake")
    rows_of.publish(lake, rows_of.FIRST)
    _lake.commit(lake, [rows_of.FIRST])
    return lake


@pytest.fixture
def group():
    """A group that this user may give files to, another than its own where there is one."""
    mine = [each for each in os.getgroups() if each != os.getgid()]
    others = [each.gr_gid for each in grp.getgrall() if each.gr_gid != os.getgid()] if os.geteuid() == 0 else mine
    return grp.getgrgid((others or [os.getgid()])[0])


def strangers(lake, group):
    """What has another group or mode than it should."""
    found = []
    for path in [lake.root, *lake.root.rglob("*")]:
        facts = path.stat()
        wanted = FOLDERS if path.is_dir() else store.FILE_MODE
        if facts.st_gid != group.gr_gid or stat.S_IMODE(facts.st_mode) != wanted:
            found.append((path.name, facts.st_gid, oct(facts.st_mode)))
    return found


def test_what_is_there_and_what_comes_belongs_to_the_readers(lake, group):
    _lake.share(lake, group.gr_name)
    assert strangers(lake, group) == []
    with store.locked(lake):
        folder = publish.stage(lake, rows_of.SECOND)
        rows_of.write_run(folder, rows_of.second_night())
        store.seal(folder, rows_of.head(rows_of.SECOND))
        publish.promote(lake, folder)
        _lake.commit(lake, [rows_of.FIRST, rows_of.SECOND])
    assert strangers(lake, group) == []


def test_a_lake_that_is_shared_is_not_walked_again(lake, group, monkeypatch):
    _lake.share(lake, group.gr_name)
    monkeypatch.delattr(os, "chown")
    _lake.share(lake, group.gr_name)
    _lake.share(lake, None)


def test_a_group_that_cannot_be_is_told(lake, group, monkeypatch):
    with pytest.raises(ConfigError, match=r"no group 'nobody knows it' on this machine"):
        _lake.share(lake, "nobody knows it")

    def refused(path, *arguments, **more):
        raise PermissionError(1, "no", str(path))

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(PermissionRefused, match="become a member of it"):
        _lake.share(lake, group.gr_name)
