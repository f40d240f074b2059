"""NIQE's prior: from files, folders and the network, and what is no prior."""

import http.client
import io
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from keras_fsr.errors import ModelError, OutputError
from keras_fsr.files import WEIGHTS_VARIABLE
from keras_fsr.metrics import niqe_prior
from keras_fsr.metrics.niqe import NIQE
from keras_fsr.metrics.niqe_prior import ADDRESS, NAMES, Prior, load_prior

MEAN = np.arange(36.0)
COVARIANCE = np.diag(np.arange(1.0, 37.0)) + 0.5


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """No folder of weights, an empty cache, no network."""
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: pytest.fail("asked the network"))


def arrays(mean=MEAN, covariance=COVARIANCE) -> dict:
    """As BasicSR's archive has them."""
    return {"mu_pris_param": mean[None], "cov_pris_param": covariance, "gaussian_window": np.ones((7, 7))}


def packed(**changes) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays(**changes))
    return file.getvalue()


def is_the_prior(prior: Prior) -> bool:
    return np.array_equal(prior.mean, MEAN) and np.array_equal(prior.covariance, COVARIANCE)


def test_saved_prior_is_read_again(tmp_path):
    Prior(MEAN, COVARIANCE).save(tmp_path / "own.npz")
    assert is_the_prior(load_prior(tmp_path / "own.npz"))
    assert is_the_prior(NIQE(str(tmp_path / "own.npz")).prior)
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]
    with np.load(tmp_path / "own.npz") as file:
        assert {name: file[name].shape for name in file} == {"mu_pris_param": (1, 36), "cov_pris_param": (36, 36)}


def test_a_user_without_a_home_is_told_the_remedy(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where the user is not known
    with pytest.raises(ModelError, match=f"this user has no home; put {NAMES[0]} .*{WEIGHTS_VARIABLE}"):
        load_prior()


def test_saving_takes_any_name_and_says_where_it_cannot(tmp_path):
    Prior(MEAN, COVARIANCE).save(tmp_path / "own.prior")
    assert is_the_prior(load_prior(tmp_path / "own.prior"))
    with pytest.raises(OutputError, match="own.npz: cannot be written"):
        Prior(MEAN, COVARIANCE).save(tmp_path / "absent" / "own.npz")


def test_basicsrs_archive_is_read(tmp_path):
    (tmp_path / "any.npz").write_bytes(packed())
    assert is_the_prior(load_prior(tmp_path / "any.npz"))


def test_the_authors_file_is_read(tmp_path):
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(tmp_path / "any.mat", {"mu_prisparam": MEAN[None], "cov_prisparam": COVARIANCE})
    assert is_the_prior(load_prior(tmp_path / "any.mat"))


def test_the_authors_file_needs_scipy(tmp_path, monkeypatch):
    (tmp_path / "any.mat").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ModuleNotFoundError) as error:
        load_prior(tmp_path / "any.mat")
    assert error.value.name.partition(".")[0] == "scipy"


def test_a_prior_can_be_given_as_it_is():
    prior = Prior(MEAN, COVARIANCE)
    assert NIQE(prior).prior is prior


@pytest.mark.parametrize("name", ["niqe_pris_params.npz", "modelparameters.mat", "niqe_modelparameters.mat"])
def test_folders_are_searched(tmp_path, monkeypatch, name):
    if name.endswith(".mat"):
        savemat = pytest.importorskip("scipy.io").savemat
        savemat(tmp_path / name, {"mu_prisparam": MEAN[None], "cov_prisparam": COVARIANCE})
    else:
        (tmp_path / name).write_bytes(packed())
    assert is_the_prior(load_prior(tmp_path))
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    assert is_the_prior(NIQE().prior)


def test_what_is_named_comes_before_the_variable(tmp_path, monkeypatch):
    (tmp_path / "own.npz").write_bytes(packed())
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "absent"))
    assert is_the_prior(load_prior(tmp_path / "own.npz"))


