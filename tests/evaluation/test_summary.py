"""summary.json: its schema, intervals and differences, groups of images, and what has no figure."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import keras_fsr
from keras_fsr.errors import OutputError
from keras_fsr.evaluation import statistics
from keras_fsr.evaluation.measures import BASIC, Measure
from keras_fsr.evaluation.protocol import Row, summarize
from keras_fsr.evaluation.statistics import bootstrap
from keras_fsr.evaluation.summary import Setting, digest_of, make_summary, versions, write_summary

MEASURES = {measure.key: measure for measure in BASIC}
PSNR, GRID, COLOUR = (MEASURES[key] for key in ("psnr_y", "grid", "colour"))
BLIND = Measure("niqe", "NIQE", ".3f", lambda s: (math.nan,), blind=True)
FILES = [Path(f"in/{name}.png") for name in "abcdefgh"]
SETTING = Setting(
    "test/256", 4, "reduced", "", "0" * 64, {"face_x4": "1" * 64}, {"pieapp": "no weights", "identity": "no dlib"}
)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """A tenth of the draws: the intervals are compared with those of the same draws."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    statistics.draws.cache_clear()
    yield
    statistics.draws.cache_clear()


def rows_of(model: str, seed: int, shift: float = 0.0, files=FILES) -> list[Row]:
    """What a model reached: PSNR about 30, and vectors of grid and colour."""
    rng = np.random.default_rng(seed)
    rows = []
    for file in files:
        vectors = {
            "psnr_y": rng.normal(30 + shift, 2, 1),
            "grid": rng.uniform(0.8, 1.6, 4),
            "colour": rng.normal(0, 1, 3),
            "niqe": rng.normal(5, 1, 1),
        }
        rows.append(Row(file, model, vectors))
    return rows


def summary_of(rows, measures=(PSNR, GRID, COLOUR, BLIND), setting=SETTING, originals=None, groups=None) -> dict:
    return make_summary(rows, measures, setting, originals or {}, groups or {})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [*rows_of("face_x4", 0), *rows_of("bicubic", 1, -2.0)]


def vectors_of(rows: list[Row], model: str, measure: Measure) -> np.ndarray:
    return np.stack([row.vector(measure) for row in rows if row.model == model])


def test_schema(rows):
    summary = summary_of(rows, originals={"grid": 1.02, "niqe": math.nan})
    assert list(summary) == [
        "data",
        "scale",
        "border",
        "images",
        "first",
        "models",
        "originals",
        "subgroups",
        "left_out",
        "sha256",
        "versions",
    ]
    assert summary["data"] == {"folder": "test/256", "sha256": "0" * 64, "lr": "reduced", "lr_folder": ""}
    assert (summary["scale"], summary["border"], summary["images"], summary["first"]) == (4, 4, 8, "face_x4")
    assert summary["originals"] == {"grid": 1.02, "niqe": None}
    assert summary["left_out"] == ["pieapp", "identity"]
    assert summary["sha256"] == {"face_x4": "1" * 64}
    assert summary["subgroups"] == {}
    assert {name: list(figures) for name, figures in summary["models"].items()} == {
        "face_x4": ["psnr_y", "grid", "colour", "niqe"],
        "bicubic": ["psnr_y", "grid", "colour", "niqe"],
    }
    assert list(summary["models"]["face_x4"]["psnr_y"]) == ["mean", "low", "high", "images"]
    assert list(summary["models"]["bicubic"]["psnr_y"]) == ["mean", "low", "high", "images", "difference"]
    assert list(summary["models"]["bicubic"]["psnr_y"]["difference"]) == ["mean", "low", "high"]


def test_figures_and_intervals_are_those_of_the_set(rows):
    summary = summary_of(rows)
    for model, expected in summarize(rows, (PSNR, GRID, COLOUR, BLIND)).items():
        for measure in (PSNR, GRID, COLOUR, BLIND):
            figure = summary["models"][model][measure.key]
            interval = bootstrap(measure.whole, vectors_of(rows, model, measure))
            assert figure["mean"] == pytest.approx(expected[measure.key], abs=1e-6)
            assert (figure["low"], figure["high"]) == pytest.approx((interval.low, interval.high), abs=1e-6)
            assert figure["low"] < figure["mean"] < figure["high"] or measure is COLOUR
            assert figure["images"] == 8


