"""The references' own arithmetic, tried on cases small enough to check by hand: python -m unittest, in this folder."""

import unittest
from dataclasses import replace

from endpoint import WINDOW, Settings, segments
from words import errors, words

LOW, HIGH, DOUBT = 0.1, 0.9, 0.4
BARE = replace(Settings(), pad_before_ms=0, pad_after_ms=0)


class Endpoint(unittest.TestCase):
    """Windows are 32 ms, so 500 ms of silence are 16 of them and 96 ms of speech are 3."""

    CASES = [
        # name, settings, probabilities, samples missing in the last window, utterances in windows or samples
        ("nothing", BARE, [], 0, []),
        ("silence", BARE, [LOW] * 50, 0, []),
        ("doubt opens nothing", BARE, [DOUBT] * 50, 0, []),
        ("short sound is dropped", BARE, [LOW] + [HIGH] * 2 + [LOW] * 30, 0, []),
        ("shortest speech", BARE, [LOW] + [HIGH] * 3 + [LOW] * 30, 0, [(1, 4)]),
        ("doubt carries a candidate", BARE, [LOW, HIGH, DOUBT, DOUBT] + [LOW] * 30, 0, [(1, 4)]),
        ("threshold_off itself carries it", BARE, [LOW, HIGH, 0.35, 0.35] + [LOW] * 30, 0, [(1, 4)]),
        ("threshold_on itself opens it", BARE, [LOW, 0.5, DOUBT, DOUBT] + [LOW] * 30, 0, [(1, 4)]),
        ("15 windows of silence join", BARE, [HIGH] * 5 + [LOW] * 15 + [HIGH] * 5 + [LOW] * 16, 0, [(0, 25)]),
        ("16 part", BARE, [HIGH] * 5 + [LOW] * 16 + [HIGH] * 5 + [LOW] * 16, 0, [(0, 5), (21, 26)]),
        ("doubt ends a silence", BARE, [HIGH] * 5 + [LOW] * 10 + [DOUBT] + [LOW] * 16, 0, [(0, 16)]),
        ("the end in speech", BARE, [LOW] * 4 + [HIGH] * 5, 100, [(4 * WINDOW, 9 * WINDOW - 100)]),
        ("the end in a silence", BARE, [HIGH] * 5 + [LOW] * 4, 0, [(0, 5)]),
        ("the end in a candidate", BARE, [LOW] * 4 + [HIGH], 511, [(4 * WINDOW, 4 * WINDOW + 1)]),
        ("padding", Settings(), [LOW] * 10 + [HIGH] * 5 + [LOW] * 20, 0,
         [(10 * WINDOW - 3200, 15 * WINDOW + 3200)]),
        ("padding stays in the stream", Settings(), [LOW] * 2 + [HIGH] * 5 + [LOW] * 2, 5, [(0, 9 * WINDOW - 5)]),
        ("padding stays off the one before", replace(Settings(), pad_after_ms=500, pad_before_ms=500),
         [HIGH] * 5 + [LOW] * 16 + [HIGH] * 5 + [LOW] * 16, 0,
         [(0, 5 * WINDOW + 8000), (5 * WINDOW + 8000, 26 * WINDOW + 8000)]),
        # 1 s = 31.25 windows: reached at the end of the 32nd; windows 24 (ends at 25 = 80 %) to 31 may be the lowest
        ("max length cuts at the lowest", replace(BARE, max_length_ms=1000),
         [HIGH] * 26 + [0.8] + [HIGH] * 13, 0, [(0, 26), (26, 40)]),
        ("the earliest of equals", replace(BARE, max_length_ms=1000), [HIGH] * 40, 0, [(0, 24), (24, 40)]),
        ("a cut in a silence that goes on leaves no utterance", replace(BARE, max_length_ms=1000),
         [HIGH] * 22 + [LOW] * 5 + [0.05] + [LOW] * 30, 0, [(0, 27)]),
        ("a cut in a silence that ended", replace(BARE, max_length_ms=1000),
         [HIGH] * 24 + [LOW] * 4 + [HIGH] * 12, 0, [(0, 24), (24, 40)]),
    ]

    def test_cases(self):
        for name, settings, voice, missing, expected in self.CASES:
            with self.subTest(name):
                found = segments(voice, len(voice) * WINDOW - missing, settings)
                in_samples = [(a, b) if b >= WINDOW else (a * WINDOW, b * WINDOW) for a, b in expected]
                self.assertEqual(found, in_samples)

    def test_a_wrong_number_of_windows_is_refused(self):
        for total in (0, WINDOW, 3 * WINDOW):
            with self.assertRaises(ValueError):
                segments([LOW, LOW], total)


class Words(unittest.TestCase):
    """Normalisation and the count of errors."""

    def test_words(self):
        for text, expected in [
            ("", []),
            ("Mr. Dashwood's ill-disposed,", ["mister", "dashwoods", "ill", "disposed"]),
            ("In short,, 10 of\u2019em \u2014 caf\u00e9!", ["in", "short", "10", "ofem", "caf\u00e9"]),
        ]:
            self.assertEqual(words(text), expected)

    def test_errors(self):
        for said, heard, expected in [("", "", 0), ("a b c", "", 3), ("", "a b", 2), ("a b c", "a b c", 0),
                                      ("a b c", "a x c", 1), ("a b c", "b c", 1), ("a b c", "a b b c", 1)]:
            self.assertEqual(errors(said.split(), heard.split()), expected, (said, heard))


if __name__ == "__main__":
    unittest.main()
