"""Measures by name: which are made, what they are asked for, and what happens where one is missing."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.errors import DataError, ModelError
from keras_fsr.evaluation import choosing
from keras_fsr.evaluation.choosing import BUILDERS, Sources, choose
from keras_fsr.evaluation.measures import BASIC, Measure, Sample
from keras_fsr.evaluation.protocol import Row
from keras_fsr.evaluation.statistics import bootstrap
from keras_fsr.metrics.identity import impostor_distances, tar_at_far

CHECKOUT = Path(__file__).parents[2]
BASIC_KEYS = [measure.key for measure in BASIC]


def sample(side: int = 48, file: str = "a.png", value: int = 51) -> Sample:
    """A black original; of the enlarged image all channels are `value`."""
    hr = np.zeros((side, side, 3), np.uint8)
    return Sample(Path(file), hr, np.full_like(hr, value), 4)


def missing(*arguments):
    raise ModelError("no weights; put them there")


# --- choosing


def test_no_names_give_the_basic_measures():
    assert choose([], Sources()) == (list(BASIC), {})


def test_measures_come_in_the_order_of_their_names_and_once(monkeypatch):
    monkeypatch.setattr(choosing, "build", lambda name, sources: [Measure(name, name, ".1f", None)])
    measures, left_out = choose(["niqe", "lpips", "niqe"], Sources())
    assert [m.key for m in measures] == [*BASIC_KEYS, "niqe", "lpips"]
    assert left_out == {}
    assert [m.key for m in choose(["all"], Sources())[0]] == [*BASIC_KEYS, *BUILDERS]


@pytest.mark.parametrize("names", [["lpipz"], ["niqe", "lpipz"], ["all", "lpipz"], ["lpipz", "all"]])
def test_an_unknown_name_is_refused_and_the_nearest_told(monkeypatch, names):
    monkeypatch.setattr(choosing, "build", lambda name, sources: pytest.fail("built first"))
    with pytest.raises(DataError, match="no metric is called lpipz; did you mean 'lpips'?"):
        choose(names, Sources())


def test_an_unknown_name_like_none_lists_all():
    with pytest.raises(DataError, match="no metric is called vmaf; known: lpips, .*identity, all$"):
        choose(["vmaf"], Sources())


def test_of_all_what_is_missing_is_left_out_with_the_reason_in_one_line(monkeypatch):
    def build(name, sources):
        if name == "pieapp":
            raise ModelError("no weights; put them there")
        if name == "identity":
            raise ModuleNotFoundError("No module named 'dlib'", name="dlib")
        return [Measure(name, name, ".1f", None)]

    monkeypatch.setattr(choosing, "build", build)
    measures, left_out = choose(["all"], Sources())
    assert [m.key for m in measures] == [*BASIC_KEYS, "lpips", "lpips-vgg", "lpips-alex", "niqe", "pi"]
    assert left_out == {"pieapp": "no weights; put them there", "identity": "No module named 'dlib'"}


@pytest.mark.parametrize("names", [["pieapp"], ["all", "pieapp"], ["pieapp", "all"]])
def test_what_was_named_must_be_there(monkeypatch, names):
    monkeypatch.setattr(choosing, "pieapp", missing)
    monkeypatch.setattr(choosing, "build", lambda name, _: missing() if name == "pieapp" else [])
    with pytest.raises(ModelError, match="no weights"):
        choose(names, Sources())


def test_a_missing_extra_of_a_named_measure_is_raised_as_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ModuleNotFoundError, match="dlib"):
        choose(["identity"], Sources())


def test_a_bug_is_not_taken_for_a_missing_measure(monkeypatch):
    monkeypatch.setattr(choosing, "build", lambda name, sources: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        choose(["all"], Sources())


def test_the_package_says_which_names_there_are():
    from keras_fsr.cli import make_parser

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "1000")
        commands = next(action for action in make_parser()._actions if action.choices)
        text = " ".join(commands.choices["evaluate"].format_help().split())
    assert f"{', '.join(BUILDERS)}, or all" in text


# --- networks


@pytest.fixture
def lpips_made(monkeypatch):
    """What LPIPS is made and called with; the distance is 0.125."""
    made = []

    class Distance:
        def __init__(self, *arguments):
            made.append(arguments)

        def __call__(self, *images):
            made.append([(x.shape, float(x.min()), float(x.max())) for x in images])
            return np.array([0.125])

    monkeypatch.setattr("keras_fsr.metrics.lpips.LPIPS", Distance)
    return made


def test_lpips_is_of_the_original_and_the_image_in_0_to_1(lpips_made):
    (measure,) = choose(["lpips"], Sources(weights=Path("folder")))[0][len(BASIC) :]
    assert (measure.key, measure.heading, measure.higher_is_better) == ("lpips", "LPIPS", False)
    assert measure.each(sample()) == (0.125,)
    shape = (1, 48, 48, 3)
    assert lpips_made == [(Path("folder"), "squeeze"), [(shape, 0.0, 0.0), (shape, 0.2, 0.2)]]


def test_every_backbone_of_lpips_has_its_own_column(lpips_made):
    measures = choose(["lpips", "lpips-vgg", "lpips-alex"], Sources())[0][len(BASIC) :]
    assert [(m.key, m.heading) for m in measures] == [
        ("lpips", "LPIPS"),
        ("lpips_vgg", "LPIPS-vgg"),
        ("lpips_alex", "LPIPS-alex"),
    ]
    assert lpips_made == [(None, "squeeze"), (None, "vgg"), (None, "alex")]
    networks = ("SqueezeNet", "VGG16", "AlexNet")
    assert all(name in m.means for m, name in zip(measures, networks, strict=True))


def test_pieapp_is_of_the_original_and_the_image_in_0_to_1(monkeypatch):
    class PieAPP:
        def __init__(self, weights_file):
            assert weights_file == Path("folder")

        def score(self, reference, image, rows_at_once):
            assert reference.shape == image.shape == (1, 64, 64, 3)
            assert (reference.max(), image.max()) == (0.0, 0.2)
            return np.array([1.5])

    monkeypatch.setattr("keras_fsr.losses.pieapp.PieAPP", PieAPP)
    (measure,) = choose(["pieapp"], Sources(weights=Path("folder")))[0][len(BASIC) :]
    assert (measure.key, measure.each(sample(64))) == ("pieapp", (1.5,))


# --- blind measures


@pytest.fixture
def niqe_made(monkeypatch):
    """What NIQE is made and called with; the score is the image's mean, and small images are refused."""
    made = []

    class Score:
        def __init__(self, prior):
            made.append(prior)

        def __call__(self, image, border=0):
            made.append((image.shape, border))
            if min(image.shape[:2]) < 40:
                raise DataError("too small")
            return float(image.mean())

    monkeypatch.setattr("keras_fsr.metrics.niqe.NIQE", Score)
    return made


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (Sources(), None),
        (Sources(weights=Path("folder")), Path("folder")),
        (Sources(weights=Path("folder"), niqe_prior=Path("own.npz")), Path("own.npz")),
    ],
)
def test_niqe_takes_the_prior_given_and_looks_at_the_enlarged_image(niqe_made, sources, expected):
    (measure,) = choose(["niqe"], sources)[0][len(BASIC) :]
    assert (measure.key, measure.blind, measure.higher_is_better) == ("niqe", True, False)
    assert measure.each(sample()) == (51.0,)
    assert niqe_made == [expected, ((48, 48, 3), 4)]


