"""Films and stills: a file that browsers play, frames that say what they show, episodes chosen by words."""

import io
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from ray_eval.errors import ConfigError, SetupError
from ray_eval.report.looking import chosen
from ray_eval.rollout.replaying import Looks, Retraced, Sight
from ray_eval.watch.film import FilmMaker
from ray_eval.watch.frames import Caption, contact_sheet, frame, wrapped
from ray_eval.watch.video import VideoBytes, VideoWriter, frames_of, side_by_side

BAND = 4 * 20 + 2 * 6
"""Height of the caption: two lines of instruction, the figures, the title."""
RETRACED = Retraced("", is_success=True, task="t", instruction="i")
CAPTION = Caption("run   fake/0/1", "reach goal 0 " * 20, "success", 4, 9, queue_lengths=(3, 2, 1, 0), gripper=6)


def picture(value, height=64, width=256):
    return np.full((height, width, 3), value, np.uint8)


def film_of(steps, every=1):
    maker = FilmMaker(replace(CAPTION, steps=steps), 20.0, every)
    for step in range(steps + 1):
        shown = {"a": picture(40 * step), "b": picture(0)} if maker.looks.takes_picture(step, steps) else {}
        maker.see(Sight(step, np.zeros(7) if step else None, pictures=shown))
    return maker.made(RETRACED)


def test_a_film_is_h264_for_browsers_with_a_frame_per_step():
    video = film_of(4).video
    assert video.index(b"moov") < video.index(b"mdat")
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 20)
    frames = list(frames_of(video))
    assert len(frames) == 5
    assert frames[0].shape == (BAND + 64, 512, 3)
    assert [round(float(each[BAND + 8 : BAND + 48, :200].mean()) / 40) for each in frames] == [0, 1, 2, 3, 4]
    assert film_of(4).video == video


def test_a_film_of_every_second_step_lasts_as_long():
    video = film_of(4, every=2).video
    with av.open(io.BytesIO(video)) as container:
        assert container.streams.video[0].average_rate == 10
    assert len(list(frames_of(video))) == 3


def test_stills_are_the_first_middle_and_last_step_however_few_there_are():
    for steps, levels in ((4, [0, 2, 4]), (1, [0, 0, 1]), (0, [0, 0, 0])):
        filmed = film_of(steps, every=0)
        stills = [np.asarray(Image.open(io.BytesIO(each))) for each in filmed.stills]
        assert filmed.video is None
        if steps == 4:
            assert [round(float(each[BAND + 8 : BAND + 48, :200].mean()) / 40) for each in stills] == levels
        assert len(stills) == 3


def test_the_caption_differs_by_step_and_is_cut_to_the_frame():
    one, other = (frame({"a": picture(0)}, CAPTION, step, np.zeros(7)) for step in (1, 2))
    assert one.shape == (BAND + 128, 512, 3)
    assert not np.array_equal(one, other)
    assert CAPTION.lines(2, np.ones(7)) == (CAPTION.instruction, "step 2/9   queue 2   gripper +1.00", "run   fake/0/1")
    assert CAPTION.lines(0, None)[1] == "step 0/9"


def test_a_long_instruction_is_read_to_its_end_and_what_no_two_lines_hold_is_cut():
    said = "put the white mug on the left plate and put the yellow and white mug on the right plate"
    assert " ".join(wrapped(said, 500)) == said
    assert len(wrapped(said, 500)) == 2
    assert wrapped("open the drawer", 500) == ["open the drawer"]
    assert [line[-3:] for line in wrapped("x" * 400, 500)] == ["..."]
    assert wrapped(f"{said} {said}", 500)[1].endswith("...")


def test_two_films_side_by_side_last_as_long_as_the_longer():
    beside = side_by_side([film_of(4).video, film_of(2).video], 20.0)
    frames = list(frames_of(beside))
    assert (len(frames), frames[0].shape) == (5, (BAND + 64, 1024, 3))
    assert abs(float(frames[4][BAND + 8 : BAND + 48, 512:700].mean()) - 80) < 4


def test_odd_sizes_are_padded_and_another_size_is_refused(tmp_path):
    video = VideoBytes(20.0)
    video.append(np.zeros((33, 51, 3), np.uint8))
    with pytest.raises(ValueError, match="expected"):
        video.append(np.zeros((34, 51, 3), np.uint8))
    assert next(frames_of(video.taken())).shape == (34, 52, 3)
    with pytest.raises(SetupError, match=r"x.gif: expected the name of an .mp4 file.*write x.mp4"):
        VideoWriter(tmp_path / "x.gif", 20)


def test_a_contact_sheet_has_a_row_per_episode():
    stills = film_of(4, every=0).stills
    sheet = Image.open(io.BytesIO(contact_sheet([stills, stills])))
    assert sheet.size == (3 * (512 + 6), 2 * (BAND + 64 + 6))


def test_looks_together_are_what_either_needs():
    assert Looks() | Looks(picture_every=0) == Looks(picture_every=0)
    assert Looks(picture_every=4) | Looks(picture_every=0, has_scene=True) == Looks(picture_every=4, has_scene=True)
    assert [step for step in range(9) if Looks(picture_every=3).takes_picture(step, 8)] == [0, 3, 4, 6, 8]


def records(**outcomes):
    return {
        f"s/{name[1]}/{name[2]}": {"suite": "s", "task_id": int(name[1]), "outcome": outcome}
        for name, outcome in outcomes.items()
    }


RUN = records(t00="success", t01="failure", t02="failure", t10="failure", t11="error", t12="success")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["failures"], ["s/0/1", "s/0/2", "s/1/0"]),
        (["successes"], ["s/0/0", "s/1/2"]),
        (["all"], ["s/0/0", "s/0/1", "s/0/2", "s/1/0", "s/1/2"]),
        (["first:1"], ["s/0/0", "s/1/0"]),
        (["failures", "first:1"], ["s/0/1", "s/1/0"]),
        (["s/1/2", "s/0/0"], ["s/1/2", "s/0/0"]),
        (["flipped"], ["s/0/1", "s/1/2"]),
    ],
)
def test_episodes_are_chosen_by_outcome_place_and_id(words, ids):
    other = records(t00="success", t01="success", t02="error", t10="failure", t12="failure")
    assert chosen(RUN, words, other) == ids


def test_what_chooses_nothing_that_is_there_is_refused():
    with pytest.raises(ConfigError, match=r"--which failure: expected failures.*Did you mean 'failures'"):
        chosen(RUN, ["failure"])
    with pytest.raises(ConfigError, match="flipped: expected two runs, got one"):
        chosen(RUN, ["flipped"])
