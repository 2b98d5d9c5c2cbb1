# SPDX-License-Identifier: Apache-2.0
"""A small share of tests/soak."""

import pytest

import soak


@pytest.fixture
def soaked(place):
    return soak.make_rootfs(place.path / "soaked")


def test_writes(hv, soaked):
    soak.writes(hv, soaked, 200, seed=7)


def test_stream(hv, soaked):
    soak.stream(hv, soaked, 200 << 20)


def test_execs(hv, soaked):
    soak.execs(hv, soaked, 500)


def test_crowd(hv, soaked):
    soak.crowd(hv, soaked, 100)
