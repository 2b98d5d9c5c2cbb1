# SPDX-License-Identifier: Apache-2.0
"""The VM that tests share under `--partition qemu`, and which tests have one of their own or none.

A VM takes seconds to boot under emulation, so most tests put their containers into one that is there
already, as --pod does; what it holds is compared before and after each of them.
"""

import json
import pathlib
import shutil
import tempfile

import pytest

import container
import watch

# Tests of hvrun, which are run with every driver. The others are about an agent alone.
OF_HVRUN = ("test_cli", "test_clients", "test_cri", "test_ctr", "test_docker", "test_host_review",
            "test_mount_namespace", "test_sandbox_api", "test_shares", "test_soak", "test_spec",
            "test_spec_members", "test_task_api", "test_terminal")
OF_VMS = ("test_vm", "test_vm_plain", "test_vm_review", "test_vm_scratch", "test_vsock", "test_vsock_stress")

# Tests that are about partitions. "file::test", or with its parameters.
OWN = {
    "test_cli::test_death",
    "test_cli::test_death_and_a_new_container_of_the_same_name",
    "test_cli::test_list",
    "test_cli::test_long_root",
    "test_cli::test_pod",
    "test_cli::test_pod_by_annotations",
    "test_cli::test_sandbox_process_ends_with_its_last_container",
    "test_cli::test_state_directory_is_private",
    "test_cli::test_terminate_the_sandbox_process",
    "test_clients::test_cri_o_pod_without_an_infra_container",
    "test_clients::test_podman_after_a_death",
    "test_ctr::test_configuration",
    "test_ctr::test_machine_killed",
    "test_ctr::test_shim_by_its_client",
    "test_ctr::test_shim_killed",
    "test_ctr::test_the_same_name_in_two_namespaces",
    "test_ctr::test_wrong_configuration",
    "test_host_review::test_no_descriptors_left",
    "test_host_review::test_partition_that_does_not_answer",
    "test_host_review::test_paused_when_something_dies",
    "test_host_review::test_pod_that_ends_while_it_is_joined",
    "test_host_review::test_starter_killed",
    "test_task_api::test_daemon",
    "test_task_api::test_delete_in_a_group",
    "test_task_api::test_group",
    "test_task_api::test_life",
    "test_task_api::test_log",
    "test_task_api::test_machine_killed",
    "test_task_api::test_shim_killed",
    "test_task_api::test_shim_terminated",
    "test_terminal::test_restored_when_the_sandbox_process_dies",
}

# Tests that make no sense with a VM, each with the fact that makes it so.
NOT_IN_A_VM = {
    "test_cli::test_agent_that_cannot_start": "a VM's agent is in its image; see test_vm.py for its parts",
    "test_clients::test_podman_looks_at_a_container": "podman looks into /proc and the cgroups of the host",
    "test_clients::test_proxy_is_in_the_containers_place": "namespaces and cgroups of a VM are none of the host's",
    "test_host_review::test_log_on_a_full_disk":
        "where / is no shared mount, what is mounted later is not seen by who serves a VM",
    **{f"test_host_review::test_killed_at_any_time[{command}-{victim}]":
       "what is killed is no process of the host, or the VM: test_vm.py kills these"
       for command in ("create", "run", "run -d", "run briefly", "start", "exec", "exec -d", "kill", "delete",
                       "delete --force")
       for victim in ("sandbox", "agent", "init")},
    "test_host_review::test_limit_of_open_files": "limits of a process of the host do not reach a VM",
    "test_host_review::test_sandbox_killed_when_it_has_made_a_container": "cgroups of a VM go with it",
    "test_mount_namespace::test_root_of_the_agent": "the path / is the host's, not the VM's",
    "test_mount_namespace::test_terminal_of_the_agent": "the path / is the host's, not the VM's",
    "test_mount_namespace::test_mounts_in_a_joined_namespace[what4-stat -c %u:%g /mnt/only-500:500]":
        "Linux 6.1 maps no ids on virtiofs",
    "test_mount_namespace::test_the_joined_container_goes_first":
        "what a container has of the host goes with it, also for those who have joined it",
    "test_soak::test_soak[kills]": "what is killed is no process of the host, or the VM: test_vm.py kills these",
    "test_spec::test_exec_cpu_affinity": "the shared VM has one CPU; test_vm.py has one with two",
    "test_spec::test_id_mapped_mount": "Linux 6.1 maps no ids on virtiofs",
    "test_spec::test_namespace_by_path[network]":
        "a network namespace of the host is no VM's: it gets its own, see test_vm.py",
    "test_spec::test_wrong_namespace_path[network-/nonexistent/ns-/nonexistent/ns]":
        "a network namespace of the host is no VM's: its path says nothing, see test_vm.py",
    "test_spec::test_pid_in_a_hook_on_the_host": "namespaces of a VM cannot be entered from the host",
}


