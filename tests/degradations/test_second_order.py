"""Random chains: their statistics against the published figures, their order, their size, and their seeds.

Shares are compared within 4 standard errors of a binomial, means within 4 of a uniform distribution; all draws are
seeded. The figures stand here as published, not as the presets' YAML has them.
"""

import json
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from keras_fsr.degradations import presets
from keras_fsr.degradations.classical import (
    ANTIALIASED,
    JPEG,
    Blur,
    Chain,
    Colour,
    Decimate,
    GaussianNoise,
    PoissonNoise,
    Resize,
    Sinc,
)
from keras_fsr.degradations.draws import draw_mixing
from keras_fsr.degradations.second_order import Degrader, Mixture, Staged

DRAWS = 20_000


def check_share(count: int, total: int, probability: float) -> None:
    error = math.sqrt(probability * (1 - probability) / total)
    assert abs(count / total - probability) <= 4 * error, f"{count} of {total} for {probability}"


def check_shares(values, probabilities: dict) -> None:
    """Each value comes at its probability, and no other comes."""
    counts = Counter(values)
    assert set(counts) <= set(probabilities)
    for value, probability in probabilities.items():
        check_share(counts[value], sum(counts.values()), probability)


def check_uniform(values, low: float, high: float) -> None:
    """All in the range, some within 2 % of both ends, the mean and each quarter as of an even distribution."""
    values, width = np.asarray(values), high - low
    assert len(values) >= 300  # of which one is almost surely within 2 % of an end
    assert low <= values.min() <= low + 0.02 * width
    assert high - 0.02 * width <= values.max() <= high
    assert abs(values.mean() - (low + high) / 2) <= 4 * width / math.sqrt(12 * len(values))
    for quarter in range(4):
        inside = (values >= low + quarter * width / 4) & (values < low + (quarter + 1) * width / 4)
        check_share(inside.sum(), len(values), 0.25)


def check_whole(values, low: int, high: int) -> None:
    """Whole numbers from low to high, both included, the mean as of an even distribution."""
    values = np.asarray(values)
    assert set(values.tolist()) == set(range(low, high + 1))
    deviation = math.sqrt(((high - low + 1) ** 2 - 1) / 12)
    assert abs(values.mean() - (low + high) / 2) <= 4 * deviation / math.sqrt(len(values))


def check_odd(sizes, low: int, high: int) -> None:
    odd = range(low, high + 1, 2)
    check_shares(sizes, dict.fromkeys(odd, 1 / len(odd)))


# ---------------------------------------------------------------------------------------------- Real-ESRGAN
# Wang et al., "Real-ESRGAN" (2021), and the authors' train_realesrgan_x4plus.yml.

