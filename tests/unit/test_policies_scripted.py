import numpy as np
import pytest

from ray_eval.errors import ContractError, SetupError
from ray_eval.policies import make_policy
from ray_eval.sections import NoopPolicy, OraclePolicy, RandomPolicy, ReplayPolicy
from ray_eval.types import IMAGE_KEYS, Observation


def asked(step=0, noise_seed=0):
    return Observation({}, "anything", "libero_goal", 3, 14, step=step, noise_seed=noise_seed)


def replayed(folder, actions, step=0, chunk_len=4):
    path = folder / "libero_goal" / "3" / "14.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, actions)
    return make_policy(ReplayPolicy(chunk_len, path=str(folder))).infer_batch([asked(step)])[0].actions


def test_noop_has_the_envs_own_noop_executed():
    policy = make_policy(NoopPolicy(chunk_len=2, action_low=(-1.0,) * 4))
    (chunk,) = policy.infer_batch([asked()])
    assert policy.spec.is_noop
    assert chunk.actions.tolist() == [[0, 0, 0, 0]] * 2


def test_random_stays_within_the_bounds_of_each_component():
    low, high = (0.0, -1.0, float("-inf")), (512.0, 1.0, float("inf"))
    policy = make_policy(RandomPolicy(chunk_len=200, action_low=low, action_high=high))
    (chunk,) = policy.infer_batch([asked(noise_seed=3)])
    assert chunk.actions.shape == (200, 3)
    assert (chunk.actions >= (0, -1, -1)).all()
    assert (chunk.actions <= (512, 1, 1)).all()
    assert chunk.actions[:, 0].max() > 400


def test_random_depends_on_the_noise_seed_alone():
    policy = make_policy(RandomPolicy(chunk_len=50))
    first, second, again = policy.infer_batch([asked(noise_seed=5), asked(noise_seed=2**63 - 1), asked(9, 5)])
    assert np.array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions, second.actions)
    assert np.abs(first.actions).max() <= 1 < 50 * np.abs(first.actions).min(axis=0).max()


def test_replay_gives_the_rows_of_its_step_and_repeats_the_last(tmp_path):
    recorded = np.arange(5 * 7, dtype=np.float64).reshape(5, 7)
    assert replayed(tmp_path, recorded, step=1).tolist() == recorded[1:5].tolist()
    assert replayed(tmp_path, recorded, step=3).tolist() == recorded[[3, 4, 4, 4]].tolist()
    assert replayed(tmp_path, recorded, step=300).tolist() == recorded[[4, 4, 4, 4]].tolist()
    assert replayed(tmp_path, recorded).dtype == np.float32


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (np.zeros((3, 6)), r"got shape \(3, 6\)"),
        (np.zeros(7), r"got shape \(7,\)"),
        (np.zeros((0, 7)), r"got shape \(0, 7\)"),
        (np.full((2, 7), np.nan), "got NaN"),
        (np.array([["a"] * 7]), "got <U1"),
    ],
)
def test_a_recording_that_is_no_action_sequence_is_a_contract_error(tmp_path, actions, said):
    with pytest.raises(ContractError, match=f"14.npy: expected .*{said}"):
        replayed(tmp_path, actions)


def test_a_missing_or_unreadable_recording_is_a_contract_error_that_names_the_file(tmp_path):
    policy = make_policy(ReplayPolicy(path=str(tmp_path)))
    path = tmp_path / "libero_goal" / "3" / "14.npy"
    with pytest.raises(ContractError, match=r"14.npy: expected .* got no file"):
        policy.infer_batch([asked()])
    path.parent.mkdir(parents=True)
    for content in (b"", b"not an array", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(ContractError, match="cannot read"):
            policy.infer_batch([asked()])


def test_a_missing_folder_is_known_at_construction(tmp_path):
    with pytest.raises(SetupError, match=r"policy.path: expected a folder .* got .*nowhere"):
        make_policy(ReplayPolicy(path=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("section", [NoopPolicy, RandomPolicy, OraclePolicy])
def test_images_are_asked_for_unless_turned_off(section):
    assert set(IMAGE_KEYS) <= set(make_policy(section()).spec.keys)
    assert not set(IMAGE_KEYS) & set(make_policy(section(images=False)).spec.keys)


def test_recordings_are_known_by_their_content(tmp_path):
    def digest(value: float, name: str = "0.npy") -> str | None:
        folder = tmp_path / "libero_object" / "0"
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.npy"):
            path.unlink()
        np.save(folder / name, np.full((3, 7), value))
        return make_policy(ReplayPolicy(path=str(tmp_path))).spec.digest

    assert digest(0.5) == digest(0.5)
    assert len({digest(0.5), digest(0.25), digest(0.5, "1.npy")}) == 3
