"""The learned degradation in use: fitting pairs, files of cameras, pixels, chains, draws, and what is refused."""

import json
import pickle
import zipfile

import keras
import numpy as np
import pytest

from keras_fsr.degradations.classical import Chain
from keras_fsr.degradations.learned import transfer
from keras_fsr.degradations.learned.engine import NOISE_CHANNELS
from keras_fsr.degradations.learned.network import DegradationTransfer
from keras_fsr.degradations.learned.transfer import Learned, LearnedDegradation, fit_degradation, load_network
from keras_fsr.errors import DataError, ModelError

SMALL = {"filters": [4, 4, 4, 4], "hidden": 8}
SIZE = 6


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> str:
    """The file of a tiny network with no weight at zero."""
    keras.utils.set_random_seed(0)
    model = DegradationTransfer(4, SIZE, SMALL, {**SMALL, "dense": 2})
    draw = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign_add(draw.normal(0, 0.1, weight.shape))
    kernel = model.synnet.get_layer("to_rgb").kernel
    kernel.assign(5 * kernel)  # so that the change is one of several levels
    path = tmp_path_factory.mktemp("network") / "tiny.keras"
    model.save(path)
    return str(path)


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random pixels in the middle of the range."""
    return np.random.default_rng(seed).integers(64, 192, (height, width, 3), np.uint8)


def pair(height: int, width: int, scale: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return image(height * scale, width * scale, seed), image(height, width, seed + 100)


@pytest.fixture
def camera(network) -> LearnedDegradation:
    omegas = np.random.default_rng(1).standard_normal((3, SIZE))
    return LearnedDegradation(omegas, network)


# Fitting


def test_each_pair_gives_an_omega(network):
    pairs = [pair(8, 8), pair(16, 24, seed=1), pair(8, 8)]
    camera = fit_degradation(pairs, network)
    assert camera.omegas.shape == (3, SIZE)
    assert (camera.network, camera.scale) == (network, 4)
    np.testing.assert_array_equal(camera.omegas[0], camera.omegas[2])
    assert np.abs(camera.omegas[0] - camera.omegas[1]).max() > 1e-3
    expected = load_network(network).degnet([part[None] / np.float32(255) for part in pairs[1]])
    np.testing.assert_allclose(camera.omegas[1:2], expected, atol=1e-5)


def test_sides_that_are_no_multiples_of_8_are_cut(network):
    hq, lq = pair(21, 15)
    cut = fit_degradation([(hq[:64, :32], lq[:16, :8])], network)
    np.testing.assert_array_equal(fit_degradation([(hq, lq)], network).omegas, cut.omegas)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((32, 32), (8, 9)), "pair 2: 32x32 and 9x8 do not fit; HQ is 4 times as large"),
        (((33, 32), (8, 8)), "pair 2: 32x33 and 8x8 do not fit"),
        (((16, 16), (8, 8)), "pair 2: 16x16 and 8x8 do not fit"),
        (((28, 64), (7, 16)), "pair 2: 64x28 and 16x7 do not fit; .* whose sides have 8 pixels at least"),
    ],
)
def test_pair_of_sizes_that_do_not_fit_is_refused_by_its_number(sizes, message, network):
    with pytest.raises(DataError, match=message) as caught:
        fit_degradation([pair(8, 8), tuple(image(*size) for size in sizes)], network)
    assert "\n" not in str(caught.value)


def test_no_pairs_are_refused(network):
    with pytest.raises(DataError, match="no pairs to learn a degradation from"):
        fit_degradation([], network)


# The file of a camera


@pytest.mark.parametrize("name", ["phone.npz", "phone"])
def test_saved_camera_loads_as_an_equal_one(name, camera, tmp_path):
    camera.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    copy = LearnedDegradation.load(tmp_path / name)
    np.testing.assert_array_equal(copy.omegas, camera.omegas)
    assert copy.omegas.dtype == np.float32
    assert (copy.network, copy.scale) == (camera.network, camera.scale)


def test_the_file_holds_arrays_alone(camera, tmp_path):
    camera.save(tmp_path / "phone.npz")
    with np.load(tmp_path / "phone.npz", allow_pickle=False) as file:
        assert {key: file[key].dtype.hasobject for key in file} == {
            "omegas": False,
            "network": False,
            "scale": False,
        }


class Trace:
    """What leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def hostile(path):
    np.savez(path, omegas=np.array([Trace(path.with_name("trace"))], object), network="n", scale=4)


def plain_pickle(path):
    path.write_bytes(pickle.dumps(Trace(path.with_name("trace"))))