def test_an_image_too_small_for_niqe_has_no_figure(niqe_made):
    (measure,) = choosing.niqe(None)
    assert math.isnan(*measure.each(sample(36)))


def test_perceptual_index_has_the_same_prior(niqe_made, monkeypatch):
    class Index:
        def __init__(self, niqe):
            self.niqe = niqe

        def __call__(self, image, border=0):
            return self.niqe(image, border) / 2

    monkeypatch.setattr("keras_fsr.metrics.perceptual_index.PerceptualIndex", Index)
    (measure,) = choose(["pi"], Sources(niqe_prior=Path("own.npz")))[0][len(BASIC) :]
    assert (measure.key, measure.blind) == ("pi", True)
    assert measure.each(sample()) == (25.5,)
    assert niqe_made[0] == Path("own.npz")
    assert math.isnan(*measure.each(sample(36)))


# --- identity

PEOPLE, EACH = 6, 2  # twelve images: 132 pairs of two of them, 120 of two people
FILES = [Path(f"{person}_{i}.png") for person in range(PEOPLE) for i in range(EACH)]
PERSONS = {file: file.name[0] for file in FILES}


@pytest.fixture
def faces(monkeypatch):
    """Descriptors of `FILES`: each enlarged image is 0.3 from its original, the two originals of a person 0.1 from
    each other, and people more than 0.8.
    """

    class Judge:
        threshold = 0.6

        def describe(self, hr, sr):
            number = int(hr[0, 0, 0])
            if number == 255:
                return None
            person, i = divmod(number, EACH)
            original = np.zeros(PEOPLE + 2)
            original[person] = 1.0
            original[PEOPLE] = 0.1 * i
            enlarged = original.copy()
            enlarged[PEOPLE + 1] = 0.3
            return original, enlarged

    monkeypatch.setattr("keras_fsr.metrics.identity.Identity", Judge)


