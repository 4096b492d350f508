"""How each kind of goal is done, and when it is met."""

from __future__ import annotations

from ray_eval.policies.oracle.arm import Hand
from ray_eval.policies.oracle.fixtures import is_moved, is_on, slide, turn_on
from ray_eval.policies.oracle.placing import is_there, place, push
from ray_eval.policies.oracle.plan import Goal, Place, Push, TurnOn
from ray_eval.policies.oracle.scene import Scene
from ray_eval.policies.oracle.stages import Stage


def stages_of(goal: Goal, scene: Scene, hand: Hand, attempt: int) -> list[Stage]:
    """The stages of a goal's next attempt from the present scene; never empty.

    Raises:
        ContractError: the goal needs something that the scene does not name, or that the oracle does not know.
    """
    if isinstance(goal, Place):
        return place(goal, scene, hand, attempt)
    if isinstance(goal, Push):
        return push(goal, scene, attempt)
    if isinstance(goal, TurnOn):
        return turn_on(goal, scene)
    return slide(goal, scene, hand)


def is_met(goal: Goal, scene: Scene) -> bool:
    """Whether the goal holds, as far as the privileged state tells."""
    if isinstance(goal, Place | Push):
        return is_there(goal, scene)
    return is_on(goal, scene) if isinstance(goal, TurnOn) else is_moved(goal, scene)
