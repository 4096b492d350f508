"""The real trackers, each told of a run that is interrupted and resumed, and read back by its own reader."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
from made_runs import made_run

from ray_eval.config import load_config
from ray_eval.driver.reporting import shown_run
from ray_eval.driver.tracking import KNOWN_NAME, Tracking

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]


def tensorboard(folder: Path, known: dict) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def mlflow(folder: Path, known: dict) -> dict[str, list[tuple[int, float]]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    run_id = known["mlflow"]["run_id"]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["policy.type"] == "random"
    assert run.data.tags["ray_eval.id"] == known["id"]
    return {
        name: [(each.step, each.value) for each in client.get_metric_history(run_id, name)] for name in run.data.metrics
    }


def trackio(folder: Path, known: dict) -> dict[str, list[tuple[int, float]]]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("ray-eval")
    assert run.name == f"{folder.name}-{known['id']}"
    rows = SQLiteStorage.get_logs("ray-eval", run.name)
    return {
        name: [(row["step"], row[name]) for row in rows if name in row and "is_complete" not in row]
        for name in ("success_rate", "success_rate_low", "success_rate_high", "n")
    }


def wandb(folder: Path, known: dict) -> dict[str, list[tuple[int, float]]]:
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, list[tuple[int, float]]] = {}
    files = sorted((folder / "wandb").glob(f"offline-run-*-{known['id']}/run-{known['id']}.wandb"))
    assert len(files) == 2, "one file for each session, both of the one id"
    for file in files:
        for data in records(file.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "history":
                row = {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                for name, value in row.items():
                    found.setdefault(name, []).append((row["episodes"], value))
    return found


def records(data: bytes) -> list[bytes]:
    """Records of a file of W&B: 7 bytes of its own, then LevelDB's log in blocks of 32 KiB."""
    found, begun, at = [], b"", 7
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        begun += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(begun)
            begun = b""
    return found


@pytest.mark.parametrize("read", [tensorboard, mlflow, trackio, wandb], ids=lambda read: read.__name__)
def test_a_tracker_has_each_rate_with_its_number_under_one_id_over_a_resume(read, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    results = shown_run(made_run(tmp_path / "made", "ssfs", "tasks=[0]")).results
    folder = tmp_path / "run"
    folder.mkdir()
    config = load_config(None, ["policy=random", "suite=fake", f"track=[{read.__name__}]"])
    for count in (2, 4):
        said: list[str] = []
        session = Tracking(config, folder, said.append)
        session.open()
        session.close(results[:count], "ab12", is_complete=count == 4)
        assert said == []
    known = json.loads((folder / KNOWN_NAME).read_text())
    found = read(folder, known)
    assert [(step, pytest.approx(value)) for step, value in found["success_rate"] if step] == [(2, 1.0), (4, 0.75)]
    assert [step for step, _ in found["n"] if step] == [2, 4]
    assert {"success_rate_low", "success_rate_high"} <= found.keys()


def test_a_tracker_that_is_down_is_said_once_and_stops_no_run(tmp_path):
    words = [
        "policy=random",
        "suite=fake",
        "tasks=[0]",
        "workers=1",
        "track=[mlflow,tensorboard]",
        f"out={tmp_path / 'x'}",
    ]
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "ray_eval", "run", *words],
        env={**os.environ, **down},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WARNING: track=[mlflow]") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert tensorboard(tmp_path / "x", {})["n"][-1] == (5, 5)
