"""“Did you mean …?”"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 100  # matching is quadratic in length; nobody mistypes a longer name


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, ignoring case; None if none is near."""
    if len(word) > _LONGEST:
        return None
    folded = {one.lower(): one for one in known}
    low = word.lower()
    # A name with something added or left out (`gpt-4.1-mini-preview`) is nearest to its longest common beginning.
    if starts := [key for key in folded if len(key) > 3 and low.startswith(key)]:
        return folded[max(starts, key=len)]
    found = difflib.get_close_matches(low, folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean `x`?)`, or a list of what there is, or nothing; to be put behind a message."""
    known = tuple(known)
    if match := nearest(word, known):
        return f" (did you mean `{match}`?)"
    if 0 < len(known) <= 12:
        return f"; known: {', '.join(known)}"
    return ""
