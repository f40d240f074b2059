"""Presets by name and file: what loads, what is refused and how the refusal helps."""

import dataclasses

import numpy as np
import pytest

from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Shuffled, Stage, Staged
from keras_fsr.errors import ModelError, RecipeError


@pytest.fixture
def write_preset(tmp_path):
    """Writes the text of a preset to a file and returns its path."""

    def write(text: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_published_presets_are_in_the_package():
    assert {"real-esrgan", "bsrgan", "face", "jiang", "bicubic"} <= set(presets.names())


@pytest.mark.parametrize("name", presets.names())
def test_preset_loads_by_name_and_by_path(name):
    preset = presets.load(name)
    assert preset == presets.load(presets.FOLDER / f"{name}.yaml")
    assert isinstance(preset, Shuffled if name == "bsrgan" else Staged)


def test_own_preset_loads_with_defaults_and_single_values(write_preset):
    path = write_preset("order: staged\nstages:\n  - noise: {sigma: [1, 2e1]}\nmodes: [area]\nswap: 1e-1\n")
    preset = presets.load(path)
    assert preset == presets.load(str(path))
    assert (preset.modes, preset.swap, preset.final_sinc) == (("area",), 0.1, 0.0)
    [stage] = preset.stages
    assert stage.noise.sigma == (1.0, 20.0)
    assert all(getattr(stage, f.name) is None for f in dataclasses.fields(Stage) if f.name != "noise")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("real-esrgn", "real-esrgn: no such degradation; did you mean 'real-esrgan'"),
        ("bsrgn", "did you mean 'bsrgan'"),
        ("learnt", "did you mean 'learned'"),
        ("zzzzzz", "known: bicubic, bsrgan, camera, face, jiang, real-esrgan, learned"),
        ("no/such.yaml", "no/such.yaml: no such degradation"),
    ],
)
def test_unknown_name_gets_the_nearest(name, message):
    with pytest.raises(RecipeError, match=message) as caught:
        presets.load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modes: [area]", "order None is none of staged, shuffled"),
        ("order: random", "order 'random' is none of staged, shuffled"),
        ("order: [staged]", r"order \['staged'\] is none of staged, shuffled"),
        ("order: staged\nstage: []", "unknown key 'stage'; did you mean 'stages'"),
        ("order: staged\nhalf_first: 0.5", "unknown key 'half_first'"),  # of the other order
        ("order: staged\nstages:\n  - blurr: {}", "stages: unknown key 'blurr'; did you mean 'blur'"),
        ("order: staged\nstages:\n  - blur: {sigmas: [1, 2]}", "unknown key 'sigmas'; did you mean 'sigma'"),
        ("order: staged\nstages:\n  - blur: {sigma: 1}", r"sigma is 1, but must be of type tuple"),
        ("order: staged\nstages:\n  - blur: {sigma: [1]}", r"sigma is \[1\], but must be 2 values"),
        ("order: staged\nstages:\n  - blur: {sizes: [7.5, 9]}", "sizes is 7.5, but must be of type int"),
        ("order: staged\nstages:\n  - blur: {kinds: {iso: much}}", "kinds.iso is 'much', but must be of type float"),
        ("order: staged\nstages:\n  - noise: {gray: often}", "gray is 'often', but must be of type float"),
        ("order: staged\nstages: 2", "stages is 2, but must be of type tuple"),
        ("order: shuffled\nstages: []", "unknown key 'stages'"),
        ("- order: staged", "holds no keys; it starts with 'order: staged'"),
        ("", "holds no keys"),
        ("order: [staged", "is not plain YAML"),
    ],
)
def test_bad_preset_is_refused_with_its_file(text, message, write_preset):
    path = write_preset(text)
    with pytest.raises(RecipeError, match=message) as caught:
        presets.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_python_tag_is_refused_and_not_run(write_preset, tmp_path):
    path = write_preset(f"order: !!python/object/apply:os.system ['touch {tmp_path / 'trace'}']")
    with pytest.raises(RecipeError, match="is not plain YAML"):
        presets.load(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_stages_are_cut_or_the_last_repeated(stages):
    whole, preset = presets.load("real-esrgan"), presets.load("real-esrgan", stages)
    first, second = whole.stages
    assert preset.stages == (first, second, second, second)[:stages]
    assert dataclasses.replace(preset, stages=whole.stages) == whole


@pytest.mark.parametrize(
    ("name", "stages"), [("real-esrgan", 0), ("real-esrgan", 5), ("bsrgan", 2), ("bicubic", 1), ("learned", 2)]
)
def test_impossible_stages_are_refused(name, stages):
    with pytest.raises(RecipeError, match="stages"):
        presets.load(name, stages)


def test_missing_file_of_a_learned_degradation_is_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"no\.npz: is no file of a learned degradation") as caught:
        presets.load(tmp_path / "no.npz")
    assert "\n" not in str(caught.value)


def test_mixture_is_of_names_and_files_by_their_shares(write_preset):
    mixture = presets.mixture({"jiang": 1, str(write_preset("order: staged\nmodes: [area]")): 3})
    rng = np.random.default_rng(0)
    lengths = [len(mixture.draw(rng, 2).steps) for _ in range(2000)]  # jiang has two steps, the file one
    # 500 expected of jiang, with a standard deviation of 19.4.
    assert abs(lengths.count(2) - 500) < 78
    assert set(lengths) == {1, 2}


def test_mixture_with_an_unknown_part_is_refused():
    with pytest.raises(RecipeError, match="did you mean 'jiang'"):
        presets.mixture({"bicubic": 1.0, "jiangg": 1.0})
