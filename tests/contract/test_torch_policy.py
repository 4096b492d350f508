"""Policies of a user's own, through real torch: factories, TorchScript, torch.export, and files that hide code."""

import contextlib
import io
import pickle
import re
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ray_eval.config import load_config
from ray_eval.config import load_policy as load_preset
from ray_eval.driver.resolve import told_section
from ray_eval.driver.simulators import simulator_of
from ray_eval.errors import ContractError, SetupError
from ray_eval.interfaces import StagedPolicy
from ray_eval.policies import make_policy
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.torch_module import load_weights
from ray_eval.sections import BatchingSection, Kwargs, TorchPolicySection
from ray_eval.serving.determinism import load_policy
from ray_eval.serving.sizes import served_spec
from ray_eval.testing import check_policy
from ray_eval.types import IMAGE, STATE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = "examples.torch_policy:Mlp"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def load(**settings):
    return make_policy(TorchPolicySection(**settings))


class Net(torch.nn.Module):
    """Image, state and noise to (B, 2, 7)."""

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(8, 14)

    def forward(self, image: torch.Tensor, state: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return self.mix(state).view(-1, 2, 7) + noise + image.mean((1, 2, 3)).view(-1, 1, 1)


MODULE = {"keys": (IMAGE, STATE), "chunk_len": 2, "noise_shape": (2, 7), "image_size_px": 32}


def scripted(path):
    torch.jit.script(Net()).save(str(path))
    return path


def exported(path):
    inputs = (torch.zeros(2, 3, 32, 32), torch.zeros(2, 8), torch.zeros(2, 2, 7))
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(Net(), inputs, dynamic_shapes=[{0: batch}] * 3), str(path))
    return path


def test_the_example_keeps_the_contract():
    policy = load(entrypoint=EXAMPLE)
    check_policy(policy)
    assert policy.spec.digest is not None


def test_texts_from_the_command_line_are_read_by_the_factorys_own_types():
    words = (f"policy.entrypoint={EXAMPLE}", "policy.kwargs.hidden=32", "policy.kwargs.noise=0")
    section, _ = load_preset("torch", words)
    policy = make_policy(section)
    assert (policy.net[0].out_features, policy.noise) == (32, 0.0)


