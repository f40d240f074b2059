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
        ("name: a\nzzzzzz: 2", "unknown key 'zzzzzz'; known: name, scale, generator, data, degradation, training"),
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
        (
            "name: a\ngenerator: {name: zzz}",
            "unknown generator 'zzz'; known: edge, edsr, rds, residual_shuffle, rrdb",
        ),
        ("name: a\ngenerator: {options: {num_feature: 8}}", "option 'num_feature'; did you mean 'num_features'"),
        ("name: a\ngenerator: {options: {scale: 2}}", "unknown generator option 'scale'"),
        ("name: a\ngenerator: {name: srcnn, options: {anchor: true}}", "unknown generator option 'anchor'"),
        ("name: a\ntraining: {loss: l2}", "unknown loss 'l2'; did you mean 'l1'"),
        ("name: a\ntraining: {optimizer: zzz}", "unknown optimizer 'zzz'; known: adam, sgd, muon"),
        ("name: a\ntraining: {decay: steps}", "unknown decay 'steps'; did you mean 'step'"),
        ("name: a\ntraining: {monitor: psnr}", "unknown monitor 'psnr'; did you mean 'val_psnr_y'"),
        ("name: a\ntraining: {monitor: val_perceptual}", "monitor val_perceptual needs a perceptual section"),
        ("name: a\ntraining: {loss_weight: 0}", "loss_weight is 0 and there is no other loss"),
        ("name: a\ntraining: {loss_weight: 0, grid_weight: 1}", "loss_weight is 0 and there is no other loss"),
        ("name: a\ntraining: {steps: 20001}", "steps 20001 is not a multiple of steps_per_epoch 500"),
        ("name: a\ntraining: {steps_per_epoch: 0}", "steps_per_epoch 0 is not at least 1"),
        ("name: a\ntraining: {decay_share: 1.5}", r"decay_share 1.5 is not between 0 and 1"),
        ("name: a\ntraining: {learning_rate: .nan}", "learning_rate is nan, but must be a finite number"),
        ("name: a\ntraining: {loss_weight: 1e999}", "loss_weight is inf, but must be a finite number"),
        ("name: a\ntraining: {learning_rate: 0}", "learning_rate 0.0 is not above 0"),
        ("name: a\nadversarial: {learning_rate: -1}", "learning_rate -1.0 is not above 0"),
        ("name: a\ntraining: {ema_decay: 1}", "ema_decay 1.0 is not from 0 to below 1"),
        ("name: a\ntraining: {seed: -1}", "seed -1 is not from 0 to 4294967295"),
        ("name: a\ntraining: {seed: 4294967296}", "seed 4294967296 is not from 0 to 4294967295"),
        ("name: a\ndata: {validation_share: .nan}", "validation_share is nan, but must be a finite number"),
        ("name: a\ndata: {validation_share: 0}", "validation_share 0.0 is not between 0 and 1"),
        ("name: a\ndata: {batch_size: 0}", r"batch_size 0 is not at least 1"),
        ("name: a\nscale: 0", r"scale 0 is not at least 1"),
        ("name: a\ndata: {hr_scales: [0.5, 1.5]}", r"hr_scales \[0.5, 1.5\] are not all between 0 and 1"),
        ("name: a\ndata: {flatness_increase: 0.1}", r"does nothing without a flatness_maximum"),
        ("name: a\ndata: {blur_size: 7}", "data: unknown key 'blur_size'"),  # of version 0; now a degradation
        ("name: a\ndegradation: {}", "degradation.presets name no degradation with a share above 0"),
        ("name: a\ndegradation: {presets: {}}", "degradation.presets name no degradation with a share above 0"),
        ("name: a\ndegradation: {presets: {jiang: 0}}", "presets name no degradation with a share above 0"),
        ("name: a\ndegradation: {presets: {jiang: 1, bicubic: -1}}", "no degradation with a share above 0"),
        ("name: a\ndegradation: {presets: {jiangg: 1}}", "jiangg: no such degradation; did you mean 'jiang'"),
        ("name: a\ndegradation: {presets: {jiang: all}}", "presets.jiang is 'all', but must be of type float"),
        ("name: a\ndegradation: {presets: jiang}", "presets is 'jiang', but must be of type mapping"),
        ("name: a\ndegradation: {presets: {jiang: 1}, copies: -1}", "degradation.copies -1 is below 0"),
        ("name: a\ndegradation: {presets: {jiang: 1}, copies: 1.5}", "copies is 1.5, but must be of type int"),
        ("name: a\ndegradation: {preset: {jiang: 1}}", "unknown key 'preset'; did you mean 'presets'"),
        ("name: a\ndegradation: 5", "degradation: is 5, but must be keys and values"),
        ("name: a\nadversarial: {discriminator: unett}", "unknown discriminator 'unett'; did you mean 'unet'"),
        (
            "name: a\nadversarial: {discriminator: zzz}",
            "unknown discriminator 'zzz'; known: compact, skip, unet, vgg",
        ),
        (
            "name: a\nadversarial: {options: {num_feature: 8}}",
            "unknown discriminator option 'num_feature'; did you mean 'num_features'",
        ),
        ("name: a\nadversarial: {options: {form: grouped}}", "unknown discriminator option 'form'"),
        ("name: a\nadversarial: {loss: relativistc}", "unknown loss 'relativistc'; did you mean 'relativistic'"),
        ("name: a\nadversarial: {optimizer: lion}", "unknown optimizer 'lion'"),
        ("name: a\nadversarial: {weights: 1}", "adversarial: unknown key 'weights'; did you mean 'weight'"),
        ("name: a\nadversarial: 5", "adversarial: is 5, but must be keys and values"),
        (
            "name: a\ntraining: {loss_weight: 0}\nadversarial: {}",
            "adversarial stage with loss_weight 0 .* set adversarial.without_pixels",
        ),
        (
            "name: a\ntraining: {loss_weight: 0}\nadversarial: {}\nperceptual: {}",
            "adversarial stage with loss_weight 0 .* set adversarial.without_pixels",
        ),
        ("name: a\nperceptual: {distance: l3}", "unknown distance 'l3'; did you mean 'l2'"),
        ("name: a\nperceptual: {taps: {}}", "perceptual taps are empty; name a layer"),
        ("name: a\nperceptual: {taps: [block1_conv1]}", "taps is .*, but must be of type mapping"),
        ("name: a\npieapp: {stride: 2.5}", "stride is 2.5, but must be of type int"),
        ("name: a\nbudget: 5", "budget is 5, but must be of type mapping"),
    ],
)
def test_bad_recipe_is_refused_with_its_file_and_the_remedy(text, message, write_recipe):
    path = write_recipe(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "adversarial: {}",
        "adversarial: {discriminator: vgg, options: {form: grouped}}",
        "training: {loss_weight: 0}\nadversarial: {without_pixels: true}",
        "training: {loss_weight: 0}\nperceptual: {}",
        "training: {loss_weight: 0}\npieapp: {}",
        "training: {monitor: val_perceptual}\nperceptual: {}",
        "training: {monitor: step, decay: step, optimizer: sgd}",
        "degradation: {presets: {jiang: 1.0}, copies: 1}",
        "degradation: {presets: {real-esrgan: 2, bsrgan: 1, face: 0.5}}",
    ],
)
def test_possible_recipe_loads(text, write_recipe):
    assert load_recipe(write_recipe(f"name: a\n{text}")).name == "a"


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