def rows_of(measures: list[Measure], numbers=range(PEOPLE * EACH)) -> np.ndarray:
    (describe,) = [m.each for m in measures if m.each]
    images = [np.full((16, 16, 3), number, np.uint8) for number in numbers]
    return np.stack([describe(Sample(FILES[n], image, image, 4)) for n, image in zip(numbers, images, strict=True)])


def test_identity_tells_distance_worst_and_verified(faces):
    measures = choose(["identity"], Sources(persons=PERSONS))[0][len(BASIC) :]
    assert [m.key for m in measures] == ["identity", "identity_worst", "verified", "tar"]
    assert [m.higher_is_better for m in measures] == [False, False, True, True]
    assert all(m.source == "identity" and m.each is None for m in measures[1:])
    distance, worst, verified, _ = measures
    vectors = rows_of(measures)
    assert distance.whole(vectors) == pytest.approx(0.3)
    spread = np.tile(vectors[:1], (40, 1))
    spread[:, 0] = np.arange(40) / 40
    assert worst.whole(spread) == pytest.approx((39 + 38) / 2 / 40)  # a twentieth of 40 are two
    assert worst.whole(spread[:3]) == pytest.approx(2 / 40)
    assert verified.whole(spread) == pytest.approx(24 / 40)  # below 0.6
    assert (verified.one(spread[0]), verified.one(spread[39])) == (1.0, 0.0)


def test_tar_leaves_out_pairs_of_one_person(faces):
    *_, known = choosing.identity(PERSONS)
    *_, strangers = choosing.identity(None)
    vectors = rows_of(choosing.identity(PERSONS))
    originals, enlarged = vectors[:, 2 : 2 + PEOPLE + 2], vectors[:, 2 + PEOPLE + 2 :]
    pairs = impostor_distances(originals, enlarged, [PERSONS[file] for file in FILES])
    assert len(pairs) == 120
    assert known.whole(vectors) == tar_at_far(vectors[:, 0], pairs) == 1.0
    # With every image a person of its own, pairs at 0.32 pass for impostors, nearly as near as the genuine ones.
    alone = rows_of(choosing.identity(None))
    apart = impostor_distances(originals, enlarged, range(12))
    assert len(apart) == 132
    assert strangers.whole(alone) == tar_at_far(alone[:, 0], apart)
    far = alone.copy()
    far[:, 0] = 0.4  # genuine pairs farther than those: none is accepted unless they are left out
    assert strangers.whole(far) == 0.0
    far[:, 1] = vectors[:, 1]
    assert known.whole(far) == 1.0


def test_an_image_drawn_twice_is_no_impostor_of_itself(faces):
    *_, tar = choosing.identity(None)
    vectors = rows_of(choosing.identity(None))
    vectors[:, 0] = 0.4
    drawn = np.concatenate([vectors[::2]] * 3)  # six people, each thrice: 270 impostor pairs, all far
    assert tar.whole(drawn) == 1.0


def test_too_few_people_have_no_tar(faces):
    *_, tar = choosing.identity(PERSONS)
    vectors = rows_of(choosing.identity(PERSONS), range(4))
    assert math.isnan(tar.whole(vectors))
    assert math.isnan(bootstrap(tar.whole, vectors).value)


def test_an_original_without_a_face_has_no_figure(faces):
    measures = choosing.identity(PERSONS)
    blank = np.full((16, 16, 3), 255, np.uint8)
    row = Row(FILES[0], "m", {"identity": measures[0].each(Sample(FILES[0], blank, blank, 4))})
    assert all(math.isnan(row.figure(measure)) for measure in measures)
    assert all(np.isnan(row.vector(measure)).any() for measure in measures)


def test_all_methods_of_one_image_show_one_person(faces):
    describe = choosing.identity(None)[0].each
    image = np.zeros((16, 16, 3), np.uint8)
    codes = [describe(Sample(file, image, image, 4))[1] for file in (FILES[0], FILES[0], FILES[1])]
    assert [a == b for a, b in pairwise(codes)] == [True, False]


def test_worst_and_tar_are_no_figures_of_a_single_image(faces):
    row = Row(FILES[0], "m", {"identity": rows_of(measures := choosing.identity(PERSONS))[0]})
    figures = {m.key: row.figure(m) for m in measures}
    assert figures["identity"] == pytest.approx(0.3)
    assert figures["verified"] == 1.0
    assert math.isnan(figures["identity_worst"])
    assert math.isnan(figures["tar"])