def truncated(path):
    LearnedDegradation(np.ones((3, SIZE)), "n").save(path)
    path.write_bytes(path.read_bytes()[:300])


def damaged(path):
    LearnedDegradation(np.random.default_rng(0).random((300, SIZE)), "n").save(path)
    content = bytearray(path.read_bytes())
    content[500:700] = bytes(200)
    path.write_bytes(content)


def other_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("omegas.npy", "x")


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.ones((2, SIZE)))


def arrays(**values):
    return lambda path: np.savez(path, **{"omegas": np.ones((2, SIZE)), "network": "n", "scale": 4} | values)


BAD_FILES = {
    "hostile": hostile,
    "plain pickle": plain_pickle,
    "truncated": truncated,
    "damaged": damaged,
    "another zip": other_zip,
    "one array": one_array,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("this is text"),
    "folder": lambda path: path.mkdir(),
    "missing": lambda path: None,
    "no network": lambda path: np.savez(path, omegas=np.ones((2, SIZE)), scale=4),
    "no scale": lambda path: np.savez(path, omegas=np.ones((2, SIZE)), network="n"),
    "two scales": arrays(scale=[4, 4]),
    "words": arrays(omegas=np.array(["a", "b"])),
    "not finite": arrays(omegas=np.full((2, SIZE), np.nan)),
    "none": arrays(omegas=np.zeros((0, SIZE))),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_one_line_and_nothing_in_it_runs(kind, tmp_path):
    path = tmp_path / "phone.npz"
    BAD_FILES[kind](path)
    with pytest.raises(ModelError, match=r"phone\.npz: is no file of a learned degradation") as caught:
        LearnedDegradation.load(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trace").exists()


def test_the_hostile_file_does_what_it_says_where_it_is_let_through(tmp_path):
    hostile(tmp_path / "phone.npz")
    with np.load(tmp_path / "phone.npz", allow_pickle=True) as file:
        file["omegas"][0].close()
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("omegas", [[], [[np.inf, 0.0]], np.zeros((2, 2, 2)), [np.nan]])
def test_omegas_that_are_none_are_refused(omegas):
    with pytest.raises(DataError, match="give finite vectors"):
        LearnedDegradation(omegas)


# Pixels


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(84, 100, (21, 25)), (64, 96, (16, 24)), (35, 67, (8, 16)), (4, 7, (1, 1)), (5, 200, (1, 50))],
)
def test_lr_is_a_quarter_of_any_size(height, width, expected, camera):
    lr = camera.apply(image(height, width))
    assert lr.shape == (*expected, 3)
    assert lr.dtype == np.uint8


def test_what_is_beyond_the_last_whole_block_does_not_count(camera):
    hq = image(87, 103)
    np.testing.assert_array_equal(camera.apply(hq), camera.apply(hq[:84, :100]))


def test_image_below_one_pixel_is_refused(camera):
    with pytest.raises(DataError, match="an image of 9x3 is smaller than 4 pixels"):
        camera.apply(image(3, 9))


def test_pixels_are_those_of_the_network(camera, network):
    hq = image(64, 96)
    noise = np.random.default_rng(5).standard_normal((16, 24, NOISE_CHANNELS), np.float32)
    omega = camera.omegas.mean(axis=0)
    lq = load_network(network).synnet([part[None] for part in (hq / np.float32(255), omega, noise)])
    expected = np.asarray(lq)[0].clip(0, 1) * 255
    # Rounding, and float16 weights.
    assert np.abs(camera.apply(hq, seed=5) - expected).max() < 0.5 + 0.5
    means = hq.reshape(16, 4, 24, 4, 3).mean(axis=(1, 3))
    assert np.abs(expected - means).mean() > 2, "it degrades"


def test_an_image_is_continued_by_its_mirror_image(camera):
    hq = image(32, 40)
    whole = np.concatenate([hq, hq[:, ::-1]], axis=1)[:, :64]
    # Without noise, whose draw depends on the size alone, too.
    np.testing.assert_array_equal(camera.apply(hq, None), camera.apply(whole, None)[:, :10])
    np.testing.assert_array_equal(transfer.mirrored(hq, 32), whole)


def test_seed_fixes_the_noise(camera):
    hq = image(64, 64)
    lr = camera.apply(hq, seed=1).astype(int)
    np.testing.assert_array_equal(camera.apply(hq, seed=1), lr)
    other = camera.apply(hq, seed=2)
    assert (other != lr).any()
    clean = camera.apply(hq, seed=None)
    np.testing.assert_array_equal(camera.apply(hq, seed=None), clean)
    assert (clean != lr).any()
    assert np.abs(lr - clean).mean() < np.abs(lr - other).mean(), "noise is about the expected image"


