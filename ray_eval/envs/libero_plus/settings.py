"""What a user may choose of LIBERO-Plus beyond LIBERO's own choices; read from the section `simulator`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ray_eval.envs.libero.settings import LiberoSettings

Prompt = Literal["task", "file_name"]
Arm = Literal["perturbed", "init_state"]
Noise = Literal["by_step", "stream"]


@dataclass(frozen=True, slots=True)
class LiberoPlusSettings(LiberoSettings):
    """LIBERO-Plus' own choices: three mistakes of its evaluation, mended or as they are, and the controls."""

    prompt: Prompt = "task"
    """task: a policy is told the task that is perturbed, in the language axis the reworded sentence. file_name:
    LIBERO-Plus' `task.language`, where the file's name goes on: `... view 11 15 100 0 0 initstate 0`."""
    arm: Arm = "perturbed"
    """perturbed: the arm's joints of the robot axis are written into the init state. init_state: the init state puts
    the arm back to where LIBERO has it, so that hardly anything of the perturbation is left."""
    noise: Noise = "by_step"
    """by_step: image noise is drawn from a seed of the episode and the step. stream: from NumPy's global generator at
    each step, as LIBERO-Plus draws it, beginning with the seeded reset; the first is clean where nothing settles."""
    controls: bool = True
    """Whether a plan gets the unperturbed episodes that its perturbed ones are compared with."""