@pytest.mark.parametrize("save", [scripted, exported])
def test_a_file_without_code_keeps_the_contract_and_uses_every_input(tmp_path, save):
    policy = load(path=str(save(tmp_path / ("net.pt2" if save is exported else "net.pt"))), **MODULE)
    check_policy(policy)
    assert isinstance(policy, StagedPolicy)
    first = trial_observation(policy.spec, 0)
    changed = [
        trial_observation(policy.spec, 1),
        type(first)({**first.arrays, IMAGE: first.arrays[IMAGE] // 2}, "", noise_seed=first.noise_seed),
        type(first)(first.arrays, "", noise_seed=99),
    ]
    answers = policy.infer_batch([first, *changed])
    assert len({answer.actions.tobytes() for answer in answers}) == 4
    staged = policy.infer_staged([policy.stage(o) for o in [first, *changed]])
    assert [a.actions.tobytes() for a in staged] == [a.actions.tobytes() for a in answers]


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def bomb_of_pickle(path):
    torch.save({"a": Bomb()}, path)


def bomb_in_export(path):
    """An exported program whose weights are a pickle that touches a file."""
    exported(path)
    content = io.BytesIO()
    torch.save({"a": Bomb()}, content)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in entries.items():
            changed = re.sub(rb'"use_pickle": ?false', b'"use_pickle": true', body)
            archive.writestr(name, content.getvalue() if "/weight_" in name else changed)


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_a_file_that_hides_code_is_refused_and_its_code_does_not_run(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"net.{suffix}"
    (bomb_in_export if suffix == "pt2" else bomb_of_pickle)(path)
    with pytest.raises(SetupError, match="expected a"):
        load(path=str(path), **MODULE)
    if suffix == "pt":
        with pytest.raises(SetupError, match=r"policy\.trust=true"):
            load_weights(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_with_trust_the_same_files_are_unpickled(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"net.{suffix}"
    if suffix == "pt":
        bomb_of_pickle(path)
        load_weights(path, trust=True)
    else:
        bomb_in_export(path)
        with pytest.raises(SetupError):  # what it unpickles to is no module
            load(path=str(path), trust=True, **MODULE)
    assert (tmp_path / "exploded").exists()


def test_a_plain_pickle_is_no_checkpoint(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SetupError):
        load_weights(tmp_path / "a.pt")


FACTORY = """
import numpy as np
import torch
from ray_eval.types import STATE, ActionChunk, PolicySpec

ZERO, ONE = torch.zeros(7), torch.ones(7)

class Weighted:
    spec = PolicySpec("weighted", (STATE,), 1)
    def __init__(self, state_dict=None, device=None, flag: bool = False):
        self.bias = state_dict["bias"].numpy() if state_dict else None
        self.device, self.flag = device, flag
    def infer_batch(self, observations):
        return [ActionChunk(self.bias.reshape(1, 7).copy()) for _ in observations]

class Normalised(Weighted):
    # As a network in training mode: each row is seen against the mean of its batch.
    spec = PolicySpec("normalised", (STATE,), 1)
    def infer_batch(self, observations):
        states = torch.from_numpy(np.stack([o.arrays[STATE][:7] for o in observations]))
        rows = torch.nn.functional.batch_norm(states, ZERO, ONE, training=len(states) > 1)
        return [ActionChunk(row[None].numpy()) for row in rows]

class Relative(Weighted):
    # What is staged ahead overwrites the state that the answer is made absolute with.
    spec = PolicySpec("relative", (STATE,), 1)
    def stage(self, observation):
        self.state = observation.arrays[STATE][:7]
        return observation
    def infer_staged(self, rows):
        return [ActionChunk(self.state[None].copy()) for _ in rows]
    def infer_batch(self, observations):
        return [chunk for o in observations for chunk in self.infer_staged([self.stage(o)])]

def broken():
    raise KeyError("layer.3")

class Foreign(Exception):
    def __init__(self, what, more):
        super().__init__(f"{what}\\nand {more}")

def foreign():
    raise Foreign("first", "second")

class Deep:
    def __init__(self):
        foreign()

def leaves():
    raise SystemExit(3)

class Unanswering:
    spec = PolicySpec("u", (STATE,), 1)
    def infer_batch(self, observations):
        foreign()

class Unlisted(Unanswering):
    def infer_batch(self, observations):
        return [o.arrays["observation.images.image"] for o in observations]

class Unnamed(Unanswering):
    @property
    def spec(self):
        foreign()

def nothing():
    return 7

class Unspecified:
    spec = PolicySpec("u", ("observation.picture",), 1)
    def infer_batch(self, observations): ...
"""


@pytest.fixture
def users_module(tmp_path, monkeypatch):
    (tmp_path / "users_own.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # tracebacks go there
    yield tmp_path
    sys.modules.pop("users_own", None)


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_weights_reach_the_factory_as_a_state_dict(users_module, kind):
    path = users_module / f"w.{kind}"
    weights = {"bias": torch.arange(7.0)}
    save_file(weights, path) if kind == "safetensors" else torch.save(weights, path)
    policy = load(entrypoint="users_own:Weighted", path=str(path), device="cpu", kwargs=Kwargs(flag="true"))
    check_policy(policy)
    assert (str(policy.device), policy.flag) == ("cpu", True)
    assert np.array_equal(policy.infer_batch([trial_observation(policy.spec, 0)])[0].actions[0], np.arange(7))
    before = policy.spec.digest
    weights["bias"] += 1
    save_file(weights, path) if kind == "safetensors" else torch.save(weights, path)
    assert load(entrypoint="users_own:Weighted", path=str(path)).spec.digest != before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"entrypoint": "nowhere.at_all:make"}, "ModuleNotFoundError.*PYTHONPATH"),
        ({"entrypoint": "users_own:missing"}, "the module has .*Weighted"),
        ({"entrypoint": "users_own:broken"}, "KeyError: 'layer.3'"),
        ({"entrypoint": "users_own:nothing"}, "expected an object with `spec`.*got int"),
        ({"entrypoint": "users_own:Unspecified"}, r"spec\.keys"),
        ({"entrypoint": "users_own:broken", "kwargs": Kwargs(x=1)}, "policy.kwargs.x: expected one of"),
        ({"entrypoint": "users_own:Weighted", "kwargs": Kwargs(flag="maybe")}, "expected bool, got 'maybe'"),
        ({"path": "nowhere.pt"}, "expected a file, got 'nowhere.pt'"),
        ({"entrypoint": "users_own:Weighted", "device": "cuda"}, "policy.device=cuda: expected a CUDA device"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_error(users_module, settings, said):
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    with pytest.raises(SetupError, match=said):
        load(**settings)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Deep", r"expected a policy, got Foreign: first and second \(.*users_own\.py:\d+ in foreign, called from .*"),
        ("leaves", r"expected a policy, got SystemExit: 3 \(.*users_own\.py:\d+ in leaves\)"),
        ("Unnamed", r"expected its `spec`, got Foreign: first and second \(.*in foreign, called from .* in spec\)"),
        ("Unanswering", r"expected an answer to a made-up observation, got Foreign: .* in infer_batch\)"),
    ],
)
def test_what_users_code_raises_is_said_in_one_line_with_its_place(users_module, name, said):
    section = TorchPolicySection(entrypoint=f"users_own:{name}", device="cpu")
    with pytest.raises(SetupError, match=said) as raised:
        load_policy(section, BatchingSection())
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 1000
    traceback = Path(message.rpartition("the whole traceback is in ")[2]).read_text()
    assert "Traceback (most recent call last)" in traceback
    assert "users_own.py" in traceback


def test_a_key_that_the_spec_lacks_is_said_to_be_wanted_there(users_module):
    said = r"'observation\.images\.image' \(.*\); it is not among spec\.keys \(observation\.state\): add it there$"
    with pytest.raises(SetupError, match=said):
        load_policy(TorchPolicySection(entrypoint="users_own:Unlisted", device="cpu"), BatchingSection())


def test_a_module_that_breaks_while_it_is_imported_says_where(users_module):
    (users_module / "users_bad.py").write_text("x = 1\ny = x / 0\n")
    (users_module / "users_worse.py").write_text("x = 1\ndef f(:\n")
    for name, place in (("users_bad", "ZeroDivisionError.*users_bad.py:2"), ("users_worse", "users_worse.py:2")):
        with pytest.raises(SetupError, match=place):
            load(entrypoint=f"{name}:f")


def test_a_module_of_another_shape_says_what_to_mend(tmp_path):
    policy = load(path=str(scripted(tmp_path / "net.pt")), **{**MODULE, "chunk_len": 3})
    with pytest.raises(ContractError, match=r"expected a tensor \(1, 3, 7\) from the module, got \(1, 2, 7\)"):
        policy.infer_batch([trial_observation(policy.spec, 0)])


def test_a_network_in_training_mode_is_refused_at_the_start_and_told_what_to_write(users_module):
    section = TorchPolicySection(entrypoint="users_own:Normalised", device="cpu")
    with pytest.raises(SetupError, match=r"neighbours|position|filled up.*write serving\.batch_size=1"):
        load_policy(section, BatchingSection(batch_size=4))
    load_policy(section, BatchingSection(batch_size=1))
    policy, sizes = load_policy(section, BatchingSection(determinism="throughput", max_batch_size=8))
    assert sizes.max_batch_size in (1, 2, 4, 8)
    assert not served_spec(policy.spec, sizes).is_reproducible


INVARIANT = """
import numpy as np
from ray_eval.types import STATE, ActionChunk, PolicySpec

def test_a_factory_whose_policy_keeps_a_staged_row_is_refused_at_the_start(users_module):
    section = TorchPolicySection(entrypoint="users_own:Relative", device="cpu")
    with pytest.raises(SetupError, match="another is staged before it is answered"):
        load_policy(section, BatchingSection())


class Promising:
    spec = PolicySpec("promising", (STATE,), chunk_len=2, batch_invariant=True, state_dim=9)

    def __init__(self, largest: int):
        self.largest = largest

    def infer_batch(self, observations):
        assert all(o.arrays[STATE].shape == (9,) for o in observations)
        error = np.float32(1e-6) * (len(observations) > self.largest)
        return [ActionChunk(np.full((2, 7), o.arrays[STATE][0] + error, np.float32)) for o in observations]
"""


@pytest.mark.parametrize("determinism", ["reproducible", "throughput"])
def test_a_promise_of_batch_invariance_is_kept_up_to_the_size_that_is_served_or_refused(users_module, determinism):
    (users_module / "users_promise.py").write_text(INVARIANT)
    honest = TorchPolicySection("users_promise:Promising", Kwargs(largest=8), device="cpu")
    policy, sizes = load_policy(honest, BatchingSection(determinism=determinism, max_batch_size=8))
    assert sizes.max_batch_size <= 8
    assert served_spec(policy.spec, sizes).is_reproducible
    with pytest.raises(SetupError, match=r"9 rows|10 rows|15 rows; let its spec not say batch_invariant"):
        load_policy(honest, BatchingSection(determinism=determinism))


def test_a_module_without_code_is_tried_with_as_many_state_numbers_as_the_protocol_has(tmp_path):
    class Nine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(9, 14)

        def forward(self, state):
            return self.head(state).reshape(-1, 2, 7)

    torch.jit.script(Nine()).save(str(tmp_path / "nine.pt"))
    words = [f"policy.path={tmp_path / 'nine.pt'}", "policy.keys=[observation.state]", "policy.chunk_len=2"]
    for protocol in ("libero", "openpi"):
        config = load_config(None, [f"protocol={protocol}", "suite=fake", "policy=torch", "policy.device=cpu", *words])
        with pytest.raises(SetupError, match="got RuntimeError") if protocol == "openpi" else contextlib.nullcontext():
            policy, _ = load_policy(told_section(config, simulator_of(config).spec("fake", 0)), BatchingSection())
            assert policy.spec.state_dim == 9