KERNELS = {
    "iso": 0.45,
    "aniso": 0.25,
    "generalized_iso": 0.12,
    "generalized_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
MODES = dict.fromkeys(("area", "bilinear", "bicubic"), 1 / 3)
STAGES = {
    "first": SimpleNamespace(
        blur=1.0,
        sigma=(0.2, 3),
        up=0.2,
        down=0.7,
        enlarge=(1, 1.5),
        reduce=(0.15, 1),
        noise=(1, 30),
        poisson=(0.05, 3),
    ),
    "second": SimpleNamespace(
        blur=0.8,
        sigma=(0.2, 1.5),
        up=0.3,
        down=0.4,
        enlarge=(1, 1.2),
        reduce=(0.3, 1),
        noise=(1, 25),
        poisson=(0.05, 2.5),
    ),
}


def parse(chain: Chain) -> SimpleNamespace:
    """The parts of a Real-ESRGAN chain, whose order it checks."""
    steps = list(chain.steps)

    def take(*kinds):
        assert isinstance(steps[0], kinds), steps
        return steps.pop(0)

    parts = SimpleNamespace(first={}, second={})
    parts.first = {"blur": take(Blur, Sinc), "resize": take(Resize)}
    parts.first |= {"noise": take(GaussianNoise, PoissonNoise), "jpeg": take(JPEG)}
    parts.second = {"blur": take(Blur, Sinc) if isinstance(steps[0], Blur | Sinc) else None}
    parts.second |= {"resize": take(Resize), "noise": take(GaussianNoise, PoissonNoise)}
    parts.jpeg_first = isinstance(steps[0], JPEG)
    if parts.jpeg_first:
        parts.second["jpeg"] = take(JPEG)
    parts.end = take(Resize)
    parts.sinc = take(Sinc) if steps and isinstance(steps[0], Sinc) else None
    if not parts.jpeg_first:
        parts.second["jpeg"] = take(JPEG)
    assert not steps
    return parts


@pytest.fixture(scope="module")
def real_esrgan():
    rng, preset = np.random.default_rng(0), presets.load("real-esrgan")
    return [parse(preset.draw(rng, 4)) for _ in range(DRAWS)]


@pytest.fixture(scope="module", params=list(STAGES))
def stage(request, real_esrgan):
    """Published figures of a stage, and its drawn steps by their part."""
    drawn = [getattr(parts, request.param) for parts in real_esrgan]
    share = {"first": 1.0, "second": 0.25}[request.param]  # of the original's size, before the factor
    return SimpleNamespace(
        published=STAGES[request.param],
        blurs=[step["blur"] for step in drawn],
        kernels=[step["blur"] for step in drawn if isinstance(step["blur"], Blur)],
        sincs=[step["blur"] for step in drawn if isinstance(step["blur"], Sinc)],
        factors=np.array([step["resize"].share / share for step in drawn]),
        modes=[step["resize"].mode for step in drawn],
        gaussian=[step["noise"] for step in drawn if isinstance(step["noise"], GaussianNoise)],
        poisson=[step["noise"] for step in drawn if isinstance(step["noise"], PoissonNoise)],
        qualities=[step["jpeg"].quality for step in drawn],
    )


def test_blur_comes_at_its_probability_and_a_tenth_are_sinc(stage):
    present = [blur for blur in stage.blurs if blur is not None]
    check_share(len(present), DRAWS, stage.published.blur)
    check_share(len(stage.sincs), len(present), 0.1)


def test_kernel_kinds_and_sizes(stage):
    check_shares([kernel.kind for kernel in stage.kernels], KERNELS)
    check_odd([kernel.size for kernel in stage.kernels], 7, 21)
    check_odd([sinc.size for sinc in stage.sincs], 7, 21)


def test_standard_deviations_and_rotations(stage):
    isotropic = [kernel for kernel in stage.kernels if not kernel.kind.endswith("aniso")]
    anisotropic = [kernel for kernel in stage.kernels if kernel.kind.endswith("aniso")]
    assert all(kernel.sigma_y == kernel.sigma_x and kernel.rotation == 0 for kernel in isotropic)
    check_uniform([kernel.sigma_x for kernel in isotropic], *stage.published.sigma)
    axes = np.array([(kernel.sigma_x, kernel.sigma_y, kernel.rotation) for kernel in anisotropic]).T
    check_uniform(axes[0], *stage.published.sigma)
    check_uniform(axes[1], *stage.published.sigma)
    check_uniform(axes[2], -math.pi, math.pi)
    # Drawn apart: correlations of independent draws have a standard error of 1 / sqrt(n).
    correlations = np.corrcoef(axes)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 4 / math.sqrt(len(anisotropic))


def test_exponents(stage):
    betas = {shape: [] for shape in ("generalized", "plateau", "gaussian")}
    for kernel in stage.kernels:
        betas[kernel.kind.partition("_")[0] if "_" in kernel.kind else "gaussian"].append(kernel.beta)
    assert set(betas["gaussian"]) == {1.0}
    below = [beta for beta in betas["generalized"] if beta < 1]
    above = [beta for beta in betas["generalized"] if beta >= 1]
    check_share(len(below), len(betas["generalized"]), 0.5)
    check_uniform(below, 0.5, 1)
    check_uniform(above, 1, 4)
    check_share(betas["plateau"].count(1.0), len(betas["plateau"]), 0.5)
    check_uniform([beta for beta in betas["plateau"] if beta != 1.0], 1, 2)


def test_cutoffs_of_sinc_kernels_by_their_size(stage):
    check_uniform([sinc.cutoff for sinc in stage.sincs if sinc.size < 13], math.pi / 3, math.pi)
    check_uniform([sinc.cutoff for sinc in stage.sincs if sinc.size >= 13], math.pi / 5, math.pi)


def test_resizes(stage):
    up, down = stage.factors[stage.factors > 1], stage.factors[stage.factors < 1]
    check_share(len(up), DRAWS, stage.published.up)
    check_share(len(down), DRAWS, stage.published.down)
    check_share((stage.factors == 1).sum(), DRAWS, 1 - stage.published.up - stage.published.down)
    check_uniform(up, *stage.published.enlarge)
    check_uniform(down, *stage.published.reduce)
    check_shares(stage.modes, MODES)


def test_noise(stage):
    check_share(len(stage.gaussian), DRAWS, 0.5)
    check_uniform([noise.sigma for noise in stage.gaussian], *stage.published.noise)
    check_uniform([noise.scale for noise in stage.poisson], *stage.published.poisson)
    for noises in (stage.gaussian, stage.poisson):
        check_share(sum(noise.gray for noise in noises), len(noises), 0.4)
    assert all(noise.mixing is None for noise in stage.gaussian)


def test_no_two_noises_have_one_seed(stage):
    seeds = {noise.seed for noise in stage.gaussian + stage.poisson}
    assert len(seeds) == DRAWS
    check_uniform([seed / 2**53 for seed in seeds], 0, 1)


def test_jpeg_qualities(stage):
    check_whole(stage.qualities, 30, 95)


def test_end_of_the_chain(real_esrgan):
    assert {parts.end.share for parts in real_esrgan} == {0.25}
    check_shares([parts.end.mode for parts in real_esrgan], MODES)
    sincs = [parts.sinc for parts in real_esrgan if parts.sinc]
    check_share(len(sincs), DRAWS, 0.8)
    check_odd([sinc.size for sinc in sincs], 7, 21)
    for chosen in ([s for s in sincs if s.size < 13], [s for s in sincs if s.size >= 13]):
        check_uniform([sinc.cutoff for sinc in chosen], math.pi / 3, math.pi)
    check_share(sum(parts.jpeg_first for parts in real_esrgan), DRAWS, 0.5)
    both = sum(parts.jpeg_first and parts.sinc is not None for parts in real_esrgan)
    check_share(both, DRAWS, 0.4)  # drawn apart


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_chain_has_as_many_stages_as_asked_the_last_repeated(count):
    preset = presets.load("real-esrgan", count)
    rng = np.random.default_rng(1)
    strongest = [0.0] * count  # Gaussian noise of each stage
    for _ in range(800):
        steps = preset.draw(rng, 4).steps
        noises = [step for step in steps if isinstance(step, GaussianNoise | PoissonNoise)]
        assert len(noises) == len([step for step in steps if isinstance(step, JPEG)]) == count
        # One resize a stage, the first of the original, the others of the LR size; and the one to the LR size.
        shares = [step.share for step in steps if isinstance(step, Resize)]
        assert len(shares) == count + 1
        assert shares[-1] == 0.25
        assert all(0.3 / 4 <= share <= 1.2 / 4 for share in shares[1:])
        # Only the last stage's JPEG may come after that resize.
        last = max(i for i, step in enumerate(steps) if isinstance(step, Resize))
        assert sum(isinstance(step, JPEG) for step in steps[last:]) <= 1
        assert not any(isinstance(step, GaussianNoise | PoissonNoise) for step in steps[last:])
        for i, noise in enumerate(noises):
            strongest[i] = max(strongest[i], noise.sigma if isinstance(noise, GaussianNoise) else 0)
    assert 29 < strongest[0] <= 30
    assert all(24 < sigma <= 25 for sigma in strongest[1:])


# ---------------------------------------------------------------------------------------------- BSRGAN
# Zhang et al., "BSRGAN" (2021), and the authors' utils_blindsr.py, without its camera pipeline.


@pytest.fixture(scope="module")
def bsrgan():
    """Of each chain at x4: scale that is left after a first half, that half, the shuffled steps, the last step."""
    rng, preset, drawn = np.random.default_rng(0), presets.load("bsrgan"), []
    for _ in range(DRAWS):
        steps = list(preset.draw(rng, 4).steps)
        half = steps.pop(0) if isinstance(steps[0], Resize) and steps[0].share == 0.5 else None
        drawn.append(SimpleNamespace(half=half, left=2 if half else 4, shuffled=steps[:-1], last=steps[-1]))
    return drawn


def name_of(step) -> str:
    if isinstance(step, Resize) and step.share == 0.25:
        return "end"
    kinds = {Blur: "blur", Resize: "reduce", Decimate: "reduce", GaussianNoise: "noise", JPEG: "jpeg"}
    return kinds[type(step)]


def of_kind(bsrgan, kind) -> list:
    """(scale that is left, step) of all shuffled steps of a kind, without those to the exact size."""
    return [
        (chain.left, step)
        for chain in bsrgan
        for step in chain.shuffled
        if isinstance(step, kind) and name_of(step) != "end"
    ]


def test_bsrgan_halves_a_quarter_of_the_images_first(bsrgan):
    halves = [chain.half for chain in bsrgan if chain.half]
    check_share(len(halves), DRAWS, 0.25)
    check_shares([half.mode for half in halves], {ANTIALIASED: 0.5} | dict.fromkeys(MODES, 1 / 6))


@pytest.mark.parametrize("scale", [2, 8])
def test_bsrgan_halves_first_at_x4_alone(scale):
    rng, preset = np.random.default_rng(0), presets.load("bsrgan")
    firsts = [preset.draw(rng, scale).steps[0] for _ in range(200)]
    assert not any(isinstance(step, Resize) and step.share == 0.5 for step in firsts)


def test_bsrgan_shuffles_its_steps(bsrgan):
    orders = [[name_of(step) for step in chain.shuffled] for chain in bsrgan]
    with_jpeg = [order for order in orders if "jpeg" in order]
    check_share(len(with_jpeg), DRAWS, 0.9)
    assert {tuple(sorted(order)) for order in with_jpeg} == {("blur", "blur", "end", "jpeg", "noise", "reduce")}
    assert all(order.index("reduce") < order.index("end") for order in orders)
    count = len(with_jpeg)
    for position in range(6):
        found = Counter(order[position] for order in with_jpeg)
        check_share(found["noise"], count, 1 / 6)
        check_share(found["jpeg"], count, 1 / 6)
        check_share(found["blur"], count, 1 / 3)
        # Of the 15 pairs of places, 5 - i have their first at i and i have their second there.
        check_share(found["reduce"], count, (5 - position) / 15)
        check_share(found["end"], count, position / 15)


def test_bsrgan_blurs(bsrgan):
    blurs = of_kind(bsrgan, Blur)
    check_share(sum(blur.kind == "aniso" for _, blur in blurs), len(blurs), 0.5)
    check_odd([blur.size for _, blur in blurs], 7, 25)
    for left in (2, 4):
        isotropic = [blur for of, blur in blurs if of == left and blur.kind == "iso"]
        check_uniform([blur.sigma_x for blur in isotropic], 0, 2 + 0.2 * left)
        assert all(blur.sigma_y == blur.sigma_x for blur in isotropic)
        anisotropic = [blur for of, blur in blurs if of == left and blur.kind == "aniso"]
        check_uniform([blur.sigma_x**2 for blur in anisotropic], 0, 4 + left)
        check_uniform([blur.sigma_y**2 for blur in anisotropic], 0, 4 + left)
        check_uniform([blur.rotation for blur in anisotropic], 0, math.pi)
    assert len(blurs) == 2 * DRAWS


def test_bsrgan_reductions(bsrgan):
    resizes, decimations = of_kind(bsrgan, Resize), of_kind(bsrgan, Decimate)
    assert len(resizes) + len(decimations) == DRAWS
    check_share(len(resizes), DRAWS, 0.75)
    check_shares([resize.mode for _, resize in resizes], MODES)
    for left in (2, 4):
        # Half of the image is left, or all of it.
        check_uniform([left / 4 / resize.share for of, resize in resizes if of == left], 1, 2 * left)
        check_uniform([step.sigma for of, step in decimations if of == left], 0.1, 0.6 * left)
    assert all((step.every, step.size) == (left, 25) for left, step in decimations)
    ends = [step for chain in bsrgan for step in chain.shuffled if name_of(step) == "end"]
    check_shares([step.mode for step in ends], MODES)


def test_bsrgan_noise(bsrgan):
    noises = [noise for _, noise in of_kind(bsrgan, GaussianNoise)]
    assert len(noises) == DRAWS
    kinds = ["gray" if noise.gray else "correlated" if noise.mixing else "colour" for noise in noises]
    check_shares(kinds, {"gray": 0.4, "correlated": 0.2, "colour": 0.4})
    check_whole([noise.sigma for noise in noises if noise.mixing is None], 2, 25)
    assert {noise.sigma for noise in noises if noise.mixing} == {25.0}
    assert not any(noise.gray for noise in noises if noise.mixing)


def test_bsrgan_ends_with_a_jpeg(bsrgan):
    assert all(type(chain.last) is JPEG for chain in bsrgan)
    check_whole([chain.last.quality for chain in bsrgan], 30, 95)
    check_whole([step.quality for _, step in of_kind(bsrgan, JPEG)], 30, 95)


def test_correlated_noise_has_a_random_covariance():
    rng = np.random.default_rng(0)
    matrices = np.array([draw_mixing(rng) for _ in range(1000)])
    covariances = matrices @ matrices.swapaxes(1, 2)
    # |U^T D U| with D = diag(U(0, 1)) and U orthonormal: no entry below 0, the trace that of D.
    assert covariances.min() > -1e-9
    traces = np.trace(covariances, axis1=1, axis2=2)
    assert traces.max() <= 3
    assert abs(traces.mean() - 1.5) < 4 * math.sqrt(3 / 12 / 1000)
    assert covariances[:, 0, 1].mean() > 0.05
    assert covariances[:, range(3), range(3)].max() <= 1 + 1e-9


# ---------------------------------------------------------------------------------------------- face
# Wang et al., "GFPGAN" (2021), equation 1, and the authors' options: blur 41, reduction, noise, JPEG.


@pytest.fixture(scope="module")
def face():
    """Of each chain at x4: its four degradations, and the changes of colour."""
    rng, preset, drawn = np.random.default_rng(0), presets.load("face"), []
    for _ in range(4000):
        blur, resize, noise, jpeg, *colours, end = preset.draw(rng, 4).steps
        kinds = [type(step) for step in (blur, resize, noise, jpeg)]
        assert kinds == [Blur, Resize, GaussianNoise, JPEG]
        assert end == Resize(0.25, "bilinear")
        drawn.append(SimpleNamespace(blur=blur, resize=resize, noise=noise, jpeg=jpeg, colours=colours))
    return drawn


def test_face_blurs(face):
    assert {chain.blur.size for chain in face} == {41}
    check_shares([chain.blur.kind for chain in face], {"iso": 0.5, "aniso": 0.5})
    check_uniform([chain.blur.sigma_x for chain in face], 0.1, 10)
    anisotropic = [chain.blur for chain in face if chain.blur.kind == "aniso"]
    check_uniform([blur.sigma_y for blur in anisotropic], 0.1, 10)
    check_uniform([blur.rotation for blur in anisotropic], -math.pi, math.pi)


def test_face_divides_by_up_to_8(face):
    check_uniform([1 / chain.resize.share for chain in face], 0.8, 8)
    assert {chain.resize.mode for chain in face} == {"bilinear"}


def test_face_noise_and_jpeg(face):
    check_uniform([chain.noise.sigma for chain in face], 0, 20)
    assert not any(chain.noise.gray or chain.noise.mixing for chain in face)
    check_whole([chain.jpeg.quality for chain in face], 60, 100)


def test_face_changes_of_colour(face):
    gray = Colour(saturation=0.0)
    assert all(set(map(type, chain.colours)) <= {Colour} for chain in face)
    check_share(sum(gray in chain.colours for chain in face), len(face), 0.01)
    changes = [step for chain in face for step in chain.colours if step != gray]
    check_share(len(changes), len(face), 0.3)
    for channel in range(3):
        check_uniform([step.offset[channel] * 255 for step in changes], -20, 20)
    check_uniform([step.contrast for step in changes], 0.5, 1.5)
    check_uniform([step.saturation for step in changes], 0, 1.5)


# ---------------------------------------------------------------------------------------------- all presets


def test_jiang_is_one_gaussian_and_the_reduction():
    # Jiang, Xu and Sun: 7x7 of sigma 5.
    chain = presets.load("jiang").draw(np.random.default_rng(0), 2)
    assert chain == Chain((Blur("iso", 7, 5.0, 5.0), Resize(0.5, ANTIALIASED)))


def test_bicubic_is_the_reduction_alone():
    assert presets.load("bicubic").draw(np.random.default_rng(0), 4) == Chain((Resize(0.25, ANTIALIASED),))


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("name", presets.names())
def test_lr_has_a_scale_th_of_the_sides(name, scale):
    degrade = Degrader(presets.load(name), scale)
    draw = np.random.default_rng(0)
    for number, (height, width) in enumerate([(7, 13), (1, 5), (12, 9), (11, 3)] * 3):
        hr = draw.integers(0, 256, (height * scale, width * scale, 3), np.uint8)
        lr = degrade(hr, number)
        assert (lr.shape, lr.dtype) == ((height, width, 3), np.uint8)


@pytest.mark.parametrize("name", presets.names())
def test_drawn_chain_comes_back_from_json_with_its_pixels(name):
    hr = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    for index in range(10):
        chain = Degrader(presets.load(name), 4).chain(index)
        again = Chain.from_json(json.loads(json.dumps(chain.to_json())))
        assert again == chain
        np.testing.assert_array_equal(again(hr), chain(hr))


def test_same_index_gives_the_same_pixels_and_another_another_chain():
    hr = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    one, two = (Degrader(presets.load("real-esrgan"), 4, seed=3) for _ in range(2))
    for index in ((0,), (7,), (7, 1)):
        assert one.chain(*index) == two.chain(*index)
        np.testing.assert_array_equal(one(hr, *index), two(hr, *index))
    assert len({one.chain(index) for index in range(50)} | {one.chain(index, 1) for index in range(50)}) == 100
    assert not np.array_equal(one(hr, 0), one(hr, 1))


def test_another_seed_gives_other_chains():
    preset = presets.load("real-esrgan")
    one, two = ({Degrader(preset, 4, seed).chain(index) for index in range(20)} for seed in (0, 1))
    assert not one & two


def test_mixture_draws_each_part_at_its_share():
    parts = {name: Staged(modes=(name,)) for name in ("area", "bilinear", "bicubic")}
    mixture = Mixture(((1.0, parts["area"]), (2.0, parts["bilinear"]), (5.0, parts["bicubic"])))
    rng = np.random.default_rng(0)
    modes = [mixture.draw(rng, 2).steps[0].mode for _ in range(4000)]
    check_shares(modes, {"area": 1 / 8, "bilinear": 2 / 8, "bicubic": 5 / 8})
