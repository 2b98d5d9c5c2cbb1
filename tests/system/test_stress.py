# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand connections, a hundred at the same time, each of which must be right; on sockets of this machine.
In a VM: test_vsock_stress.py. All of it: `tests/soak sockets`."""

import os
import subprocess

import pytest

import hvcat
import stress
import vmms
import watch


@pytest.fixture
def folder(place):
    if not os.access(stress.STRESS, os.X_OK):
        pytest.fail(f"{stress.STRESS} is not built (HVRUN_BUILD)")
    path = place.path / "stress"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(params=["openvmm", "firecracker", "vhost-device-vsock"])
def machine(request, folder):
    made = vmms.Vmm(folder, request.param, dial=[5000])
    watch.own(made.process)
    yield made
    made.close()


@pytest.mark.parametrize("how", [stress.unix, stress.hybrid], ids=["unix", "hybrid"])
def test_all(folder, how):
    print(how(folder, stress.FULL))


@pytest.mark.parametrize("how", [stress.unix, stress.hybrid], ids=["unix", "hybrid"])
def test_beside_silent_ones(folder, how):
    """A thousand that have connected and say nothing."""
    print(how(folder, 1000, silent=1000))


@pytest.mark.parametrize("direction", ["the host dials", "the guest dials"])
def test_through_a_vmm(machine, direction):
    count = stress.FULL // 10
    # 1023 is what a VMM may have.
    print(stress.through(machine, direction, count, silent=800))


def test_through_hvcat(folder):
    print(stress.relay(folder, stress.FULL // 10))


def test_commands(folder):
    """A process for each connection."""
    with subprocess.Popen([hvcat.HVCAT, "-l", "-k", "-e", "exec cat", f"unix://{folder}/u"],
                          preexec_fn=hvcat.without_vsock) as process:
        try:
            watch.own(process)
            watch.eventually((folder / "u").exists)
            print(stress.client(f"unix://{folder}/u", count=1000))
            watch.eventually(lambda: not watch.children(process.pid))
        finally:
            process.terminate()


def test_it_can_fail(folder):
    """A peer that loses a byte, adds one, changes one, or hangs is found."""
    for fault, said in (("head -c 1000", "ended early"), ("cat; echo x", "more came than was sent"),
                        ("tr '\\000-\\377' '\\001-\\377\\000'", "the checksums differ"),
                        ("sleep 100", "takes too long")):
        process = watch.own(subprocess.Popen([hvcat.HVCAT, "-l", "-k", "-e", fault, f"unix://{folder}/u"],
                                             preexec_fn=hvcat.without_vsock))
        try:
            watch.eventually((folder / "u").exists)
            done = subprocess.run([stress.STRESS, "-n", "10", "-p", "5", "-t", "1", f"unix://{folder}/u"],
                                  preexec_fn=hvcat.without_vsock, capture_output=True, text=True, timeout=30)
            assert done.returncode == 1 and (said in done.stderr or fault == "head -c 1000"), (fault, done)
        finally:
            process.terminate()
            process.wait()
            watch.kill(watch.adopted())
