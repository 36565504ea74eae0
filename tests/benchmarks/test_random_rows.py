"""The benchmark of random numbers compares the same numbers, and every side draws as many."""


def test_all_sides_are_timed(in_torch, monkeypatch):
    import random_rows

    sides = random_rows.sides_of(num_seeds=3, size=8, threads=1)  # refuses sides that differ
    found = random_rows.measured(sides, rounds=1, count=1)
    assert list(found) == ["at once", "one by one", "PyTorch, one generator"]
    assert min(found.values()) > 0
    assert sides["at once"].step().shape == (3, 8)
