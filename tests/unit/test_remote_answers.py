"""Where the actions are in what servers answer, and which shapes are taken."""

import numpy as np
import pytest

from ray_eval.errors import EpisodeError
from ray_eval.policies.remote.answers import actions_in, actions_of, joined
from ray_eval.policies.remote.pool import BadAnswerError

CHUNK = np.arange(70, dtype=np.float32).reshape(10, 7)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ({"actions": 1}, None),
        ({"action": 1}, None),
        ({"data": {"actions": 1}, "status": "ok"}, None),
        ({b"data": {b"action": 1}}, None),
        ({"result": {"data": {"actions": 1}}}, None),
        ({"actions": 1, "action": 2}, None),
        ({"actions": 1, "info": {"actions": 2}}, None),
        ({"chunk": 1, "actions": 2}, "chunk"),
        ({"a": {"x": 1}, "b": {"x": 2}}, "a.x"),
        ({"a.x": 1}, "a.x"),
    ],
)
def test_the_answer_is_found_by_its_key_within_envelopes(answer, name):
    assert actions_in(answer, name, "here") == 1


@pytest.mark.parametrize(
    ("answer", "name", "said"),
    [
        ({"a": {"actions": 1}, "b": {"actions": 2}}, None, r"expected 'actions' once, got it 2 times; .*data\.actions"),
        (
            {"chunk": 1, "data": {"state": 2}},
            None,
            r"got \['chunk', 'data\.state'\]; write policy\.rename\.action=NAME",
        ),
        ({"actions": 1}, "chunk", r"expected 'chunk', got \['actions'\]"),
        ([1, 2], None, "expected a mapping with actions, got list"),
        ({"a": {"b": {"c": {"d": {"actions": 1}}}}}, None, "write policy.rename.action"),
    ],
)
def test_what_is_no_answer_or_could_be_several_is_named(answer, name, said):
    with pytest.raises(BadAnswerError, match=f"policy server at here: .*{said}"):
        actions_in(answer, name, "here")


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "no such task"},
        {"status": "error", "error": {"message": "no such task"}},
        {"error": "Traceback\n  ...\nno such task\n\n"},
        {b"error": b"no such task"},
    ],
)
def test_what_a_server_says_instead_of_actions_is_said(answer):
    with pytest.raises(EpisodeError, match=r"expected actions, got the error no such task$"):
        actions_in(answer, None, "here")


@pytest.mark.parametrize("sent", [CHUNK, CHUNK[None], CHUNK[None, None], CHUNK.tolist(), CHUNK.astype(np.float16)])
def test_a_batch_axis_of_one_is_no_axis(sent):
    assert np.array_equal(actions_of(sent, (10, 7), "here"), CHUNK)
    assert actions_of(sent, None, "here").flags.c_contiguous


def test_one_row_may_come_without_its_axis():
    assert actions_of(CHUNK[0], (1, 7), "here").shape == (1, 7)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (np.zeros((2, 10, 7)), r"got \(2, 10, 7\)"),
        (np.zeros((10, 1, 7)), r"got \(10, 1, 7\)"),
        (np.zeros((100_000, 7)), r"expected 1 to 1000 actions of 1 to 1000 numbers, got \(100000, 7\)"),
        (np.zeros((0, 7)), r"got \(0, 7\)"),
        (np.full((10, 7), np.inf), "expected finite actions"),
        (np.full((10, 7), 1e300), "expected finite actions"),
        ([[1], [1, 2]], "expected actions, got list"),
        ("seven", "expected actions, got str"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_could_be_several_chunks_or_is_no_chunk_is_refused(sent, said):
    with pytest.raises(BadAnswerError, match=said):
        actions_of(sent, None, "here")


def test_parts_of_an_action_are_put_side_by_side_and_must_have_the_same_rows():
    parts = [np.ones((1, 4, 1)), np.full((4,), 2.0), np.full((1, 4, 2), 3.0)]
    assert np.array_equal(joined(parts, "abc", "here"), np.tile([1, 2, 3, 3], (4, 1)))
    with pytest.raises(BadAnswerError, match=r"got the shapes \{'a': \(4,\), 'b': \(5,\)\}"):
        joined([np.ones(4), np.ones(5)], "ab", "here")
