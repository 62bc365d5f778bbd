import pytest

from mobilenets.config import EvalConfig, TrainConfig
from mobilenets.config.checks import iter_settings, list_groups
from mobilenets.config.compose import CONFIGS, Source
from mobilenets.config.groups import CHOICES
from mobilenets.config.help import format_help


@pytest.fixture(scope="module")
def text():
    return format_help("train", TrainConfig, Source("train"), ["optimizer.lr=0.3"])


def test_every_setting_of_every_choice_is_explained(text):
    words = {line.split("=")[0].split()[0]: line for line in text.splitlines() if line.strip()}
    found = dict(settings_of(TrainConfig))
    for section, base in zip(list_groups(TrainConfig), CHOICES, strict=True):
        for variant in CHOICES[base].values():
            found |= dict(settings_of(variant, section))
    assert len(found) > 100
    for key, field in found.items():
        assert key in words, key
        assert " ".join(field.metadata["meaning"].split()[:3]) in text, key


def settings_of(cls, at=""):
    for key, kind, field in iter_settings(cls, {}, at):
        if not isinstance(kind, type) or not hasattr(kind, "__dataclass_fields__"):
            yield key, field


def test_a_row_shows_value_meaning_type_and_range(text):
    lines = text.splitlines()
    assert any(line.split() == ["optimizer.lr=0.3", *RATE.split()] for line in lines)
    interval = next(line for line in lines if "schedule.interval=step" in line)
    assert interval.endswith("(step | epoch)")


RATE = "learning rate after warm-up (number >0)"


def test_every_choice_is_listed_with_its_description(text):
    files = [path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "hydra"]
    assert len(files) >= 22
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  ")]
    listed = {row[0]: row[1] for row in rows if len(row) == 2}
    for path in files:
        assert len(listed[path.stem]) > 10, path


def test_it_fits_100_columns_in_aligned_rows(text):
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    rows = [line for line in lines if line.startswith("  trainer.")]
    assert {len(row[:40].rstrip()) < 40 for row in rows} == {True}
    assert all(row[40] != " " for row in rows)


def test_a_missing_value_is_shown_as_question_marks():
    text = format_help("train", TrainConfig, Source("train"), ["data=folder"])
    assert "  data.root=??? " in text


def test_evals_help_explains_evals_settings():
    text = format_help("eval", EvalConfig, Source("eval"), [])
    for key, _ in settings_of(EvalConfig):
        assert f"  {key}=" in text
    assert "python eval.py checkpoint=" in text
    assert "model=" not in text
