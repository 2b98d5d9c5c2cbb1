# SPDX-License-Identifier: Apache-2.0
"""Fixtures. Every test has a short directory of its own, and fails if it leaves anything behind."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

pytest.register_assert_rewrite("agent", "bridge", "hvrun", "watch")

import container
import partition
import watch
from agent import Agent
from hvrun import HVAGENT, HVRUN, Hvrun


class Place:
    """A test's directory; its name marks what belongs to the test: paths and container ids."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="hv", dir="/tmp"))
        self.token = self.path.name

    def remains(self):
        """What is still there outside the directory."""
        found = [f"process {watch.describe(pid)}" for pid in watch.adopted()]
        found += [f"mount {line}" for line in watch.mounts() if str(self.path) in line]
        found += [f"cgroup {path}" for path in watch.cgroups(self.token)]
        return found

    def clean_by_force(self):
        """So that one failure does not become many."""
        for _ in range(50):
            if not watch.adopted():
                break
            watch.kill(watch.adopted())
            watch.time.sleep(0.02)
        for line in reversed(watch.mounts()):
            if str(self.path) in line:
                subprocess.run(["umount", "-l", line.split()[4]], check=False)
        for path in sorted(watch.cgroups(self.token), key=len, reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                pass


def pytest_addoption(parser):
    parser.addoption("--partition", choices=["local", "qemu"], default="local",
                     help="which driver hvrun's tests use (default: local)")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: more than what is run with VMs each time")
    if config.getoption("--partition") != "local":
        watch.PATIENCE = 5


def pytest_sessionstart(session):
    watch.become_subreaper()


def pytest_collection_modifyitems(config, items):
    driver = config.getoption("--partition")
    left_out = [item for item in items if not partition.belongs(item, driver)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        if os.geteuid():
            item.add_marker(pytest.mark.skip(reason="needs root"))
        elif driver != "local" and (reason := partition.reason_against(item)):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    """One that tests share: nothing may be written to it outside of mounts."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="hvroot", dir="/tmp"))
    made = container.make_rootfs(path / "rootfs")
    yield made
    clean = container.unspoilt(made)
    shutil.rmtree(path)
    assert clean, "a test has written to the shared root file system"


@pytest.fixture
def own_rootfs(rootfs, place):
    """A copy that the test may spoil."""
    assert container.unspoilt(rootfs), "an earlier test has written to the shared one"
    return container.clone_rootfs(rootfs, place.path / "rootfs")


@pytest.fixture
def place():
    here = Place()
    before = watch.adopted()
    assert not before, f"left over before the test: {before}"
    yield here
    try:
        watch.eventually(lambda: not here.remains(), 3)
    except TimeoutError:
        remains = here.remains()
        here.clean_by_force()
        shutil.rmtree(here.path, ignore_errors=True)
        pytest.fail("left behind:\n" + "\n".join(remains), pytrace=False)
    shutil.rmtree(here.path)


@pytest.fixture
def agent(place):
    """A bare agent that has dialled the host, not negotiated."""
    if not os.access(HVAGENT, os.X_OK):
        pytest.fail(f"{HVAGENT} is not built (HVRUN_BUILD)")
    guest = Agent(place)
    try:
        yield guest
        if guest.popen.poll() is None:
            guest.remove_containers()
            guest.check_clean()
            assert guest.end() == 0, "the agent's exit status"
    finally:
        guest.kill()
        print(guest.log_path.read_text(errors="replace")[-8000:])


@pytest.fixture
def plain(agent):
    """A negotiated bridge of plain mode."""
    return agent.plain()


@pytest.fixture
def session(agent):
    """A bridge in session mode, as the local driver uses it."""
    return agent.session()


@pytest.fixture(scope="session")
def driver(request):
    """The name of hvrun's partitions in this run."""
    return request.config.getoption("--partition")


@pytest.fixture(scope="session")
def shared_vm(driver, rootfs):
    vm = partition.SharedVM(lambda place: Hvrun(place, driver), rootfs)
    yield vm
    left = vm.close()
    assert not left, f"left of the shared VM: {left}"


@pytest.fixture
def vm(request, driver):
    """The shared VM for a test that can share one, or None."""
    if driver == "local" or partition.needs_its_own(request.node):
        return None
    shared = request.getfixturevalue("shared_vm")
    if not shared.usable():
        shared.stop()
        shared.start()
    return shared


@pytest.fixture
def hv(request, driver, vm, place):
    """hvrun with the partition of this run."""
    if not os.access(HVRUN, os.X_OK):
        pytest.fail(f"{HVRUN} is not built (HVRUN_BUILD)")
    runtime = Hvrun(place, driver, vm)
    yield runtime
    left = runtime.clean()
    files = runtime.leftovers()
    for path in sorted(runtime.root.rglob("agent.log")) if runtime.root.exists() else []:
        print(path, path.read_text(errors="replace")[-4000:])
    if left and vm:
        vm.stop()
    assert not left, f"cannot be deleted: {left}"
    assert not files, f"left below --root: {files}"
    if vm and runtime.used:
        vm.check()
