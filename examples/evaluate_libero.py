"""An evaluation from Python: `python examples/evaluate_libero.py [key=value ...]`."""

import sys

import ray_eval
from ray_eval.types import Outcome


def main(*words: str) -> ray_eval.Evaluation:
    """Evaluates the scripted expert on two tasks, or what the words say, and prints what came of it."""
    asked = ["suite=libero_object", "policy=oracle", "tasks=[0,3]", "episodes_per_task=2", *words]
    evaluation = ray_eval.evaluate(overrides=asked, progress=True)
    print(evaluation)
    low, high = evaluation.rate.interval
    print(f"{evaluation.rate.successes} of {evaluation.rate.n}: {low:.1%} to {high:.1%}")
    for result in evaluation.results:
        if result.outcome is not Outcome.SUCCESS:
            print(f"{result.spec.episode_id}: {result.outcome} after {result.steps} steps")
    return evaluation


if __name__ == "__main__":
    main(*sys.argv[1:])