def names(item):
    """What a test may be called in the tables above."""
    module = item.module.__name__
    return f"{module}::{item.name}", f"{module}::{item.name.partition('[')[0]}"


def belongs(item, driver):
    module = item.module.__name__
    if driver == "local":
        return module not in OF_VMS
    return module in OF_HVRUN + OF_VMS and "agent" not in item.fixturenames and \
        not item.get_closest_marker("alone")


def needs_its_own(item):
    return item.module.__name__ in OF_VMS + ("test_sandbox_api",) or any(name in OWN for name in names(item))


def reason_against(item):
    return next((NOT_IN_A_VM[name] for name in names(item) if name in NOT_IN_A_VM), None)


# What is asked of the shared VM before and after each test. Numbers of kernel threads, of our own
# processes and of mounts come and go, so they are left out.
LOOK = """
for p in /proc/[0-9]*; do
	pid=${p#/proc/}
	read -r line < $p/stat 2>/dev/null || continue
	set -- ${line##*) }
	[ $2 = 2 ] || [ $pid = 2 ] || [ $pid = $$ ] || [ $2 = $$ ] || echo process ${line%%)*}
done
while read -r id parent device root point rest; do echo mount $root $point; done < /proc/1/mountinfo
for g in /sys/fs/cgroup/*/ /sys/fs/cgroup/*/*/ /sys/fs/cgroup/*/*/*/; do [ -d $g ] && echo cgroup $g; done
for f in /run/* /run/*/* /tmp/*; do echo file $f; done
n=0; for f in /proc/1/fd/*; do n=$((n+1)); done; echo open files of the agent: $n
"""


class SharedVM:
    """A VM with a container that sleeps, in a --root that all tests use."""

    def __init__(self, make, rootfs):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="hvvm", dir="/tmp"))
        self.root = self.path / "r"
        self.base = f"{self.path.name}-base"
        self.hv = make(self)
        self.hv.root = self.root
        self.rootfs = rootfs
        self.pids = set()

    @property
    def token(self):
        return self.path.name

    def start(self):
        bundle = container.write_bundle(self.path / "b", container.config("sleep", "100000",
                                                                          rootfs=self.rootfs))
        self.hv.run("run", "-d", "--bundle", bundle, self.base, timeout=60)
        record = json.loads((self.root / "partitions" / self.base / "sandbox.json").read_text())
        self.sandbox = record["Pid"]
        self.pids = set(watch.adopted())
        watch.keep(self.pids)
        self.files = set(self.names())
        self.before = self.look()

    def outside(self, *words):
        """What a command in the VM prints."""
        return self.hv.run("exec", "--vm", self.base, *words).stdout

    def names(self):
        return [str(path.relative_to(self.root)) for path in self.root.rglob("*")]

    def usable(self):
        """It is there. Whether it answers was found out after the test before."""
        return self.pids and watch.stat(self.sandbox)

    def look(self):
        """What there is in the VM, and of it on the host."""
        found = self.outside("sh", "-c", LOOK).splitlines()
        found += [f"share {line.split()[4]}" for line in watch.mounts(self.sandbox)
                  if str(self.root) in line]
        return sorted(found + [f"open files of the sandbox process: {len(watch.fds(self.sandbox))}"])

    def remains(self):
        """Whatever is there and was not, or is not there any more."""
        now = self.look()
        return [f"in the VM: {line}" for line in now if now.count(line) > self.before.count(line)] + \
            [f"no longer in the VM: {line}" for line in self.before if line not in now]

    def check(self):
        """A test leaves it as it was, or the next one gets another."""
        try:
            watch.eventually(lambda: not self.remains(), 1)
        except TimeoutError:
            remains = self.remains()
            self.stop()
            pytest.fail("left behind:\n" + "\n".join(remains), pytrace=False)
        except AssertionError as error:
            self.stop()
            pytest.fail(f"the VM does not answer after the test: {error}", pytrace=False)

    def stop(self):
        """The end of it, by force if need be; what cannot be removed."""
        if not self.pids:
            return []
        result = self.hv.run("delete", "--force", self.base, status=None, timeout=6)
        kept, self.pids = self.pids, set()
        watch.keep(set())
        try:
            watch.eventually(lambda: not watch.adopted(), 1)
        except TimeoutError:
            pass
        left = [watch.describe(pid) for pid in kept if watch.stat(pid)]
        watch.kill(kept)
        watch.eventually(lambda: not any(watch.stat(pid) for pid in kept), 2)
        if left:
            for cid in self.hv.run("list", "-q").stdout.split():
                self.hv.run("delete", "--force", cid, status=None)
        left += [name for name in self.names() if name not in ("containers", "partitions", "kvm")]
        return left + ([repr(result)] if result.returncode else [])

    def close(self):
        left = self.stop()
        shutil.rmtree(self.path, ignore_errors=True)
        return left