@pytest.mark.parametrize("section", ["perceptual", "pieapp", "adversarial"])
def test_section_is_absent_by_default_and_by_null_and_can_be_switched_on(section, write_recipe):
    assert getattr(load_recipe(write_recipe("name: a")), section) is None
    with_section = write_recipe(f"name: a\n{section}: {{weight: 0.25}}")
    assert getattr(load_recipe(with_section), section).weight == 0.25
    assert getattr(load_recipe(with_section, [f"{section}=null"]), section) is None
    # What is switched off comes back with its defaults.
    again = load_recipe(with_section, [f"{section}=null", f"{section}.weight=2"])
    assert getattr(again, section) == type(getattr(again, section))(weight=2.0)
    assert getattr(load_recipe(write_recipe(f"name: a\n{section}:")), section) is None


def test_degradation_is_absent_by_default_and_by_null_and_can_be_switched_on(write_recipe):
    assert load_recipe(write_recipe("name: a")).degradation is None
    path = write_recipe("name: a\ndegradation: {presets: {jiang: 1}, copies: 3}")
    degradation = load_recipe(path).degradation
    assert (dict(degradation.presets), degradation.copies) == ({"jiang": 1.0}, 3)
    assert load_recipe(path, ["degradation=null"]).degradation is None
    again = load_recipe(path, ["degradation=null", "degradation.presets={bsrgan: 0.5}"]).degradation
    assert (dict(again.presets), again.copies) == ({"bsrgan": 0.5}, 0)  # every patch anew


