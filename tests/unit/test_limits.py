"""How much of a machine is ours: control groups of both versions, nested, and Slurm's share."""

import os

import pytest

from ray_eval.driver.limits import MACHINE, control_groups, cpu_limit, memory_limit

GB = 10**9
V1_NONE = "9223372036854771712"


class Tree:
    """A /proc/self and the control groups that it speaks of, in a folder."""

    def __init__(self, folder, lines, mounts):
        self.root = folder
        self.proc = folder / "proc"
        self.proc.mkdir()
        (self.proc / "cgroup").write_text("".join(f"{line}\n" for line in lines))
        (self.proc / "mountinfo").write_text(
            "".join(f"30 24 0:26 {root} {folder / name} rw - {about}\n" for root, name, about in mounts)
        )

    def group(self, name, **values):
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        for key, value in values.items():
            (path / key.replace("_dot_", ".")).write_text(f"{value}\n")


def second(folder, path="/", root="/"):
    return Tree(folder, [f"0::{path}"], [(root, "unified", "cgroup2 cgroup2 rw,nsdelegate")])


def first(folder, path):
    lines = [f"4:memory:{path}", f"3:cpu,cpuacct:{path}", "0::/"]
    mounts = [("/", "memory", "cgroup cgroup rw,memory"), ("/", "cpu", "cgroup cgroup rw,cpu,cpuacct")]
    return Tree(folder, lines, mounts)


def test_the_smallest_limit_of_all_groups_counts(tmp_path):
    tree = second(tmp_path, "/slice/job/step")
    tree.group("unified/slice", memory_dot_max=3 * GB, memory_dot_current=GB, cpu_dot_max="150000 100000")
    tree.group("unified/slice/job", memory_dot_max="max", memory_dot_current=GB, cpu_dot_max="max 100000")
    tree.group("unified/slice/job/step", memory_dot_max=8 * GB, memory_dot_current=0)
    memory, cpus = memory_limit(tree.proc, {}), cpu_limit(tree.proc, {})
    assert (memory.available_bytes, memory.total_bytes) == (2 * GB, 3 * GB)
    assert memory.source == f"the control group {tmp_path}/unified/slice"
    assert (cpus.count, cpus.source) == (1, f"the control group {tmp_path}/unified/slice")


def test_file_pages_that_nobody_needs_are_free(tmp_path):
    tree = second(tmp_path)
    tree.group(
        "unified", memory_dot_max=3 * GB, memory_dot_current=3 * GB, memory_dot_stat=f"anon 5\ninactive_file {GB}"
    )
    assert memory_limit(tree.proc, {}).available_bytes == GB


def test_a_group_above_its_limit_leaves_nothing(tmp_path):
    tree = second(tmp_path)
    tree.group("unified", memory_dot_max=GB, memory_dot_current=2 * GB)
    assert memory_limit(tree.proc, {}).available_bytes == 0


def test_memory_high_is_a_limit_too(tmp_path):
    tree = second(tmp_path)
    tree.group("unified", memory_dot_max=3 * GB, memory_dot_high=2 * GB, memory_dot_current=0)
    assert memory_limit(tree.proc, {}).total_bytes == 2 * GB


def test_the_first_version_is_read_as_well(tmp_path):
    tree = first(tmp_path, "/docker/abc")
    tree.group("memory/docker", memory_dot_limit_in_bytes=V1_NONE, memory_dot_usage_in_bytes=GB)
    tree.group("memory/docker/abc", memory_dot_limit_in_bytes=3 * GB, memory_dot_usage_in_bytes=GB)
    tree.group("cpu/docker/abc", cpu_dot_cfs_quota_us=-1, cpu_dot_cfs_period_us=100000)
    tree.group("cpu/docker", cpu_dot_cfs_quota_us=100000, cpu_dot_cfs_period_us=100000)
    assert memory_limit(tree.proc, {}).available_bytes == 2 * GB
    assert cpu_limit(tree.proc, {}).count == 1


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/docker/abc/inner", "/docker/abc", ["unified/inner", "unified"]),  # mounted for a container
        ("/elsewhere", "/docker/abc", ["unified"]),  # a group that cannot be seen from here
        ("/", "/", ["unified"]),  # a namespace of its own
    ],
)
def test_groups_are_found_below_what_is_mounted(path, root, below, tmp_path):
    tree = second(tmp_path, path, root)
    assert list(control_groups(tree.proc, "memory")) == [tmp_path / name for name in below]


def test_without_groups_the_machine_is_the_limit(tmp_path):
    memory, cpus = memory_limit(tmp_path, {}), cpu_limit(tmp_path, {})
    assert memory.source == cpus.source == MACHINE
    assert cpus.count == len(os.sched_getaffinity(0))
    assert 0 < memory.available_bytes <= memory.total_bytes


def test_slurms_share_counts(tmp_path):
    assert cpu_limit(tmp_path, {"SLURM_CPUS_ON_NODE": "1"}).source == "Slurm (SLURM_CPUS_ON_NODE=1)"
    assert memory_limit(tmp_path, {"SLURM_MEM_PER_NODE": "100"}).available_bytes == 100 * 1024**2
    per_cpu = {"SLURM_MEM_PER_CPU": "10", "SLURM_CPUS_ON_NODE": "4"}
    assert memory_limit(tmp_path, per_cpu).available_bytes == 40 * 1024**2
    # 0 is Slurm's word for all of a node's memory.
    assert memory_limit(tmp_path, {"SLURM_MEM_PER_NODE": "0"}).source == MACHINE


def test_what_the_kernel_says_of_this_process_is_understood():
    assert memory_limit().available_bytes > 0
    assert cpu_limit().count >= 1
