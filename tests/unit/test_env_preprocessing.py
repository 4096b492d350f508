import numpy as np
import pytest
from PIL import Image

from ray_eval.envs.libero.preprocessing import (
    CentreCrop,
    JpegRoundTrip,
    Resize,
    ResizeWithPad,
    Rotate180,
    image_steps,
    preprocess,
)
from ray_eval.sections import ImageRecipe

RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]


def pixels(*rows):
    return np.array(rows, np.uint8)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_robosuites_bottom_up_rows_are_turned_by_180_degrees_for_a_policy():
    bottom_up = pixels([RED, GREEN], [BLUE, WHITE])
    assert np.array_equal(Rotate180()(bottom_up), pixels([WHITE, BLUE], [GREEN, RED]))


def test_each_camera_is_rotated_only_where_the_recipe_says_so():
    recipe = ImageRecipe()
    assert image_steps(recipe, is_rotated=True) == (Rotate180(),)
    assert image_steps(recipe, is_rotated=False) == ()


def test_a_wide_image_is_padded_above_and_below_with_black():
    wide = np.full((2, 4, 3), 200, np.uint8)
    padded = ResizeWithPad(4)(wide)
    assert padded.shape == (4, 4, 3)
    assert padded[:, 0, 0].tolist() == [0, 200, 200, 0]


def test_a_tall_image_is_shrunk_and_padded_left_and_right():
    tall = np.full((8, 4, 3), 200, np.uint8)
    padded = ResizeWithPad(4)(tall)
    assert padded[0, :, 0].tolist() == [0, 200, 200, 0]


def test_odd_padding_puts_the_smaller_part_first():
    assert ResizeWithPad(5)(np.full((2, 5, 3), 9, np.uint8))[:, 0, 0].tolist() == [0, 9, 9, 0, 0]


def test_a_square_image_is_resized_bilinearly_without_padding():
    image = noise(256, 256)
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR))
    assert np.array_equal(ResizeWithPad(224)(image), expected)


def test_an_image_of_the_wanted_size_is_left_alone():
    image = noise(224, 224)
    assert ResizeWithPad(224)(image) is image


def test_lanczos_and_bilinear_are_pils():
    image = noise(32, 32)
    expected = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.LANCZOS))
    assert np.array_equal(Resize(20, "lanczos")(image), expected)
    assert not np.array_equal(Resize(20, "bilinear")(image), expected)


def test_jpeg_changes_noise_and_keeps_a_flat_colour():
    assert not np.array_equal(JpegRoundTrip(95)(noise(16, 16)), noise(16, 16))
    assert np.array_equal(JpegRoundTrip(95)(np.full((16, 16, 3), 128, np.uint8)), np.full((16, 16, 3), 128, np.uint8))


def test_a_centre_crop_of_the_whole_area_changes_nothing():
    image = noise(224, 224)
    assert np.array_equal(CentreCrop(1.0)(image), image)


def test_a_centre_crop_samples_like_crop_and_resize():
    # A quarter of the area: rows and columns 1.0, 1.666, 2.333, 3.0 of a 5-wide ramp, at its corners' centres.
    ramp = np.broadcast_to(np.arange(0, 250, 50, dtype=np.uint8)[None, :, None], (5, 5, 3))
    assert CentreCrop(0.25)(ramp)[0, :, 0].tolist() == [50, 75, 100, 125, 150]


def test_the_openvla_recipe_rotates_compresses_shrinks_and_crops_in_this_order():
    recipe = ImageRecipe(jpeg_quality=95, resize="lanczos", image_size_px=224, centre_crop_area=0.9)
    steps = image_steps(recipe, is_rotated=True)
    assert [type(step) for step in steps] == [Rotate180, JpegRoundTrip, Resize, CentreCrop]
    assert preprocess(noise(256, 256), steps).shape == (224, 224, 3)


@pytest.mark.parametrize("resize", ["pad_bilinear", "bilinear", "lanczos"])
def test_every_resize_delivers_the_size_asked_for(resize):
    steps = image_steps(ImageRecipe(resize=resize, image_size_px=224), is_rotated=True)
    assert preprocess(noise(256, 256), steps).shape == (224, 224, 3)
