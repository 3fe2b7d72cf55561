"""Shares of the CPU: whole cores, each in one share, neighbours together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tintype.service.devices.cpu_shares import Share, divide, parse_list, shares


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 8), st.integers(1, 64))
def test_cores_are_divided(sizes: list[int], count: int, quota: int) -> None:
    """Each core is one thread of one share, sizes differ by one, and all threads keep within the quota."""
    nodes = [[(100 * node + core, 100 * node + core + 50) for core in range(size)] for node, size in enumerate(sizes)]
    parts = divide(nodes, count, quota)
    assert len(parts) == count
    if count <= sum(sizes) <= quota // count:
        assert sum(part.threads for part in parts) == sum(sizes)
        assert max(part.threads for part in parts) - min(part.threads for part in parts) <= 1
    assert all(1 <= part.threads <= len(part.cpus) // 2 for part in parts)
    assert sum(part.threads for part in parts) <= max(quota, count)
    assert {cpu for part in parts for cpu in part.cpus} <= {cpu for node in nodes for core in node for cpu in core}


def test_nodes_are_kept_apart() -> None:
    """A share for each node uses only its CPUs; within a node every share may use all of them."""
    nodes = [[(0,), (1,)], [(2,), (3,)]]
    assert divide(nodes, 2, 99) == [Share((0, 1), 2), Share((2, 3), 2)]
    assert divide(nodes, 4, 99) == [Share((0, 1), 1)] * 2 + [Share((2, 3), 1)] * 2
    assert divide(nodes, 1, 3) == [Share((0, 1, 2, 3), 3)]


def test_lists_of_linux() -> None:
    """The kernel writes ranges and single numbers."""
    assert parse_list("0-3,8,10-11") == {0, 1, 2, 3, 8, 10, 11}
    assert parse_list("") == set()


def test_this_machine() -> None:
    """Two shares of this machine have CPUs and threads; by default there is a share for each of its nodes."""
    assert all(share.cpus and share.threads for share in shares(2))
    assert len(shares(0)) >= 1
