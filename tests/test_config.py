"""Config: presets fill what was left open, and a bad value is one sentence that names its flag."""

import pytest

from llmft_core import config
from llmft_core.config import PRESETS, RunConfig


def test_a_setting_that_was_given_wins_over_the_preset():
    assert config.make(preset="demo").epochs == PRESETS["demo"]["epochs"]
    assert config.make(preset="demo", epochs=7).epochs == 7


def test_the_coursework_preset_is_the_recipe_of_the_coursework():
    made = config.make(preset="coursework")
    assert (made.method, made.batch_size, made.learning_rate, made.epochs, made.patience) == ("full", 16, 3e-5, 5, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_complete(preset):
    made = config.make(preset=preset)
    open_ones = {name for name, value in made.model_dump().items() if value is None}
    assert open_ones <= {"train_examples", "eval_examples", "data_dir", "data_file"}


def test_resolving_twice_changes_nothing():
    once = config.make(preset="lora", task="squad_v2", seed=3)
    assert once.resolved() == once


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": -1}, "--batch-size"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"learning_rate": "fast"}, "--learning-rate"),
        ({"split": "70-30"}, "--split"),
        ({"preset": "best"}, "--preset"),
        ({"seed": -1}, "--seed"),
        ({"max_length": 8}, "--max-length"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_flag(settings, flag):
    with pytest.raises(ValueError) as error:
        config.make(**settings)
    assert str(error.value).startswith(flag) and "\n" not in str(error.value) and str(error.value).endswith(".")


def test_settings_of_another_version_are_passed_over():
    assert RunConfig.model_validate({"task": "sst2", "warp": 9}).task == "sst2"


def test_every_setting_has_a_sentence_for_its_flag():
    assert all(field.description.endswith(".") for field in RunConfig.model_fields.values())


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"learning_rate": "abc"}, "--learning-rate 'abc' is not a number."),
        ({"batch_size": "2.5"}, "--batch-size '2.5' is not a whole number."),
        ({"lora_embeddings": "perhaps"}, "--lora-embeddings 'perhaps' must be yes or no."),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(setting, says):
    with pytest.raises(ValueError) as error:
        config.make(**setting)
    assert str(error.value) == says


def test_demo_of_a_large_model_is_gentle():
    small, large, unknown = (RunConfig(model=name).resolved() for name in ("mini", "llama3.2-1b", "owner/name"))
    assert small.lora_embeddings and small.learning_rate == 4e-3
    assert (
        (large.lora_embeddings, large.learning_rate)
        == (unknown.lora_embeddings, unknown.learning_rate)
        == (False, 2e-4)
    )
    assert RunConfig(model="llama3.2-1b", learning_rate=1e-3).resolved().learning_rate == 1e-3


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({"preset": "demo", "method": "full"}, 1e-3),
        ({"preset": "demo", "method": "full", "model": "llama3.2-1b"}, 3e-5),
        ({"preset": "lora", "method": "full"}, 3e-5),
        ({"preset": "coursework", "method": "lora"}, 2e-4),
        ({"preset": "demo", "method": "lora"}, 4e-3),
        ({"preset": "demo", "method": "full", "learning_rate": 5e-4}, 5e-4),
    ],
)
def test_each_method_has_a_learning_rate_of_its_own(settings, rate):
    assert config.make(**settings).learning_rate == rate
