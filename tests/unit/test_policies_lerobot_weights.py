"""Whether a policy of LeRobot's has the weights of its checkpoint, whatever its loader does on the way."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ray_eval.errors import SetupError
from ray_eval.policies.lerobot.checkpoint import Checkpoint
from ray_eval.policies.lerobot.pages import given_back_as_copied
from ray_eval.policies.lerobot.weights import Handed, check_taken_over, nothing_drawn, with_weights

CONFIG = SimpleNamespace(device="cpu", type="pi0")


class Policy(torch.nn.Module):
    """A policy with tied weights and a statistic, and a loader as most of LeRobot's are."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = torch.nn.Embedding(5, 4)
        self.words = torch.nn.Linear(4, 5, bias=False)
        self.words.weight = self.embedding.weight
        self.head = torch.nn.Linear(4, 2)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("scratch", torch.zeros(4), persistent=False)

    @classmethod
    def from_pretrained(cls, folder, config, strict):
        policy = cls(config)
        policy.load_state_dict(cls.renamed(load_file(folder / "model.safetensors")), strict=False)
        return policy

    @staticmethod
    def renamed(weights):
        return weights


class Renaming(Policy):
    """As X-VLA's loader: another name for one weight, one turned over, one left out."""

    @staticmethod
    def renamed(weights):
        named = {name.replace("top.", "head."): weight for name, weight in weights.items() if name != "logits"}
        return {**named, "head.weight": named["head.weight"].T}


class Prefixing(Policy):
    """As pi0's loader for a checkpoint of openpi's."""

    def __init__(self, config):
        torch.nn.Module.__init__(self)
        self.config = config
        self.model = Policy(config)

    @staticmethod
    def renamed(weights):
        return {f"model.{name}": weight for name, weight in weights.items()}


class Random(Policy):
    """As pi0's loader where something goes wrong."""

    @classmethod
    def from_pretrained(cls, folder, config, strict):
        policy = cls(config)
        with contextlib.suppress(RuntimeError):
            policy.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
        return policy


class Forgetful(Policy):
    @classmethod
    def from_pretrained(cls, folder, config, strict):
        return cls(config)


class Changing(Policy):
    @classmethod
    def from_pretrained(cls, folder, config, strict):
        policy = super().from_pretrained(folder, config, strict)
        with torch.no_grad():
            policy.head.bias += 1
        return policy


def saved(folder, weights):
    save_file({name: weight.clone().contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    return Checkpoint("me/mine", folder, {"type": "pi0"})


def own(without=(), **more):
    torch.manual_seed(3)
    weights = {name: weight for name, weight in Policy(CONFIG).state_dict().items() if name not in without}
    return {**weights, **more}


def loaded(folder, policy_class, weights):
    handed, checkpoint = Handed(), saved(folder, weights)
    policy = with_weights(checkpoint, policy_class, CONFIG, handed, is_old=False)
    check_taken_over(checkpoint, policy, handed)
    return policy


@pytest.mark.parametrize(
    ("without", "beside", "said"),
    [
        (["words.weight"], [], None),
        ([], ["normalize_inputs.buffer_observation_state.mean"], None),
        (["head.bias"], [], r"every weight of the policy in model\.safetensors, got none for head\.bias; copy"),
        (["mean"], [], r"got none for mean;"),
        (["words.weight", "embedding.weight", "mean", "head.bias"], [], r"got none for mean, embedding.* and 1 other;"),
        ([], ["more"], r"a place in the policy for all of model\.safetensors, got none for more;"),
    ],
)
def test_every_weight_is_the_checkpoints_or_it_is_an_error(tmp_path, without, beside, said):
    weights = own(without, **{name: torch.zeros(1) for name in beside})
    with pytest.raises(SetupError, match=said) if said else contextlib.nullcontext():
        policy = loaded(tmp_path, Policy, weights)
        assert type(policy) is Policy
        assert torch.equal(policy.words.weight, weights["embedding.weight"])


def test_what_a_loader_renames_turns_over_and_leaves_out_is_followed(tmp_path):
    weights = own(["head.weight", "head.bias"], logits=torch.ones(2))
    weights |= {"top.weight": torch.arange(8.0).reshape(4, 2), "top.bias": torch.ones(2)}
    assert torch.equal(loaded(tmp_path, Renaming, weights).head.weight, weights["top.weight"].T)


def test_a_prefix_that_the_loader_puts_before_every_name_hides_no_weight_that_it_leaves_out(tmp_path):
    loaded(tmp_path, Prefixing, own())
    with pytest.raises(SetupError, match=r"got none for model\.more"):
        loaded(tmp_path, Prefixing, own(more=torch.ones(1)))


@pytest.mark.parametrize(
    ("policy_class", "weights", "said"),
    [
        (Random, own(["mean"]), r"expected weights that fit the policy in model\.safetensors, got RuntimeError"),
        (Forgetful, own(), r"expected weights named as in a policy of type 'pi0', got none of them"),
        (Changing, own(), r"got others in head\.bias"),
        (Policy, {"x": torch.ones(1)}, "got none of them"),
    ],
)
def test_a_loader_that_goes_on_with_other_weights_is_noticed(tmp_path, policy_class, weights, said):
    with pytest.raises(SetupError, match=said):
        loaded(tmp_path, policy_class, weights)


def test_first_values_that_the_weights_replace_are_not_drawn_and_later_ones_are(tmp_path):
    weights = own()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(loaded(tmp_path, Policy, weights).head.weight, weights["head.weight"])
    with nothing_drawn():
        torch.nn.MultiheadAttention(4, 2)
        torch.nn.Conv2d(2, 2, 2)
    assert torch.equal(torch.get_rng_state(), before)
    with contextlib.suppress(KeyError), nothing_drawn():
        raise KeyError
    Policy(CONFIG)
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_file_that_is_being_loaded_is_in_memory_only_in_part(tmp_path):
    parts, size = 16, 1 << 20
    net = torch.nn.Sequential(*(torch.nn.Linear(1, size, bias=False) for _ in range(parts)))
    save_file({name: torch.randn_like(weight) for name, weight in net.state_dict().items()}, tmp_path / "w.safetensors")
    before, state = mapped_kb(), load_file(tmp_path / "w.safetensors")
    with given_back_as_copied(net, state):
        net.load_state_dict(state)
    taken = mapped_kb() - before
    assert taken < 3 * size * 4 // 1024  # of 16
    assert all(torch.equal(weight, state[name]) for name, weight in net.state_dict().items())
    assert mapped_kb() - before > (parts - 1) * size * 4 // 1024  # comparing has read it all


def mapped_kb():
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))
