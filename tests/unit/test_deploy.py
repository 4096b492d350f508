"""The forms for clusters: read by what will read them, as far as that can be had without a cluster."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
LAUNCHED = ["cluster.yaml", "deploy/gcp.yaml", "deploy/on_premise.yaml"]
SCRIPTS = [
    "deploy/slurm.sbatch",
    "examples/quick_start.sh",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "scripts").glob("*.sh")),
]

# The fields of KubeRay that deploy/rayjob.yaml uses, and no others.
# Source: kuberay@feeaf72 helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml, version v1.
TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def exactly(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def listed(items):
    return {"type": "array", "items": items, "minItems": 1}


CONTAINER = exactly(
    ["name", "image"],
    name=TEXT,
    image=TEXT,
    resources=exactly(limits=TEXTS, requests=TEXTS),
    volumeMounts=listed(exactly(["name", "mountPath"], name=TEXT, mountPath=TEXT)),
)
VOLUME = exactly(["name"], name=TEXT, persistentVolumeClaim=exactly(["claimName"], claimName=TEXT))
POD = exactly(["spec"], spec=exactly(["containers"], containers=listed(CONTAINER), volumes=listed(VOLUME)))
WORKERS = exactly(
    ["groupName", "rayStartParams", "template"],
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=TEXTS,
    template=POD,
)
RAY_CLUSTER = exactly(
    ["rayVersion", "headGroupSpec"],
    rayVersion=TEXT,
    authOptions=exactly(mode={"enum": ["disabled", "token"]}),
    headGroupSpec=exactly(["template", "rayStartParams"], rayStartParams=TEXTS, template=POD),
    workerGroupSpecs=listed(WORKERS),
)
RAY_JOB = exactly(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=exactly(generateName=TEXT),
    spec=exactly(
        ["entrypoint", "rayClusterSpec"],
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=RAY_CLUSTER,
    ),
)


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


def installed_ray():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("ray=="))


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_clusters_form_is_one_that_ray_up_takes(name):
    validate_config(prepare_config(read(name)))


def test_a_key_that_the_launcher_does_not_know_is_found_out():
    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(prepare_config({**read("cluster.yaml"), "idle_minutes": 5}))


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_node_asks_for_a_token_and_the_dashboard_stays_on_the_head(name):
    form = read(name)
    starts = [line for key in ("head", "worker") for line in form[f"{key}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in form["file_mounts"]


@pytest.mark.parametrize("name", ["cluster.yaml", "deploy/gcp.yaml"])
def test_in_a_cloud_only_simulators_may_be_taken_away_and_no_node_is_left_stopped(name):
    form = read(name)
    assert form["provider"]["cache_stopped_nodes"] is False
    spot = {kind for kind, node in form["available_node_types"].items() if re.search("spot", str(node), re.IGNORECASE)}
    assert spot == {"simulators"}
    assert form["available_node_types"]["policy"]["resources"]["GPU"] == 1


def test_kubernetes_form_has_only_fields_that_kuberay_knows():
    Draft202012Validator(RAY_JOB).validate(read("deploy/rayjob.yaml"))


def test_kubernetes_form_names_the_ray_that_is_installed():
    assert read("deploy/rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == installed_ray()


def test_images_take_the_python_that_the_pinned_versions_are_for():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    for name in ("deploy/Dockerfile", "deploy/apptainer.def"):
        assert re.search(
            rf"^from:? +python:{re.escape(wanted)}-", (ROOT / name).read_text(), re.IGNORECASE | re.MULTILINE
        ), name


def test_what_an_image_copies_is_there():
    for line in re.findall(r"^COPY (.+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split()[:-1]), line
    files = (ROOT / "deploy/apptainer.def").read_text().split("%files")[1].split("%post")[0]
    assert all((ROOT / line.split()[0]).exists() for line in files.split("\n") if line.strip())


def lint(program, *words):
    path = shutil.which(program, path=str(Path(sys.executable).parent))
    assert path is not None, f"{program} is among the tests' requirements"
    return subprocess.run([path, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_shellcheck_has_nothing_to_say_of_any_script():
    done = lint("shellcheck", "--severity=style", *SCRIPTS)
    assert done.returncode == 0, done.stdout


def test_hadolint_has_nothing_to_say_of_the_image():
    done = lint("hadolint", "deploy/Dockerfile")
    assert done.returncode == 0, done.stdout


def faults_of(script: bytes) -> list[str]:
    """What a parser of PowerShell does not understand, and what PSScriptAnalyzer would say of words alone."""
    import tree_sitter_powershell
    from tree_sitter import Language, Parser

    tree = Parser(Language(tree_sitter_powershell.language())).parse(script)
    found, waiting = [], [tree.root_node]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {node.text[:40]!r}")
        if node.type == "command_name" and node.text.decode().lower() in ALIASES:
            found.append(f"alias {node.text.decode()}")
        waiting.extend(node.children)
    return found


ALIASES = {"cd", "ls", "echo", "cat", "cp", "rm", "mv", "dir", "gci", "iex", "iwr", "invoke-expression", "write-host"}
"""Rules AvoidUsingCmdletAliases, AvoidUsingInvokeExpression and AvoidUsingWriteHost, as far as names go."""


@pytest.mark.nightly
def test_the_quick_start_for_windows_is_powershell():
    script = (ROOT / "examples/quick_start.ps1").read_bytes()
    assert faults_of(script) == []
    assert faults_of(script.replace(b"exit 2\n}", b"exit 2\n", 1)) != []
    assert faults_of(script + b"\necho done\n") == ["alias echo"]
    batch = (ROOT / "examples/quick_start.bat").read_bytes()
    assert b"quick_start.ps1" in batch
    assert batch.count(b"\n") == batch.count(b"\r\n")