def test_the_omega_is_the_mean_of_the_pictures_unless_one_is_chosen(camera):
    [mean], [second] = camera.chain().steps, camera.chain(1, seed=7).steps
    np.testing.assert_allclose(mean.omega, camera.omegas.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(np.float32(second.omega), camera.omegas[1])
    assert (mean.seed, second.seed) == (0, 7)


def test_omega_of_another_network_is_refused(network):
    with pytest.raises(ModelError, match=r"tiny\.keras: cannot degrade"):
        LearnedDegradation(np.ones(SIZE + 1), network).apply(image(32, 32))


# Chains and draws


@pytest.mark.parametrize("seed", [3, 2**53 - 1, None])
def test_chain_survives_json_and_makes_the_same_pixels(seed, camera):
    hq = image(64, 64)
    chain = camera.chain(1, seed)
    copy = Chain.from_json(json.loads(json.dumps(chain.to_json())))
    assert copy == chain
    assert isinstance(copy.steps[0], Learned)
    np.testing.assert_array_equal(copy(hq), chain(hq))


def test_reseeded_chain_is_the_same_camera_with_other_noise(camera):
    [step], [other] = camera.chain(1, 3).steps, camera.chain(1, 3).reseeded(9).steps
    assert other.seed != step.seed
    assert (other.omega, other.network, other.scale) == (step.omega, step.network, step.scale)
    assert camera.chain(1, None).reseeded(9) == camera.chain(1, None)


def test_draw_picks_among_the_omegas_with_fresh_noise(camera):
    rng = np.random.default_rng(0)
    steps = [camera.draw(rng, 4).steps[0] for _ in range(40)]
    assert {step.omega for step in steps} == {tuple(map(float, omega)) for omega in camera.omegas}
    assert len({step.seed for step in steps}) == 40
    again = camera.draw(np.random.default_rng(0), 4)
    assert again.steps[0] == steps[0]


def test_draw_for_another_scale_is_refused(camera):
    with pytest.raises(DataError, match=r"tiny\.keras: degrades by 4, not by 2"):
        camera.draw(np.random.default_rng(0), 2)


# The network's file


def generator(path):
    from keras_fsr.generators.rrdb import RRDB

    RRDB(4, num_features=4, growth_channels=4, num_blocks=1).save(path)


def half(path):
    DegradationTransfer(4, SIZE, SMALL, SMALL).degnet.save(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (generator, "holds no DegNet and SynNet"),
        (half, "holds no DegNet and SynNet"),
        (lambda path: path.write_bytes(b"garbage" * 100), "is not a Keras model"),
        (lambda path: path.write_bytes(b""), "is not a Keras model"),
        (lambda path: None, "no such model file"),
    ],
)
def test_file_of_another_network_is_refused(make, message, tmp_path):
    path = tmp_path / "other.keras"
    make(path)
    with pytest.raises(ModelError, match=f"other.keras: {message}") as caught:
        fit_degradation([pair(8, 8)], path)
    assert "\n" not in str(caught.value)


def test_lambda_in_a_network_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trace = tmp_path / "trace"
    layer = keras.layers.Lambda(lambda x: (open("trace", "w").close(), x)[1], output_shape=(4,))
    inputs = keras.Input((4,))
    keras.Model(inputs, layer(inputs)).save(tmp_path / "other.keras")
    trace.unlink(missing_ok=True)
    with pytest.raises(ModelError, match="is not a Keras model"):
        load_network(str(tmp_path / "other.keras"))
    assert not trace.exists()
    # The function does what it says where it is let through.
    keras.models.load_model(tmp_path / "other.keras", safe_mode=False)(np.ones((1, 4)))
    assert trace.exists()


def test_unknown_shipped_network_is_refused():
    with pytest.raises(ModelError, match="degradation_x9: no such model"):
        fit_degradation([pair(8, 8)], "degradation_x9")


@pytest.mark.parametrize(
    "change", [{"scale": 0}, {"omega": []}, {"omega": ["a"]}, {"omega": [float("nan")]}, {"seed": -1}, {"network": 5}]
)
def test_impossible_records_of_the_step_are_refused(change):
    record = {"step": "Learned", "network": "degradation_x4", "scale": 4, "omega": [0.5], "seed": 1} | change
    with pytest.raises(DataError, match="degradation step 'Learned'"):
        Chain.from_json([record])