def test_degradation_may_be_a_file_of_ones_own(write_recipe, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("order: staged\nmodes: [area]\n", encoding="utf-8")
    path = write_recipe(f"name: a\ndegradation: {{presets: {{{own}: 1}}}}")
    assert load_recipe(path).degradation.presets == {str(own): 1.0}
    own.write_text("order: staged\nmode: [area]\n", encoding="utf-8")
    with pytest.raises(
        RecipeError, match="degradation.presets: .*own.yaml: unknown key 'mode'; did you mean 'modes'"
    ):
        load_recipe(path)


def test_recipe_of_paper_c_blurs_as_the_paper_does():
    degradation = load_recipe("residual_shuffle_x2").degradation
    assert (dict(degradation.presets), degradation.copies) == ({"jiang": 1.0}, 1)


BUDGETED = """
name: mine
training: {steps: 100000, learning_rate: 1.0e-4}
generator: {options: {num_blocks: 23, num_features: 64}}
adversarial: {weight: 0.5}
budget:
  training.steps: 500
  generator.options: {num_blocks: 2}
  data.batch_size: 2
  adversarial.options: {num_features: 16}
"""


def test_budget_replaces_what_it_names_and_is_used_up(write_recipe):
    path = write_recipe(BUDGETED)
    recipe = load_recipe(path, budget=True)
    assert (recipe.training.steps, recipe.data.batch_size) == (500, 2)
    assert recipe.generator.options == {"num_blocks": 2}
    assert recipe.adversarial.options == {"num_features": 16}
    # The rest stays.
    assert (recipe.training.learning_rate, recipe.adversarial.weight) == (1e-4, 0.5)
    assert recipe.budget == {}
    published = load_recipe(path)
    assert published.training.steps == 100_000
    assert published.budget["training.steps"] == 500


def test_override_wins_over_the_budget(write_recipe):
    assert load_recipe(write_recipe(BUDGETED), ["training.steps=1000"], budget=True).training.steps == 1000


@pytest.mark.parametrize("text", ["", "budget: {}", "budget:"])
def test_recipe_without_a_budget_says_so(text, write_recipe):
    path = write_recipe(f"name: a\n{text}")
    with pytest.raises(RecipeError, match="has no budget block; leave out --budget, or add one") as caught:
        load_recipe(path, budget=True)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{training.step: 5}", "training: unknown key 'step'; did you mean 'steps'"),
        ("{name.first: 5}", "budget name.first: name is a value, not a section"),
        ("{training.steps: many}", "steps is 'many', but must be of type int"),
        ("{training.steps: 501}", "steps 501 is not a multiple"),
    ],
)
def test_bad_budget_is_refused(block, message, write_recipe):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write_recipe(f"name: a\nbudget: {block}"), budget=True)


def budgeted() -> list[str]:
    """Recipes of the package with a budget block."""
    return [name for name in list_recipes() if "budget" in yaml.safe_load((FOLDER / f"{name}.yaml").read_text())]


@pytest.mark.parametrize("name", budgeted())
def test_shipped_budget_loads_and_is_smaller(name):
    published, small = load_recipe(name), load_recipe(name, budget=True)
    assert small.training.steps <= 1000 < published.training.steps
    assert (
        small.data.batch_size * small.data.patch_size**2 <= published.data.batch_size * published.data.patch_size**2
    )


def test_recipe_with_all_sections_saves_and_loads(write_recipe, tmp_path):
    text = BUDGETED + "perceptual: {taps: {block1_conv2: 0.1, block3_conv3: 1}}\npieapp: {stride: 6}\n"
    recipe = load_recipe(write_recipe(text))
    assert recipe.perceptual.taps == {"block1_conv2": 0.1, "block3_conv3": 1}
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == recipe


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("adversarial.warmup_steps=3000", "warmup_steps 3000 is not from 0 to below 3000"),
        ("adversarial.warmup_steps=-1", "warmup_steps -1 is not from 0"),
        ("adversarial.weight=-0.1", "weight -0.1 is below 0"),
        ("training.grid_weight=-1", "grid_weight -1.0 is below 0"),
        ("perceptual.taps={block1_conv2: much}", "block1_conv2 is 'much', but must be of type float"),
    ],
)
def test_numbers_of_the_adversarial_stage_are_checked(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("face_x4_gan", [override])


def test_weights_of_taps_may_be_written_as_powers():
    assert load_recipe("face_x4_gan", ["perceptual.taps={block1_conv2: 1e-1}"]).perceptual.taps == {
        "block1_conv2": 0.1
    }
