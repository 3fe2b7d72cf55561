"""Minimum residency: how long a model stays for the tasks that wait for it."""

from tintype.service.models.residency.load_grace import MinimumResidency


def test_minimum_residency_lasts_as_long_as_loading_did() -> None:
    """It begins when the model becomes resident, has an upper bound, and is 0 for a model that no task waited for."""
    residency = MinimumResidency(10)
    residency.note_resident("ready", 0)
    assert not residency.lasts("ready", 0)
    for now in (0, 1, 4):
        residency.note_loading("a", now)
    residency.note_resident("a", 5)
    residency.note_resident("a", 9)
    assert (residency.lasts("a", 9.9), residency.lasts("a", 10)) == (True, False)
    residency.note_loading("b", 0)
    residency.note_resident("b", 60)
    assert (residency.lasts("b", 69.9), residency.lasts("b", 70)) == (True, False)
