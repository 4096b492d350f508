"""What messages look like, whatever was put into them: one line, of at most 500 characters, arrays by their shape."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.errors import ConfigError, ContractError, EpisodeError, RayEvalError, SetupError, did_you_mean
from ray_eval.foreign import first_line, text_of, told
from ray_eval.messages import MOST_CHARACTERS, one_line, without_arrays
from ray_eval.rollout.episode import error_result
from ray_eval.sections import shown
from ray_eval.types import EpisodeSpec

SPEC = EpisodeSpec("fake", 0, 0, 0, 10)


@given(st.text(max_size=3000))
def test_every_exception_of_ours_says_one_line_of_at_most_500_characters(text):
    for kind in (ConfigError, SetupError, EpisodeError, ContractError, RayEvalError):
        said = str(kind(text))
        assert len(said) <= MOST_CHARACTERS
        assert len(said.splitlines()) <= 1


def test_of_a_long_message_place_and_remedy_are_kept():
    said = str(ConfigError(f"policy.path={'x' * 2000}: expected a folder, got none; write policy.path=FOLDER"))
    assert said.startswith("policy.path=xxx")
    assert said.endswith("expected a folder, got none; write policy.path=FOLDER")


def test_an_exception_is_the_same_behind_a_pickle():
    error = SetupError("policy: expected one,\n  got none")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "policy: expected one, got none"


ARRAYS = {
    "numpy": (np.zeros((50, 7)), "(50, 7)"),
    "numpy, one axis": (np.linspace(0, 1, 60), "(60,)"),
    "numpy, three axes": (np.full((4, 5, 6), 6.9e-310), "(4, 5, 6)"),
    "images": (np.zeros((2, 32, 32, 3), np.uint8), None),
}


@pytest.mark.parametrize(("array", "shape"), ARRAYS.values(), ids=list(ARRAYS))
@pytest.mark.parametrize("printed", [str, repr])
def test_an_array_that_was_printed_into_an_exception_is_named_by_its_shape(array, shape, printed):
    said = text_of(TypeError(f"mj_fullM(): incompatible arguments; invoked with: <model>, {printed(array)}, 3; see it"))
    named = f"array of shape {shape}" if shape else "array of "
    assert said.startswith(f"mj_fullM(): incompatible arguments; invoked with: <model>, {named}")
    assert said.endswith(", 3; see it")
    assert "0." not in said


def test_an_array_as_an_exceptions_own_argument_is_named_by_its_shape_wherever_it_is_told():
    error = ValueError("expected fewer", np.arange(400.0).reshape(20, 20))
    for said in (told(error), first_line(error), error_result(SPEC, error).error, str(EpisodeError(f"got {error}"))):
        assert "array of shape (20, 20)" in said
        assert len(said) < 200


@pytest.mark.parametrize("text", ["see [1, 2, 3]", "tasks=[0,3]: got [", "[a, b]" * 40, "[[", "]", "", "[" * 5000])
def test_what_is_no_long_array_stays_as_it_is(text):
    assert without_arrays(text) == text


def test_a_value_of_the_wrong_type_is_shown_by_its_shape_where_it_is_an_array():
    assert shown(np.zeros((300, 300), np.float32)) == "ndarray float32 of shape (300, 300)"
    assert shown({"seed": np.zeros((30, 30))}) == "{'seed': array of shape (30, 30)}"
    assert shown(np.zeros) == repr(np.zeros)


def test_a_value_that_cannot_be_shown_is_named_by_its_type():
    class Unspeakable:
        def __repr__(self):
            raise KeyError("text")

    assert shown(Unspeakable()) == "a Unspeakable that cannot be shown"


@pytest.mark.parametrize(
    ("word", "meant"), [("openVLA", "openvla"), ("LIBERO_OBJECT", "libero_object"), ("Pi0", "pi0")]
)
def test_hints_do_not_mind_capitals(word, meant):
    assert (
        did_you_mean(word, ["openpi", "openvla", "libero_object", "libero_goal", "pi0"]) == f" Did you mean {meant!r}?"
    )


def test_a_line_that_is_short_enough_is_not_touched():
    assert one_line("policy: expected a, got b; write c") == "policy: expected a, got b; write c"


def test_a_long_line_is_cut_between_words():
    told = one_line("first " + "word " * 200 + "last")
    assert len(told) <= MOST_CHARACTERS
    assert set(told.split()) == {"first", "word", "[...]", "last"}
    assert len(one_line("x" * 2000)) == MOST_CHARACTERS
