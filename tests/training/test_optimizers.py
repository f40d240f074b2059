"""The learning-rate schedule by value, and ConvMuon's two kinds of step."""

import itertools

import keras
import numpy as np
import pytest

from keras_fsr.training.optimizers import DECAYS, OPTIMIZERS, ConvMuon, WarmupHoldDecay

RATE = 1e-2
SCHEDULE = {"peak": 2.0, "total_steps": 100, "warmup_steps": 10, "decay_steps": 40, "final": 0.1}


@pytest.mark.parametrize(
    ("step", "rate"),
    # By hand; the decay runs from step 60 to 100 and is half-way down, at (1 + 0.1) / 2 of the peak, at 80.
    [(0, 0.2), (4, 1.0), (9, 2.0), (10, 2.0), (35, 2.0), (60, 2.0), (80, 1.1), (100, 0.2), (1000, 0.2)],
)
def test_rate_warms_up_holds_and_decays(step, rate):
    assert float(WarmupHoldDecay(**SCHEDULE)(step)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize(
    ("step", "rate"),
    # By hand: a tenth of the peak from step 60 on.
    [(0, 0.2), (4, 1.0), (9, 2.0), (59, 2.0), (60, 0.2), (61, 0.2), (99, 0.2), (1000, 0.2)],
)
def test_rate_falls_at_once_by_a_step(step, rate):
    assert float(WarmupHoldDecay(**SCHEDULE, shape="step")(step)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize("step", [0, 50, 99])
def test_step_without_a_decay_is_constant(step):
    assert float(WarmupHoldDecay(3.0, total_steps=100, shape="step")(step)) == pytest.approx(3.0)


def test_unknown_shape_of_the_decay_is_refused():
    with pytest.raises(ValueError, match="decay shape is cosine or step, not 'linear'"):
        WarmupHoldDecay(1.0, 100, shape="linear")


def test_decay_falls_steadily():
    rates = [float(WarmupHoldDecay(**SCHEDULE)(step)) for step in range(60, 101)]
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))


@pytest.mark.parametrize("step", [0, 50, 100])
def test_rate_without_warmup_and_decay_is_constant(step):
    assert float(WarmupHoldDecay(3.0, total_steps=100)(step)) == pytest.approx(3.0)


def test_longer_training_changes_no_rate_before_its_decay():
    short, long = (WarmupHoldDecay(**SCHEDULE | {"total_steps": total}) for total in (100, 200))
    assert [float(short(step)) for step in range(61)] == [float(long(step)) for step in range(61)]


@pytest.mark.parametrize("shape", DECAYS)
def test_schedule_survives_its_config(shape):
    original = WarmupHoldDecay(**SCHEDULE, shape=shape)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(original))
    assert type(copy) is WarmupHoldDecay
    assert copy.get_config() == {**SCHEDULE, "shape": shape}


def step_from_zero(optimizer, gradients: dict[str, np.ndarray], steps: int = 1) -> dict[str, np.ndarray]:
    """What the optimizer makes of zero variables of these names in some steps of these gradients."""
    variables = [keras.Variable(np.zeros_like(value), name=name) for name, value in gradients.items()]
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(value) for value in gradients.values()], variables)
    return {name: variable.numpy() for name, variable in zip(gradients, variables, strict=True)}


def random_gradient(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 1, shape).astype("float32")


@pytest.mark.parametrize("shape", [(3, 3, 16, 8), (3, 3, 13, 32), (1, 1, 16, 64)], ids=str)
def test_kernel_takes_an_orthogonal_step(shape):
    gradient = random_gradient(*shape)
    result = step_from_zero(ConvMuon(RATE), {"kernel": gradient})["kernel"]
    matrix, step = gradient.reshape(-1, shape[-1]), -result.reshape(-1, shape[-1])
    # The step size of Liu et al. (2025); five Newton-Schulz iterations bring singular values near 1, not to 1.
    singular = np.linalg.svd(step / (RATE * 0.2 * np.sqrt(max(matrix.shape))), compute_uv=False)
    assert singular.min() > 0.3
    assert singular.max() < 1.6
    # Its direction is the orthogonal factor of the gradient.
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    exact = left @ right
    assert (step * exact).sum() > 0.95 * np.linalg.norm(step) * np.linalg.norm(exact)


def test_kernel_step_does_not_depend_on_the_size_of_the_gradient():
    gradient = random_gradient(3, 3, 16, 8)
    one, other = (step_from_zero(ConvMuon(RATE), {"k": scale * gradient})["k"] for scale in (1.0, 100.0))
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bias", (16,)),
        ("kernel", (3, 3, 3, 16)),  # reads RGB
        ("kernel", (3, 3, 12, 16)),  # reads RGB unshuffled by 2
        ("conv_last_kernel", (3, 3, 16, 3)),  # writes pixels
    ],
)
def test_what_reads_or_writes_pixels_takes_the_adam_step(name, shape):
    gradient = {name: random_gradient(*shape)}
    result = step_from_zero(ConvMuon(RATE, adam_weight_decay=None), gradient, steps=3)[name]
    expected = step_from_zero(keras.optimizers.Adam(RATE), gradient, steps=3)[name]
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-6)


def test_excluded_layers_can_be_chosen():
    gradient = {"head": random_gradient(3, 3, 16, 8), "conv_last": random_gradient(3, 3, 16, 8)}
    result = step_from_zero(ConvMuon(RATE, exclude_layers=["head"]), gradient)
    # Adam's first step is the rate everywhere.
    np.testing.assert_allclose(np.abs(result["head"]), RATE, rtol=1e-2)
    assert np.abs(result["conv_last"]).std() > 0.1 * RATE


def conv_network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 16))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv_first")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", name="conv_last")(x))


def test_layers_of_a_network_get_the_step_meant_for_them():
    network, optimizer = conv_network(), ConvMuon(RATE)
    optimizer.build(network.trainable_variables)
    adam = [
        variable.path
        for variable, velocity in zip(network.trainable_variables, optimizer.adam_velocities, strict=True)
        if velocity is not None
    ]
    assert adam == ["conv_first/bias", "conv_last/kernel", "conv_last/bias"]


@pytest.mark.parametrize(("name", "rate"), [("adam", RATE), ("muon", RATE), ("sgd", 0.3)])
def test_training_lowers_the_loss(name, rate):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (4, 8, 8, 16)).astype("float32")
    y = x[..., :3] - x[..., 3:6]
    network = conv_network()
    network.compile(optimizer=OPTIMIZERS[name](rate, 1.0), loss="mse")
    before = network.evaluate(x, y, verbose=0)
    network.fit(x, y, batch_size=4, epochs=20, verbose=0)
    assert int(network.optimizer.iterations) == 20
    assert network.evaluate(x, y, verbose=0) < 0.5 * before


def test_optimizer_survives_its_config():
    original = ConvMuon(WarmupHoldDecay(**SCHEDULE), exclude_layers=("head",), global_clipnorm=0.5, momentum=0.9)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(original))
    assert type(copy) is ConvMuon
    assert copy.get_config() == original.get_config()
    assert (copy.exclude_layers, copy.global_clipnorm, copy.momentum) == (["head"], 0.5, 0.9)
    assert float(copy.learning_rate) == pytest.approx(SCHEDULE["peak"] / SCHEDULE["warmup_steps"])
