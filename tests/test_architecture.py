"""The imports, read from the source: which folder may know which, and who owns a third party."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ray_eval"

LEAVES = {
    "awake",
    "heap",
    "interpreters",
    "whole",
    "errors",
    "foreign",
    "messages",
    "orders",
    "orphans",
    "places",
    "scene",
    "types",
    "interfaces",
    "scratch",
    "sections",
}
EDGES = {
    "": {"config", "driver", "envs", "report"},
    "__main__": {"cli"},
    "cli": {"", "driver", "serving", "report", "config", "bench", "chaos", "install", "published", "stats"},
    # Disturbs runs from outside, as their user starts them, and reads what they leave.
    "chaos": {"config", "driver", "report"},
    # Measures every side of the package, and nothing but the command line knows it.
    "bench": {"envs", "serving", "policies", "rollout", "wire", "driver", "config", "report", "capacity"},
    "sim_client": {"", "cli", "config", "driver", "install"},
    "testing": {"envs", "policies"},
    # A simulator's own keys are read by its own type, which the registry finds.
    "config": {"envs", "stats"},
    # Beyond the registry and the GL probe, the driver meets envs only through workers.
    "driver": {"track", "rollout", "serving", "report", "config", "envs", "stats", "published", "watch", "capacity"},
    "rollout": {"envs", "wire"},
    # Sees what a replay sees; sent to workers by the driver.
    "watch": {"rollout"},
    "serving": {"policies", "wire", "install"},
    # The adapters of servers that speak our protocol; what to type where a package is missing.
    "policies": {"wire", "install"},
    "install": set(),
    "envs": set(),
    "report": {"stats"},
    # Pure: counts in, frozen results out.
    "stats": set(),
    "capacity": set(),
    "published": set(),
    # One file for each experiment tracker.
    "track": set(),
    "wire": set(),
    **{leaf: set() for leaf in LEAVES},
}
OWNERS = {
    "ray": ("rollout/actor", "serving/actor", "driver/", "bench/crowd"),
    "grpc": (
        "serving/",
        "rollout/client",
        "rollout/regions",
        "wire/",
        "policies/remote/kserve",
        "policies/remote/lerobot_server",
        "driver/joining",
    ),
    "websockets": ("policies/remote/websocket",),
    "msgpack": ("policies/remote/packing",),
    "zmq": ("policies/remote/zeromq",),
    "httpx": ("policies/remote/xvla",),
    "grpc_health": ("serving/", "rollout/client", "wire/"),
    "omegaconf": ("config/",),
    "yaml": ("config/", "driver/dashboard"),
    "mujoco": ("envs/",),
    "robosuite": ("envs/",),
    "libero": ("envs/",),
    "numba": ("envs/",),
    "llvmlite": ("envs/",),
    "gymnasium": ("envs/",),
    "metaworld": ("envs/metaworld/", "policies/experts/metaworld"),
    "gym_aloha": ("envs/aloha/",),
    "dm_control": ("envs/aloha/",),
    "gym_pusht": ("envs/pusht/",),
    "pymunk": ("envs/pusht/",),
    "shapely": ("envs/pusht/",),
    "torch": ("policies/", "serving/"),
    "scipy": ("stats/", "envs/libero_plus/"),
    "matplotlib": ("report/figures",),
    "tensorboardX": ("track/tensorboard",),
    "wandb": ("track/wandb",),
    "mlflow": ("track/mlflow",),
    "trackio": ("track/trackio",),
    "jinja2": ("report/html/pages",),
    "markupsafe": ("report/html/",),
    "pyarrow": ("report/trace", "report/lerobot_dataset", "driver/exporting"),
    "av": ("watch/video",),
    "PIL": ("envs/", "watch/frames", "policies/remote/"),
    "rich": ("report/", "cli", "driver/", "bench/"),
}
MAY_KNOW_OF_ENVS = {
    "config": {"registry"},
    # `libero.settings` names the state formats that a remedy offers.
    "driver": {"registry", "gl", "known_gl", "first_use", "contents", "origins", "libero.settings", "libero.versions"},
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "_pb2" not in path.name)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def part_of(name: str) -> str:
    """The folder or module at the top of the package; the package itself is the empty string."""
    top = name.split("/", maxsplit=1)[0]
    return "" if top == "__init__" else top


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports, wherever in it, type checking included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_parts(path: Path) -> set[str]:
    parts = {
        name.split(".")[1] if name.count(".") else "" for name in imported(path) if name.split(".")[0] == "ray_eval"
    }
    return {"" if part == "__version__" else part for part in parts}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_follow_the_listed_edges(path):
    part = part_of(name_of(path))
    assert part in EDGES, f"{part}: a new part of the package needs its edges listed here and in the design"
    assert own_parts(path) <= EDGES[part] | LEAVES | {part}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_third_parties_have_owners(path):
    for dotted in imported(path):
        owners = OWNERS.get(dotted.split(".")[0])
        assert owners is None or name_of(path).startswith(owners), f"{name_of(path)} imports {dotted}"


@pytest.mark.parametrize("part", MAY_KNOW_OF_ENVS)
def test_only_the_registry_and_the_gl_probe_of_envs_are_known_outside_the_workers(part):
    found = {
        name.removeprefix("ray_eval.envs.")
        for path in (PACKAGE / part).glob("*.py")
        for name in imported(path)
        if name.startswith("ray_eval.envs")
    }
    allowed = MAY_KNOW_OF_ENVS[part]
    beyond = {
        name for name in found if not name.startswith(tuple(f"{each}." for each in allowed)) and name not in allowed
    }
    assert beyond == set()


def test_every_module_opens_with_a_sentence_about_itself():
    silent = [
        name_of(path)
        for path in modules()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize("part", ["driver", "rollout", "serving"])
def test_leases_and_deadlines_know_monotonic_clocks_alone(part):
    """A system clock may jump an hour either way; what is written down has its time, and files have theirs."""
    for path in set((PACKAGE / part).rglob("*.py")) - {PACKAGE / "driver" / "checkpoints.py"}:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        assert not [node for node in calls if ast.unparse(node) in ("time.time", "time.time_ns")], path


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Block())
{code}
"""


