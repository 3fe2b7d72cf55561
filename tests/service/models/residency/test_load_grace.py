"""Minimum residency: how long a model stays for the tasks that wait for it."""

from tintype.service.models.residency.load_grace import MinimumResidency


def test_minimum_residency_lasts_as_long_as_loading_did() -> None:
    """It begins when the model becomes resident, has an upper bound, and is 0 for a model that no task waited for."""
    residency = MinimumResidency(10)
    residency.record_resident("ready", 0)
    assert not residency.is_active("ready", 0)
    for now in (0, 1, 4):
        residency.record_loading("a", now)
    residency.record_resident("a", 5)
    residency.record_resident("a", 9)
    assert (residency.is_active("a", 9.9), residency.is_active("a", 10)) == (True, False)
    residency.record_loading("b", 0)
    residency.record_resident("b", 60)
    assert (residency.is_active("b", 69.9), residency.is_active("b", 70)) == (True, False)
