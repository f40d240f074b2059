"""Recipes: what loads, what is refused and how the refusal helps, overrides, and the round trip."""

import dataclasses

import pytest
import yaml

from keras_fsr.errors import RecipeError
from keras_fsr.training.recipes import FOLDER, Recipe, list_recipes, load_recipe, save_recipe


@pytest.fixture
def write_recipe(tmp_path):
    """Writes the text of a recipe to a file and returns its path."""

    def write(text: str):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipe_loads_under_its_file_name(name):
    assert load_recipe(name).name == name
    assert load_recipe(FOLDER / f"{name}.yaml") == load_recipe(name)


def test_face_recipe_is_shipped():
    assert "face_x4" in list_recipes()
    recipe = load_recipe("face_x4")
    assert recipe.scale == 4
    assert recipe.generator.name == "rrdb"
    assert recipe.generator.options["hardware"] is True
    # "2.0e-3" and the like must not stay strings.
    assert isinstance(recipe.training.learning_rate, float)


def test_recipe_of_a_name_alone_is_all_defaults(write_recipe):
    assert load_recipe(write_recipe("name: mine")) == Recipe(name="mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nscal: 2", "unknown key 'scal'; did you mean 'scale'"),
        ("name: a\ntraining: {learning-rate: 1}", "training: unknown key 'learning-rate'.*'learning_rate'"),
        ("name: a\ndata: {patchsize: 8}", "data: unknown key 'patchsize'; did you mean 'patch_size'"),
        ("name: a\nzzzzzz: 2", "unknown key 'zzzzzz'; known: name, scale, generator, data, training"),
        ("name: a\n1: 2", "unknown key 1"),
        ("scale: 4", "lacks the key 'name'"),
        ("name: 5", "name is 5, but must be of type str"),
        ("name: a\nscale: 4.0", "scale is 4.0, but must be of type int"),
        ("name: a\nscale: true", "scale is True, but must be of type int"),
        ("name: a\nscale: '4'", "scale is '4', but must be of type int"),
        ("name: a\ntraining: {learning_rate: fast}", "learning_rate is 'fast', but must be of type float"),
        ("name: a\ntraining: {learning_rate: true}", "learning_rate is True, but must be of type float"),
        ("name: a\ntraining: {loss: null}", "loss is None, but must be of type str"),
        ("name: a\ngenerator: {options: [1]}", r"options is \[1\], but must be of type mapping"),
        ("name: a\ntraining: 5", "training: is 5, but must be keys and values"),
        ("name: a\ntraining:", "training: is None, but must be keys and values"),
        ("", "holds no keys"),
        ("- name: a", "holds no keys"),
        ("name: [a", "is not plain YAML"),
        ("name: a\n\tscale: 4", "is not plain YAML"),
        ("name: a\ngenerator: {name: rrdbb}", "unknown generator 'rrdbb'; did you mean 'rrdb'"),
        ("name: a\ngenerator: {name: zzz}", "unknown generator 'zzz'; known: edsr, rrdb"),
        ("name: a\ngenerator: {options: {num_feature: 8}}", "option 'num_feature'; did you mean 'num_features'"),
        ("name: a\ngenerator: {options: {scale: 2}}", "unknown generator option 'scale'"),
        ("name: a\ngenerator: {name: srcnn, options: {anchor: true}}", "unknown generator option 'anchor'"),
        ("name: a\ntraining: {loss: l2}", "unknown loss 'l2'; did you mean 'l1'"),
        ("name: a\ntraining: {optimizer: sgd}", "unknown optimizer 'sgd'; known: adam, muon"),
        ("name: a\ntraining: {steps: 20001}", "steps 20001 is not a multiple of steps_per_epoch 500"),
        ("name: a\ntraining: {steps_per_epoch: 0}", "steps_per_epoch 0 is not at least 1"),
        ("name: a\ntraining: {decay_share: 1.5}", r"decay_share 1.5 is not between 0 and 1"),
        ("name: a\ndata: {batch_size: 0}", r"batch_size 0 is not at least 1"),
        ("name: a\nscale: 0", r"scale 0 is not at least 1"),
        ("name: a\ndata: {hr_scales: [0.5, 1.5]}", r"hr_scales \[0.5, 1.5\] are not all between 0 and 1"),
        ("name: a\ndata: {flatness_increase: 0.1}", r"does nothing without a flatness_maximum"),
    ],
)
def test_bad_recipe_is_refused_with_its_file_and_the_remedy(text, message, write_recipe):
    path = write_recipe(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match="is not plain YAML"):
        load_recipe(path)


@pytest.mark.parametrize("name", ["no_such_recipe", "no/such/recipe.yaml"])
def test_unknown_recipe_lists_the_shipped_ones(name):
    with pytest.raises(RecipeError, match=f"{name}: no such recipe; there are .*face_x4"):
        load_recipe(name)


def test_python_tag_is_refused_and_not_run(write_recipe, tmp_path):
    trace = tmp_path / "trace"
    tag = f"!!python/object/apply:os.system ['touch {trace}']"
    with pytest.raises(RecipeError, match="is not plain YAML"):
        load_recipe(write_recipe(f"name: {tag}"))
    with pytest.raises(RecipeError, match="not plain YAML"):
        load_recipe("face_x4", [f"name={tag}"])
    assert not trace.exists()
    # The tag does what it says where it is let through.
    yaml.unsafe_load(tag)
    assert trace.exists()


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("scale=2", None, "scale", 2),
        ("name=other", None, "name", "other"),
        ("training.learning_rate=1e-3", "training", "learning_rate", 1e-3),
        ("training.learning_rate=1", "training", "learning_rate", 1.0),
        ("data.batch_size=32", "data", "batch_size", 32),
        ("generator.name=edsr", "generator", "name", "edsr"),
        ("generator.options={num_blocks: 2}", "generator", "options", {"num_blocks": 2}),
    ],
)
def test_override_replaces_one_value(override, section, key, value, write_recipe):
    path = write_recipe("name: mine\ntraining: {optimizer: adam}")
    plain, result = load_recipe(path), load_recipe(path, [override])
    changed = getattr(result, section) if section else result
    assert getattr(changed, key) == value
    assert type(getattr(changed, key)) is type(value)
    base = getattr(plain, section) if section else plain
    assert dataclasses.replace(changed, **{key: getattr(base, key)}) == base
    assert result.training.optimizer == "adam"


def test_override_reaches_one_generator_option():
    options = load_recipe("face_x4", ["generator.options.num_blocks=1"]).generator.options
    assert options == {**load_recipe("face_x4").generator.options, "num_blocks": 1}


def test_later_override_wins():
    assert load_recipe("face_x4", ["scale=2", "scale=8"]).scale == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "training.steps: is not KEY=VALUE"),
        ("training.step=5", "training: unknown key 'step'; did you mean 'steps'"),
        ("trainig.steps=5", "unknown key 'trainig'; did you mean 'training'"),
        ("name.first=a", "name is a value, not a section"),
        ("training.steps=many", "steps is 'many', but must be of type int"),
        ("training.loss=[l1", r"--set training.loss=\[l1: the value is not plain YAML"),
    ],
)
def test_bad_override_is_refused(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("face_x4", [override])


@pytest.mark.parametrize("overrides", [[], ["scale=2", "training.learning_rate=3.3e-7", "training.clip_norm=1"]])
@pytest.mark.parametrize("name", list_recipes())
def test_saved_recipe_loads_as_an_equal_one(name, overrides, tmp_path):
    recipe = load_recipe(name, overrides)
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == recipe


def test_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_recipe("face_x4").training.steps = 5
