"""Your own merging of overlapping chunks: `execution.aggregate=examples.aggregation:newer_when_closing`."""

import numpy as np


def newer_when_closing(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The mean of both actions, each (A,) float32; the new one alone where they disagree about the gripper.

    A mean of "open" and "close" is neither, so plans of two phases are not mixed.
    """
    return new if np.sign(old[-1]) != np.sign(new[-1]) else (old + new) / 2
