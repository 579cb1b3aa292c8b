"""Areas and accuracies are those of the worked example of Olofsson et al. 2014; points are drawn at random within classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import LabelError, UsageError
from geoseg.evaluation.area import estimate_area
from geoseg.evaluation.found import read_array
from geoseg.evaluation.sampling import SampleOptions, allocate, count_values, draw_points, read_at

COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
PIXEL_M2 = 900.0


def test_the_worked_example_comes_out_as_printed() -> None:
    """Tables 8 to 10 of the paper: deforestation, forest gain, stable forest, stable non-forest."""
    estimate = estimate_area(COUNTS, PIXELS * PIXEL_M2)
    assert estimate.overall.value[0] == pytest.approx(0.947, abs=0.0005)
    assert estimate.overall.margin[0] == pytest.approx(0.018, abs=0.0005)
    np.testing.assert_allclose(estimate.users.value, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(estimate.users.margin, [0.07, 0.10, 0.04, 0.02], atol=0.005)
    np.testing.assert_allclose(estimate.producers.value, [0.75, 0.85, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(estimate.producers.margin, [0.21, 0.25, 0.03, 0.02], atol=0.006)
    assert estimate.area_m2.value[0] / PIXEL_M2 == pytest.approx(235_086, abs=1)
    assert estimate.area_m2.value[0] / 1e4 == pytest.approx(21_158, abs=1)
    assert estimate.area_m2.margin[0] / 1e4 == pytest.approx(6_158, abs=1)


def test_the_areas_add_up_to_the_map() -> None:
    estimate = estimate_area(COUNTS, PIXELS * PIXEL_M2)
    assert estimate.area_m2.value.sum() == pytest.approx(PIXELS.sum() * PIXEL_M2)
    assert estimate.proportions.sum() == pytest.approx(1)


def test_the_standard_error_is_the_spread_of_repeated_samples() -> None:
    rng = np.random.default_rng(4)
    true = np.array([[0.9, 0.1], [0.2, 0.8]])
    mapped = np.array([3e5, 7e5])
    drawn = [estimate_area(np.stack([rng.multinomial(80, row) for row in true]), mapped) for _ in range(3000)]
    for name in ("overall", "users", "producers", "area_m2"):
        values = np.array([getattr(e, name).value for e in drawn])
        errors = np.array([getattr(e, name).error for e in drawn])
        np.testing.assert_allclose(np.sqrt((errors**2).mean(axis=0)), values.std(axis=0), rtol=0.06, err_msg=name)


def test_a_class_with_one_point_is_refused() -> None:
    with pytest.raises(LabelError, match=r"1 \(1\)"):
        estimate_area(np.array([[5, 1], [0, 1]]), np.array([10.0, 10.0]))


def test_too_few_points_are_told_by_the_name_of_the_class_and_one_pixel_needs_one() -> None:
    counts, mapped_m2 = np.array([[5, 1], [0, 1]]), np.array([10.0, 10.0])
    with pytest.raises(LabelError, match=r"too few have lake \(1\)"):
        estimate_area(counts, mapped_m2, names=("land", "lake"), pixels=np.array([100, 2]))
    seen = estimate_area(counts, mapped_m2, names=("land", "lake"), pixels=np.array([100, 1]))
    assert (seen.users.value[1], seen.users.error[1]) == (1, 0)


def test_a_class_that_is_only_in_the_reference_has_an_area_and_no_user_s_accuracy() -> None:
    estimate = estimate_area(np.array([[8, 2], [0, 0]]), np.array([100.0, 0.0]))
    assert estimate.area_m2.value[1] == pytest.approx(20)
    assert np.isnan(estimate.users.value[1])
    assert estimate.producers.value[1] == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 100_000), min_size=1, max_size=6).filter(lambda s: sum(s) > 0),
    st.integers(1, 400),
    st.integers(0, 20),
    st.sampled_from(["proportional", "equal", "optimal"]),
)
def test_every_point_is_given_to_a_class_that_has_room(sizes: list[int], points: int, minimum: int, allocation: str) -> None:
    counts = np.array(sizes)
    least = np.minimum(np.where(counts > 0, minimum, 0), counts)
    options = SampleOptions(points=points, allocation=allocation, minimum=minimum)  # type: ignore[arg-type]
    if least.sum() > points:
        with pytest.raises(UsageError, match=str(least.sum())):
            allocate(counts, options)
        return
    shares = allocate(counts, options)
    assert shares.sum() == min(points, counts.sum())
    assert (shares <= counts).all()
    assert (shares >= least).all()


def test_allocations_follow_their_rule() -> None:
    sizes = np.array([8000, 2000])
    by = {a: allocate(sizes, SampleOptions(points=100, allocation=a, minimum=0)).tolist() for a in ("proportional", "equal")}
    assert by == {"proportional": [80, 20], "equal": [50, 50]}
    # Neyman: 0.8 x 0.3 to 0.2 x 0.5
    optimal = allocate(sizes, SampleOptions(points=100, allocation="optimal", minimum=0), np.array([0.9, 0.5]))
    assert optimal.tolist() == [71, 29]
    assert allocate(sizes, SampleOptions(points=100, minimum=40)).tolist() == [60, 40]


def test_points_are_distinct_lie_in_their_class_and_follow_the_seed() -> None:
    classes = np.random.default_rng(0).choice([1, 4, 255], (1500, 1100), p=[0.7, 0.2, 0.1]).astype(np.uint8)
    read, sizes = read_array(classes), {v: int((classes == v).sum()) for v in (1, 4)}
    rows, cols, values = draw_points(read, classes.shape, sizes, {1: 60, 4: 40}, seed=7)
    np.testing.assert_array_equal(classes[rows, cols], values)
    assert np.bincount(values)[[1, 4]].tolist() == [60, 40]
    assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 100
    again = draw_points(read, classes.shape, sizes, {1: 60, 4: 40}, seed=7)
    np.testing.assert_array_equal(rows, again[0])
    assert not np.array_equal(rows, draw_points(read, classes.shape, sizes, {1: 60, 4: 40}, seed=8)[0])
    # both halves of the raster are reached, also beyond the first block
    assert (rows >= 1024).any()
    assert (cols >= 1024).any()


def test_every_pixel_of_a_class_has_the_same_chance() -> None:
    classes = np.ones((4, 5), np.uint8)
    hits = np.zeros((4, 5))
    for seed in range(2000):
        rows, cols, _ = draw_points(read_array(classes), classes.shape, {1: 20}, {1: 5}, seed)
        hits[rows, cols] += 1
    # 500 expected each, standard deviation 19
    np.testing.assert_allclose(hits, 500, atol=100)


def test_reading_at_points_equals_indexing_and_beyond_the_edge_is_said() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 9, (1030, 1500)).astype(np.uint8)
    rows, cols = rng.integers(0, 1030, 50), rng.integers(0, 1500, 50)
    np.testing.assert_array_equal(read_at(read_array(pixels), rows, cols, pixels.shape, 255), pixels[rows, cols])
    assert read_at(read_array(pixels), np.array([-1, 1030]), np.array([0, 0]), pixels.shape, 255).tolist() == [255, 255]


def test_values_are_counted_by_blocks() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1100, 1300)).astype(np.uint8)
    np.testing.assert_array_equal(count_values(read_array(pixels), pixels.shape), np.bincount(pixels.ravel(), minlength=256))