def test_grid_and_colour_are_the_sets_own(rows):
    summary = summary_of(rows)
    peaks, drifts = (vectors_of(rows, "face_x4", measure) for measure in (GRID, COLOUR))
    figures = summary["models"]["face_x4"]
    assert figures["grid"]["mean"] == pytest.approx(peaks.mean(axis=0).max(), abs=1e-6)
    assert figures["grid"]["mean"] < peaks.max(axis=1).mean() - 0.1
    assert figures["colour"]["mean"] == pytest.approx(np.abs(drifts.mean(axis=0)).max(), abs=1e-6)
    assert figures["colour"]["mean"] < np.abs(drifts).max(axis=1).mean() - 0.1


def test_differences_are_to_the_first_model_and_paired(rows):
    summary = summary_of(rows)
    own, first = (vectors_of(rows, model, PSNR) for model in ("bicubic", "face_x4"))
    expected = bootstrap(lambda difference: float(difference.mean()), own - first)
    difference = summary["models"]["bicubic"]["psnr_y"]["difference"]
    assert list(difference.values()) == pytest.approx(expected, abs=1e-6)
    grids = [vectors_of(rows, model, GRID).mean(axis=0).max() for model in ("bicubic", "face_x4")]
    assert summary["models"]["bicubic"]["grid"]["difference"]["mean"] == pytest.approx(grids[0] - grids[1], abs=1e-6)


def test_a_model_that_equals_the_first_differs_by_exactly_nothing(rows):
    twins = [*rows, *(Row(row.file, "twin", row.vectors) for row in rows if row.model == "face_x4")]
    figures = summary_of(twins)["models"]["twin"]
    for key in ("psnr_y", "grid", "colour", "niqe"):
        assert figures[key]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_images_are_matched_by_their_file_not_by_their_order(rows):
    shuffled = [*rows[:8], *reversed(rows[8:])]
    assert summary_of(shuffled)["models"]["bicubic"]["psnr_y"]["difference"] == pytest.approx(
        summary_of(rows)["models"]["bicubic"]["psnr_y"]["difference"], abs=0.15
    )
    assert summary_of(shuffled)["models"]["bicubic"]["psnr_y"]["difference"]["mean"] == pytest.approx(
        float(np.mean(vectors_of(rows, "bicubic", PSNR) - vectors_of(rows, "face_x4", PSNR))), abs=1e-6
    )
    gain = [Row(row.file, "more", {"psnr_y": row.vectors["psnr_y"] + 1}) for row in reversed(rows[:8])]
    assert summary_of([*rows[:8], *gain])["models"]["more"]["psnr_y"]["difference"] == {
        "mean": 1.0,
        "low": 1.0,
        "high": 1.0,
    }


def without(rows: list[Row], model: str, key: str, files: list[Path]) -> list[Row]:
    """The rows with NaN for these files; a vector with one NaN counts as none."""
    changed = []
    for row in rows:
        if row.model == model and row.file in files:
            vector = row.vectors[key].copy()
            vector[-1] = math.nan
            row = Row(row.file, row.model, {**row.vectors, key: vector})
        changed.append(row)
    return changed


@pytest.mark.parametrize("measure", [PSNR, GRID, BLIND], ids=lambda measure: measure.key)
def test_images_that_could_not_be_measured_do_not_count(rows, measure):
    key = measure.key
    summary = summary_of(without(rows, "bicubic", key, FILES[:3]))
    figure = summary["models"]["bicubic"][key]
    kept = vectors_of(rows, "bicubic", measure)[3:]
    assert figure["images"] == 5
    assert figure["mean"] == pytest.approx(measure.whole(kept), abs=1e-6)
    assert (figure["low"], figure["high"]) == pytest.approx(bootstrap(measure.whole, kept)[1:], abs=1e-6)
    assert summary["models"]["face_x4"][key]["images"] == 8
    assert summary["images"] == 8
    # The difference is of the five images that both have.
    first = vectors_of(rows, "face_x4", measure)[3:]
    assert figure["difference"]["mean"] == pytest.approx(measure.whole(kept) - measure.whole(first), abs=1e-6)


def test_no_shared_images_no_difference(rows):
    rows = without(without(rows, "bicubic", "niqe", FILES[:4]), "face_x4", "niqe", FILES[4:])
    figures = summary_of(rows)["models"]
    assert (figures["face_x4"]["niqe"]["images"], figures["bicubic"]["niqe"]["images"]) == (4, 4)
    assert "difference" not in figures["bicubic"]["niqe"]


def test_a_measure_that_no_image_has_is_left_out(rows):
    figures = summary_of(without(rows, "bicubic", "niqe", FILES))["models"]
    assert "niqe" not in figures["bicubic"]
    assert "niqe" in figures["face_x4"]


