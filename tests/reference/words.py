"""Words of a text, and how many of them a recogniser got wrong."""

import re

SPOKEN = {"mr": "mister", "mrs": "missis", "dr": "doctor"}  # abbreviations, as a transcript spells what is said


def words(text: str) -> list[str]:
    """Lower case; apostrophes dropped; whatever is no letter or digit parts words; abbreviations as they are spoken."""
    found = re.findall(r"[^\W_]+", re.sub(r"['\u2019]", "", text.lower()))
    return [SPOKEN.get(word, word) for word in found]


def errors(reference: list[str], hypothesis: list[str]) -> int:
    """Fewest substitutions, deletions and insertions between the two (Levenshtein, 1966)."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, actual in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (expected != actual))
    return row[-1]
