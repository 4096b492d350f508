"""Films, last frames and contact sheets of a run's episodes, made from their actions; runs in the driver."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ray_eval.driver.finding import FINDING, Findings, finding_maker
from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.replay import Fleet, Job, MakersOf, Replayed, replay_jobs
from ray_eval.driver.simulators import instructions_of
from ray_eval.errors import ConfigError, RayEvalError, SetupError
from ray_eval.report.looking import chosen, pair_path, picture_path, sheet_path, video_path
from ray_eval.report.progress import ProgressView
from ray_eval.rollout.replaying import Maker
from ray_eval.types import EpisodeSpec
from ray_eval.watch.film import Filmed, FilmMaker
from ray_eval.watch.frames import Caption, contact_sheet
from ray_eval.watch.video import VideoWriter, side_by_side

FILM = "film"
"""Name of the maker of films."""
GRIPPER = "gripper"
"""Name of the action's component that opens and closes the hand."""


@dataclass
class Films:
    """What was made of a run's episodes."""

    files: list[Path] = field(default_factory=list)
    """Films, then contact sheets."""
    replays: list[Replayed] = field(default_factory=list)
    """Every episode that was asked for."""

    @property
    def missing(self) -> list[Replayed]:
        """Those that could not be shown."""
        return [each for each in self.replays if not each.is_same]


