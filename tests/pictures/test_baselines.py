"""Each baseline is the picture its name says, and the path starts there."""

import numpy as np
import pytest
from intgrads.pictures.baselines import IMAGE_BASELINES, ImageBaseline, image_baseline
from shared.toys import json_call, pixels, small_service, told


def test_black_white_and_mean_are_one_colour() -> None:
    picture = pixels()
    for name, colour in (("black", [0, 0, 0]), ("white", [255, 255, 255]), ("mean", picture.mean((0, 1)))):
        baseline = image_baseline(name, picture)  # type: ignore[arg-type]
        assert baseline is not None
        np.testing.assert_allclose(baseline, np.broadcast_to(colour, picture.shape), rtol=1e-6)


def test_blur_keeps_a_flat_picture_and_flattens_a_busy_one() -> None:
    flat = np.full((12, 9, 3), 77, np.uint8)
    blurred = image_baseline("blur", flat)
    assert blurred is not None
    np.testing.assert_allclose(blurred, 77, rtol=1e-5)
    busy = image_baseline("blur", pixels(40, 40))
    assert busy is not None
    assert busy.std() < 0.2 * pixels(40, 40).std()


def test_noise_follows_its_seed_and_stays_in_range() -> None:
    first, again, other = (image_baseline("noise", pixels(), seed) for seed in (5, 5, 6))
    assert first is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 255


@pytest.mark.parametrize("name", IMAGE_BASELINES)
def test_the_path_starts_at_the_baseline(name: ImageBaseline) -> None:
    """The first node of the trapezoid is x' itself, in the network's units; `zero` is zero there, black is not."""
    service = small_service()
    request = json_call(
        img_data=pixels().tolist(), baseline=name, seed=3, n_steps=2, method="riemann_trapezoid",
        fields=["intermediates"], format="json",
    )  # fmt: skip
    start = np.array(told(service.answer([request])[0])["intermediates"][0], np.float32)
    if name == "zero":
        assert not start.any()
    else:
        expected = image_baseline(name, pixels(), 3)
        assert expected is not None
        np.testing.assert_array_equal(start, service.network.picture.normalise(expected).numpy())


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(ValueError, match="white"):
        image_baseline("grey", pixels())  # type: ignore[arg-type]
