"""What is told of an exception that a user's own code raised, whatever its text is like."""

from types import SimpleNamespace

import pytest

from ray_eval.driver.trials import SETTINGS, TrialLines
from ray_eval.foreign import told, told_with_traceback


class Unspeakable(Exception):
    """Raises again when it is to be said."""

    def __str__(self):
        raise KeyError("text")


@pytest.mark.parametrize("tell", [told, told_with_traceback])
def test_an_exception_that_cannot_be_said_is_told_by_its_type(tell):
    assert tell(Unspeakable()).startswith("Unspeakable")


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("first\nlast\n"), "last"), (ValueError(""), "ValueError")],
    ids=["text", "empty"],
)
def test_a_trial_that_broke_is_a_line_even_where_its_error_says_nothing(error, said):
    lines = []
    trial = SimpleNamespace(config={SETTINGS: {"execution.aggregate": "average"}}, get_error=lambda: error)
    TrialLines(lines.append, 4, 1).on_trial_error(0, [], trial)
    assert lines == [f"[1/4] aggregate=average: error: {said}"]