def test_folders_without_one_say_what_to_put_there(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=f"{tmp_path}: holds no .*{NAMES[0]} there, from {ADDRESS}"):
        load_prior(tmp_path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(ModelError, match="absent: holds no"):
        load_prior()


BAD = {
    "text": (b"no archive", "pickle"),
    "nothing": (b"", "No data"),
    "cut": (packed()[:5000], "zip"),
    "another": ((lambda f: (np.savez(f, a=MEAN), f.getvalue())[1])(io.BytesIO()), "mu_pris_param"),
    "array": ((lambda f: (np.save(f, MEAN), f.getvalue())[1])(io.BytesIO()), "context manager"),
    "short mean": (packed(mean=MEAN[:35]), r"\(35,\) and \(36, 36\)"),
    "small covariance": (packed(covariance=COVARIANCE[:35, :35]), r"\(36,\) and \(35, 35\)"),
    "mean not finite": (packed(mean=np.where(MEAN == 3, np.nan, MEAN)), "not finite"),
    "covariance not finite": (packed(covariance=np.where(COVARIANCE == 3.5, np.inf, COVARIANCE)), "not finite"),
    "not symmetric": (packed(covariance=COVARIANCE + np.eye(36, k=1)), "symmetric"),
    "negative variance": (packed(covariance=COVARIANCE - 3 * np.eye(36)), "positive definite"),
    "singular": (packed(covariance=np.ones((36, 36))), "positive definite"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_files_without_a_prior_are_refused(tmp_path, content, reason):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(
        ModelError, match=rf"bad.npz: holds no parameters of NIQE \(.*{reason}.*\); fetch it anew"
    ) as error:
        load_prior(tmp_path / "bad.npz")
    assert "\n" not in str(error.value)


def test_a_damaged_file_of_the_authors_is_refused(tmp_path):
    pytest.importorskip("scipy")
    (tmp_path / "bad.mat").write_bytes(bytes(200))
    with pytest.raises(ModelError, match="bad.mat: holds no parameters"):
        load_prior(tmp_path / "bad.mat")


# --- Downloads.


@pytest.fixture
def network(monkeypatch) -> list:
    """The address holds a prior that is taken for the published one. What was asked for is listed."""
    asked = []

    def urlopen(address, timeout):
        asked.append((address, timeout))
        return io.BytesIO(packed())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(niqe_prior, "DIGEST", niqe_prior.hashlib.sha256(packed()).hexdigest())
    return asked


def test_the_published_prior_is_downloaded_once(tmp_path, network):
    for _ in range(2):
        assert is_the_prior(load_prior())
    (address, timeout), *others = network
    assert (address, others) == (ADDRESS, [])
    assert 5 <= timeout <= 60
    assert [path.name for path in (tmp_path / "cache" / "keras_fsr").iterdir()] == [NAMES[0]]


def test_without_a_variable_the_cache_is_in_the_home_folder(tmp_path, network, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    load_prior()
    assert (tmp_path / ".cache" / "keras_fsr" / NAMES[0]).is_file()


def test_a_damaged_cache_is_filled_anew(tmp_path, network):
    load_prior()
    (tmp_path / "cache" / "keras_fsr" / NAMES[0]).write_bytes(packed()[:-1])
    assert is_the_prior(load_prior())
    assert len(network) == 2


def test_another_file_at_the_address_is_refused(tmp_path, network, monkeypatch):
    monkeypatch.setattr(niqe_prior, "DIGEST", "0" * 64)
    with pytest.raises(ModelError, match=f"{ADDRESS}: is no longer .*{NAMES[0]} into a folder .*{WEIGHTS_VARIABLE}"):
        load_prior()
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError(OSError(-3, "Temporary failure in name resolution")),
        urllib.error.HTTPError(ADDRESS, 404, "Not Found", None, None),
        TimeoutError("timed out"),
        http.client.IncompleteRead(b"half"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_offline_says_what_to_put_where(tmp_path, monkeypatch, failure):
    def urlopen(address, timeout):
        raise failure

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(ModelError) as error:
        load_prior()
    message = str(error.value)
    assert all(part in message for part in (ADDRESS, NAMES[0], WEIGHTS_VARIABLE, str(failure)))
    assert "\n" not in message
    assert not list(tmp_path.rglob("*.npz"))


def test_a_cache_that_cannot_be_written_is_told(tmp_path, network):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="keras_fsr: cannot be made a folder"):
        load_prior()


def test_the_digest_is_a_sha256_of_the_file_at_a_released_version():
    assert len(bytes.fromhex(niqe_prior.DIGEST)) == 32
    assert "/v1.4.2/" in ADDRESS
    assert ADDRESS.endswith(NAMES[0])
