# SPDX-License-Identifier: Apache-2.0
"""Many connections over AF_VSOCK, in a VM, where each must be right. Run with `--partition qemu`; all of it:
`tests/soak sockets`."""

import pytest

import guest
import stress

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def vm():
    with guest.shared_vm([stress.STRESS]) as made:
        guest.load_loopback(made)
        yield made


@pytest.mark.parametrize("how", stress.IN_A_VM)
def test_many(vm, how):
    print(stress.in_a_vm(vm, how, 5000 + stress.IN_A_VM.index(how), 2000))


@pytest.mark.parametrize("how", stress.IN_A_VM)
def test_beside_silent_ones(vm, how):
    """A thousand that have connected and say nothing."""
    print(stress.in_a_vm(vm, how, 6000 + stress.IN_A_VM.index(how), 200, silent=1000))
