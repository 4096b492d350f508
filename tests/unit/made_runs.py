"""Folders of runs, written as a run writes them, of which every outcome is given."""

from pathlib import Path

from ray_eval.config import load_config, to_yaml
from ray_eval.driver.folder import CONFIG_NAME, make_header
from ray_eval.driver.plan import plan_of
from ray_eval.report.ledger import Attempt, LedgerWriter, episode_record, write_atomically
from ray_eval.types import EpisodeResult, Outcome

OUTCOMES = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE, "e": Outcome.ERROR}
FAKE = ("suite=fake", "policy=random")
ATTEMPT = Attempt(1, "worker-0", "2026-01-01T00:00:00+00:00")
ENVIRONMENT = {"mujoco": "3.2.3", "renderer": None, "policy_sha256": None, "is_reproducible": True}


def made_run(folder: Path, outcomes: str, *overrides: str, canary: str = "", header=None, **environment) -> Path:
    """A run on the fake suite, 15 episodes of 3 tasks; a letter per episode, fewer for a run that is not finished."""
    is_fake = not any(word.startswith("suite=") for word in overrides)
    config = load_config(None, [*FAKE[0 if is_fake else 1 :], *overrides])
    folder.mkdir(parents=True)
    write_atomically(folder / CONFIG_NAME, to_yaml(config.resolved()))
    line = make_header(config, {**ENVIRONMENT, **environment}, {"versions": {}})
    writer = LedgerWriter(folder)
    writer.append({**line, **(header or {})})
    for index, (spec, letter) in enumerate(zip(plan_of(config), outcomes, strict=False)):
        error = "policy: expected an answer, got none" if letter == "e" else None
        hashes = {"trajectory_sha256": f"{letter}{index}"}
        outcome, seen = OUTCOMES[letter], canary if index % 2 else ""
        steps = 5 if letter == "s" else 9
        result = EpisodeResult(spec, outcome, f"t{spec.task_id}", steps, error=error, canary=seen, **hashes)
        writer.append(episode_record(result, ATTEMPT))
    writer.close()
    return folder
