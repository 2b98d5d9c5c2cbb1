# SPDX-License-Identifier: Apache-2.0
"""Fixtures. Every test has a short directory of its own, and fails if it leaves anything behind."""

import os
import pathlib
import secrets
import shutil
import subprocess
import tempfile

import pytest

pytest.register_assert_rewrite("agent", "bootports", "bridge", "containerd", "cri", "guest", "hvcat", "hvrun",
                               "shimclient", "stress", "ttrpc", "vmms", "watch")

import container
import containerd
import hvcat
import partition
import shimclient
import vmms
import watch
from agent import Agent
from hvrun import HVAGENT, HVRUN, Hvrun


class Place:
    """A test's directory; its name marks what belongs to the test: paths and container ids."""

    def __init__(self):
        self.path = pathlib.Path(f"/tmp/hv{secrets.token_hex(4)}")     # also a name for containerd
        self.path.mkdir(mode=0o700)
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
    parser.addoption("--shim", choices=["hvrun", "runc"], default="hvrun",
                     help="whose containerd shim is tested; runc's shows that the tests are right")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: more than what is run with VMs each time")
    config.addinivalue_line("markers", "alone: no partition has a part in it, so it is not run with VMs")
    config.addinivalue_line("markers", "ours(why): what runc's shim does not do, or does otherwise")
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
        elif config.getoption("--shim") == "runc" and (mark := item.get_closest_marker("ours")):
            item.add_marker(pytest.mark.skip(reason=f"not runc's shim: {mark.args[0]}"))


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
def shim_kind(request):
    """Whose shim is tested."""
    kind = request.config.getoption("--shim")
    if shimclient.missing(kind):
        pytest.skip(shimclient.missing(kind))
    if not os.access(shimclient.SHIMS[kind], os.X_OK):
        pytest.fail(f"{shimclient.SHIMS[kind]} is not built (HVRUN_BUILD)")
    return kind


@pytest.fixture(scope="session")
def shared_host(shim_kind, driver, rootfs):
    home = Place()
    made = shimclient.SharedHost(home, shim_kind, driver, rootfs)
    yield made
    left = made.stop_vm()
    shutil.rmtree(home.path)
    assert not left, f"left behind: {left}"


@pytest.fixture
def host(request, shim_kind, driver, place, rootfs):
    """containerd's place for the shims of this test; with VMs, most tests share one."""
    shared = None
    if driver != "local" and not partition.needs_its_own(request.node):
        shared = request.getfixturevalue("shared_host")
        if not shared.usable():
            shared.start_vm()
    made = shimclient.Host(place, shim_kind, driver, rootfs, shared)
    yield made
    print(bytes(made.server.log[made.silent:][-8000:]).decode(errors="replace"))
    left = made.close()
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def image(rootfs):
    """A tar with an image of busybox."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="hvimage", dir="/tmp"))
    yield containerd.write_image(path / "image.tar", rootfs)
    shutil.rmtree(path)


@pytest.fixture
def own_containerd(shim_kind, driver, image, place):
    """A containerd that the test may kill."""
    if containerd.missing():
        pytest.skip(containerd.missing())
    daemon = containerd.Containerd(place.path, shim_kind, driver, image)
    daemon.place = place
    daemon.import_image()
    yield daemon
    print(daemon.log[-8000:])
    left = daemon.close()
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def shared_containerd(shim_kind, driver, image):
    if containerd.missing():
        pytest.skip(containerd.missing())
    path = pathlib.Path(tempfile.mkdtemp(prefix="hvctr", dir="/tmp"))
    daemon = containerd.Containerd(path, shim_kind, driver, image, namespace=f"hvns{secrets.token_hex(4)}")
    daemon.import_image()
    yield daemon
    watch.keep([], "containerd")
    left = daemon.close()
    shutil.rmtree(path)
    assert not left, f"left behind: {left}"


@pytest.fixture
def ctr(request, driver, place):
    """A containerd with an image, which tests share; each removes what it made."""
    daemon = request.getfixturevalue("shared_containerd")
    daemon.share(driver != "local" and not partition.needs_its_own(request.node))
    daemon.place = place
    size = len(daemon.log)
    yield daemon
    print(daemon.log[size:][-8000:])
    left = daemon.remove_everything()
    watch.eventually(lambda: not daemon.leftovers(), 5, f"end of {daemon.leftovers()}")
    left += [line for line in watch.mounts() if str(daemon.path) in line]
    assert not left, f"left behind: {left}"


@pytest.fixture
def cats(place):
    made = hvcat.Cats(place)
    yield made
    made.close()


@pytest.fixture
def vmm(place, cats):
    """Starts VMMs: vmm(kind, …)."""
    started = []

    def start(kind, *options, folder="vm", **more):
        path = place.path / folder
        path.mkdir(mode=0o700, exist_ok=True)
        started.append(vmms.Vmm(path, kind, *options, **more))
        watch.own(started[-1].process)
        return started[-1]
    yield start
    for machine in started:
        machine.close()


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
