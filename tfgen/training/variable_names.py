"""Finding the same variable again in another process, or in a second model of this one."""

import re
from collections import Counter
from collections.abc import Sequence

# Keras numbers layers in the order they are made in a process: `dense`, `dense_1`, `dense_2`.
_NUMBER = re.compile(r"_\d+(?=$|[/_#])")


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with `#1`, `#2`, ... after the second, third, ... of equal ones."""
    seen = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}#{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return unique


def match_names(saved: Sequence[str], present: Sequence[str]) -> tuple[dict[str, str], str]:
    """Pairs the names of a file with those of a model.

    Equal names belong together. If the two sets differ, the numbers that Keras adds are ignored
    and names that are then equal are paired in the order in which they were made.

    Args:
        saved: sequence of unique names in the file.
        present: sequence of unique names in the model.

    Returns:
        The saved name of each present one, and an empty string; or an empty dict, and a
        description of the first difference.
    """
    if set(saved) == set(present):
        return {name: name for name in present}, ""
    plain_saved = dict(zip(_without_numbers(saved), saved))
    plain_present = dict(zip(_without_numbers(present), present))
    if plain_saved.keys() == plain_present.keys():
        return {name: plain_saved[plain] for plain, name in plain_present.items()}, ""
    only_saved = [name for plain, name in plain_saved.items() if plain not in plain_present]
    only_present = [name for plain, name in plain_present.items() if plain not in plain_saved]
    parts = []
    if only_saved:
        parts.append(f"only the file has {_listing(only_saved)}")
    if only_present:
        parts.append(f"only the model has {_listing(only_present)}")
    return {}, "; ".join(parts)


def _without_numbers(names):
    return unique_names([_NUMBER.sub("", name.partition("#")[0]) for name in names])


def _listing(names):
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
