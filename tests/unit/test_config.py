"""Settings: closed, explained, with errors that name file, key and cure."""

import pytest

from recbatch import config
from recbatch.errors import ConfigError, InputMissing


def test_every_setting_is_explained_and_the_printed_file_reads_back(tmp_path):
    text = config.to_toml(config.load(overrides={"train.mode": "never", "popular.segments": ["gender"], "score.k": 7}))
    path = tmp_path / "recbatch.toml"
    path.write_text(text)
    again = config.load(path)
    assert (again.train.mode, again.popular.segments, again.score.k) == ("never", ("gender",), 7)
    assert (
        again.digest()
        == config.load(overrides={"train.mode": "never", "popular.segments": ["gender"], "score.k": 7}).digest()
    )
    settings = [line for line in text.splitlines() if "=" in line.split("#")[0] or line.startswith("# ")]
    assert all(len(line.rsplit("#", 1)[1].strip()) >= 8 for line in settings), settings


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"score.kk": 3}, "unknown setting score.kk; did you mean score.k?"),
        ({"scoer.k": 3}, r"unknown setting scoer; did you mean score"),
        ({"score.k": "many"}, r"setting score.k: .*got 'many'"),
        ({"score.k": 0}, r"setting score.k: .*greater than or equal to 1"),
        ({"train.mode": "sometimes"}, r"setting train.mode: .*'auto', 'always' or 'never'"),
        ({"seed.x": 1}, "setting seed"),
        ({"score.k": 10_000, "score.buffer": 10_001}, "setting score.buffer"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_key(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(overrides=overrides)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


def test_files_are_named_in_errors(tmp_path):
    path = tmp_path / "recbatch.toml"
    with pytest.raises(InputMissing, match="no such configuration file"):
        config.load(path)
    path.write_text("[score\nk = 1")
    with pytest.raises(ConfigError, match=r"recbatch.toml: not valid TOML"):
        config.load(path)
    path.write_text("[score]\nrows = 1")
    with pytest.raises(ConfigError, match=r"recbatch.toml: unknown setting score.rows"):
        config.load(path)


def test_overrides_lie_over_the_file(tmp_path):
    path = tmp_path / "recbatch.toml"
    path.write_text("seed = 1\n[score]\nk = 20\nkeep_seen = true\n")
    chosen = config.load(path, {"score.k": "30", "source.uri": "files:/data/x y"})
    assert (chosen.seed, chosen.score.k, chosen.score.keep_seen, chosen.source.uri) == (1, 30, True, "files:/data/x y")


def test_a_digest_changes_with_its_sections_only():
    one, two = config.load(), config.load(overrides={"score.k": 5})
    assert one.digest() != two.digest()
    assert one.digest("train", "seed") == two.digest("train", "seed")


@pytest.mark.parametrize(("text", "size"), [("4GiB", 4 * 2**30), ("512MiB", 2**29), ("1.5KiB", 1536), ("1000", 1000)])
def test_sizes(text, size):
    assert config.memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "4 gigs", "nan", "inf"])
def test_bad_sizes(text):
    with pytest.raises(ConfigError, match="expected a positive number"):
        config.memory_bytes(text)