def film(
    path: Path,
    words: Sequence[str],
    *,
    other: Path | None = None,
    every: int = 1,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> Films:
    """Films episodes of a run, or of two runs side by side, into the (first) run's folder.

    Args:
        path: the run's folder.
        words: which episodes (see `report.looking.chosen`).
        other: the run beside it.
        every: steps between two frames; 0 makes stills and contact sheets alone.
        overrides: operational `key=value` texts.
        console: takes what is said meanwhile.

    Raises:
        ConfigError: an episode is not the run's, or the two runs are of different simulators.
        LedgerError: a folder holds no run.
        SetupError: the machine cannot run it, or PyAV is missing.
    """
    if every < 0 or (other is not None and not every):
        raise ConfigError(
            f"--every: expected 1 or more steps between two frames, or 0 for stills of one run, got {every}"
        )
    if every:
        check_can_film()
    recordings = [Recording(each, overrides) for each in (path, other) if each is not None]
    _check_alike(recordings)
    ids = chosen(recordings[0].records, words, recordings[1].records if other else None)
    if other:
        ids = [each for each in ids if each in recordings[1].records]
    films = Films()
    jobs = [job_of(recording, ids, every, films) for recording in recordings]
    progress = ProgressView(console or Console(quiet=True))
    with contextlib.closing(replay_jobs(jobs, progress)) as replays:
        if other:
            _write_pairs(jobs, replays, films, every, progress)
        else:
            _write(jobs[0].recording, (replayed for _, replayed in replays), films, progress)
    return films


def film_part(folder: Path, words: Sequence[str], fleet: Fleet, progress: ProgressView) -> None:
    """Films episodes of a run that has just ended, by its own workers; what fails is said and changes nothing."""
    try:
        recording, films = Recording(folder), Films()
        job = job_of(recording, chosen(recording.records, words), 1, films)
        progress.note(f"filming {len(job.episodes)} episodes")
        _write(recording, (replayed for _, replayed in fleet.replays([job])), films, progress)
    except RayEvalError as error:
        progress.note(f"WARNING: video: {error}; ray-eval video makes them later")


def check_can_film(path: Path = Path("video.mp4")) -> None:
    """Passes when films can be encoded here, into such a file.

    Raises:
        SetupError: PyAV is not installed, or the file is no .mp4 file.
    """
    VideoWriter(path, 1)


def _check_alike(recordings: Sequence[Recording]) -> None:
    places = {(each.env_spec.simulator, each.config.simulator.python) for each in recordings}
    if len(places) > 1:
        told = " and ".join(str(name) for name, _ in sorted(places, key=str))
        raise ConfigError(f"video: expected two runs of one simulator in one Python, got {told}; film them one by one")


def job_of(recording: Recording, ids: Sequence[str], every: int, films: Films) -> Job:
    """What is filmed of a run; episodes without actions are told of among the films' replays."""
    episodes = recording.recorded(ids)
    films.replays += [
        Replayed(each, is_same=False, error=recording.without_actions(each)) for each in ids if each not in episodes
    ]
    return Job(recording, episodes, film_makers(recording, every))


def film_makers(recording: Recording, every: int) -> MakersOf:
    """The makers of each episode's film and finding."""
    spec = recording.env_spec
    gripper = spec.action.names.index(GRIPPER) if GRIPPER in spec.action.names else None
    said = instructions_of(recording.config)

    def makers(recorded: Recorded) -> dict[str, Maker]:
        result = recorded.result
        caption = Caption(
            title=f"{result.spec.episode_id}   {recording.path.name}",
            instruction=recording.config.task_text or said(result.spec.suite)[result.spec.task_id],
            outcome=str(result.outcome),
            steps=result.steps,
            max_steps=result.spec.max_steps,
            queue_lengths=result.inside.queue_lengths if result.inside else (),
            gripper=gripper,
        )
        return {FILM: FilmMaker(caption, spec.control_hz, every), FINDING: finding_maker(recording)}

    return makers


def _write(recording: Recording, replays: Iterable[Replayed], films: Films, progress: ProgressView) -> None:
    """Writes each film and finding as soon as it is there, and the contact sheets at the end."""
    specs = {spec.episode_id: spec for spec in recording.plan}
    stills: dict[tuple[str, int], dict[str, tuple[bytes, ...]]] = defaultdict(dict)
    with contextlib.closing(Findings(recording)) as findings:
        for replayed in replays:
            films.replays.append(replayed)
            if not replayed.is_same:
                continue
            spec, filmed = specs[replayed.episode_id], replayed.made[FILM]
            findings.keep(replayed)
            films.files += write_film(recording.path, spec, filmed)
            stills[spec.suite, spec.task_id][replayed.episode_id] = filmed.stills
            found = replayed.made.get(FINDING) or {}
            failure = f", {found['failure_class']}" if found.get("failure_class") else ""
            progress.note(f"{replayed.episode_id}: {films.files[-1]}, {replayed.wall_s:.1f} s{failure}")
    for (suite, task_id), found in stills.items():
        rows = [found[each] for each in recording.records if each in found]
        films.files.append(written(sheet_path(recording.path, suite, task_id), contact_sheet(rows)))


def write_film(folder: Path, spec: EpisodeSpec, filmed: Filmed) -> list[Path]:
    """Writes an episode's last frame and film; the files."""
    files = [written(picture_path(folder, spec), filmed.stills[-1])]
    return files if filmed.video is None else [*files, written(video_path(folder, spec), filmed.video)]


def _write_pairs(
    jobs: Sequence[Job], replays: Iterator[tuple[Job, Replayed]], films: Films, every: int, progress: ProgressView
) -> None:
    """Writes an episode's two films beside one another once both are there."""
    waiting: dict[str, dict[int, bytes]] = defaultdict(dict)
    for job, replayed in replays:
        films.replays.append(replayed)
        if not replayed.is_same:
            continue
        video = replayed.made[FILM].video
        waiting[replayed.episode_id][jobs.index(job)] = video
        both = waiting[replayed.episode_id]
        if len(both) == len(jobs) and video is not None:
            spec = job.episodes[replayed.episode_id].result.spec
            beside = side_by_side([both[0], both[1]], job.recording.env_spec.control_hz / every)
            films.files.append(written(pair_path(jobs[0].recording.path, spec, jobs[1].recording.path), beside))
            progress.note(f"{replayed.episode_id}: {films.files[-1]}")
            del waiting[replayed.episode_id]


def written(path: Path, content: bytes) -> Path:
    """Writes a file whole or not at all.

    Raises:
        SetupError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise SetupError(f"{path}: expected a file that can be written, got {error.strerror}") from error
    return path