def run_without(blocked: set[str], code: str) -> None:
    program = BLOCK.format(blocked=blocked, code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_policy_side_runs_without_ray_libero_and_mujoco():
    run_without(
        {"ray", "libero", "mujoco", "robosuite", "gymnasium", "scipy", "psutil"},
        """
import tempfile
from ray_eval.config import load_policy
from ray_eval.policies import make_policy
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection
from ray_eval.serving.server import serve_in_thread
section, _ = load_policy("oracle")
address = f"unix:{tempfile.mkdtemp()}/s"
with serve_in_thread(make_policy(section), ListenSection(address), BatchingSection()):
    client = PolicyClient(lambda: ConnectSection(address))
    assert client.spec().chunk_len == 10
    client.close()
import ray_eval.cli
""",
    )


def test_a_worker_imports_neither_torch_nor_the_policies():
    run_without(
        {"torch"},
        """
import ray_eval.rollout.actor, ray_eval.envs.libero.env
loaded = [name for name in sys.modules if name.startswith(("ray_eval.policies", "ray_eval.serving", "ray_eval.driver"))]
assert loaded == [], loaded
""",
    )


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_no_test_joins_the_ray_that_somebody_else_left_on_the_machine(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    starts = [call for call in calls if ast.unparse(call.func) == "ray.init"]
    nameless = [call.lineno for call in starts if not call.args and "address" not in {key.arg for key in call.keywords}]
    assert nameless == [], f"{path}: ray.init says address='local', or it joins what /tmp/ray/ray_current_cluster names"