def test_a_measure_of_anothers_vectors_counts_the_same_images(rows):
    square = Measure("square", "sq", ".1f", None, whole=lambda v: float((v[:, 0] ** 2).mean()), source="niqe")
    figure = summary_of(without(rows, "face_x4", "niqe", FILES[:2]), [BLIND, square])["models"]["face_x4"]["square"]
    kept = vectors_of(rows, "face_x4", BLIND)[2:, 0]
    assert figure["images"] == 6
    assert figure["mean"] == pytest.approx(np.mean(kept**2), abs=1e-5)


def test_one_image_has_figures_without_intervals():
    summary = summary_of([*rows_of("face_x4", 0, files=FILES[:1]), *rows_of("bicubic", 1, files=FILES[:1])])
    figure = summary["models"]["bicubic"]["psnr_y"]
    assert (figure["low"], figure["high"], figure["images"]) == (None, None, 1)
    assert figure["difference"]["mean"] is not None
    assert (figure["difference"]["low"], figure["difference"]["high"]) == (None, None)


def test_perfect_images_give_valid_json(rows, tmp_path):
    perfect = [Row(file, "perfect", {"psnr_y": np.array([math.inf])}) for file in FILES]
    for order in ([*rows, *perfect], [*perfect, *rows]):
        path = tmp_path / "summary.json"
        write_summary(summary_of(order, originals={"grid": math.inf}), path)

        def refuse(constant: str):
            raise AssertionError(f"{constant} is no JSON")

        summary = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        assert "psnr_y" not in summary["models"]["perfect"]
        assert summary["models"]["bicubic"]["psnr_y"]["mean"] == pytest.approx(28, abs=2)
        assert summary["originals"] == {"grid": None}
    difference = summary["models"]["bicubic"]["psnr_y"]["difference"]
    assert difference == {"mean": None, "low": None, "high": None}


def test_groups_are_measured_apart(rows):
    groups = {
        "source": {file: "generated" if i < 5 else "real" for i, file in enumerate(FILES)},
        "light": dict.fromkeys(FILES, "day"),
        "name": {file: "hgfedcba"[i] for i, file in enumerate(FILES)},
    }
    summary = summary_of(rows, groups=groups)
    assert {column: list(parts) for column, parts in summary["subgroups"].items()} == {
        "source": ["generated", "real"],
        "light": ["day"],
        "name": list("abcdefgh"),
    }
    part = summary["subgroups"]["source"]["real"]
    assert list(part) == ["images", "first", "models"]
    assert (part["images"], part["first"]) == (3, "face_x4")
    for model in ("face_x4", "bicubic"):
        assert part["models"][model]["grid"]["mean"] == pytest.approx(
            vectors_of(rows, model, GRID)[5:].mean(axis=0).max(), abs=1e-6
        )
    assert summary["subgroups"]["light"]["day"]["models"] == summary["models"]
    assert summary["subgroups"]["source"]["generated"]["images"] == 5


def test_figures_are_rounded_to_six_digits():
    rows = [Row(file, "m", {"psnr_y": np.array([30 + 1 / 3])}) for file in FILES]
    assert summary_of(rows)["models"]["m"]["psnr_y"]["mean"] == 30.333333


def test_digest_is_of_names_and_contents_in_their_order(tmp_path):
    for folder, name, content in (("one", "a", b"1"), ("two", "a", b"1"), ("three", "b", b"1"), ("four", "a", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    same, alike, renamed, changed = (digest_of([tmp_path / path]) for path in ("one/a", "two/a", "three/b", "four/a"))
    assert same == alike
    assert len({same, renamed, changed}) == 3
    # Golden: `{ printf 'a\0'; printf 1 | sha256sum | xxd -r -p; } | sha256sum`
    assert same == "b19e33612f1b07d551d1c1aef76b08a273b62060ffcd37c62187654cdc2147c6"
    assert digest_of([tmp_path / "one/a", tmp_path / "three/b"]) != digest_of(
        [tmp_path / "three/b", tmp_path / "one/a"]
    )


def test_versions_are_of_what_is_installed(monkeypatch):
    monkeypatch.setattr("keras_fsr.evaluation.summary.PACKAGES", ("numpy", "no-such-package-of-ours"))
    found = versions()
    assert list(found) == ["python", "keras_fsr", "numpy"]
    assert (found["keras_fsr"], found["numpy"]) == (keras_fsr.__version__, np.__version__)


def test_a_summary_is_written_whole_or_not_at_all(rows, tmp_path):
    write_summary(summary_of(rows), tmp_path / "summary.json")
    before = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert json.loads(before) == summary_of(rows)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_summary({"a": math.nan}, tmp_path / "summary.json")
    assert (tmp_path / "summary.json").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    with pytest.raises(OutputError, match=r"missing/summary\.json: cannot be written"):
        write_summary({}, tmp_path / "missing" / "summary.json")
