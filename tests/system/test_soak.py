# SPDX-License-Identifier: Apache-2.0
"""The soaks of tests/soak, shortly."""

import pytest

import soak

SHORT = {"burst": 100, "stalled": 20, "execs": 300, "runs": 120, "stdin": 300 * 1000 ** 2, "kills": 25}


@pytest.fixture
def world(place, hv, own_rootfs):
    made = soak.World(place, hv, own_rootfs)
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.parametrize("name", SHORT)
def test_soak(world, name):
    size = SHORT[name] // 10 if world.hv.in_vm and name in ("runs", "stdin") else SHORT[name]
    print(soak.SOAKS[name][0](world, size))
