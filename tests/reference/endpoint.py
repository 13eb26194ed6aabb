"""The `endpoint` decoder, written a second time so that the two can be compared.

Voice probabilities of fixed windows become utterances on the sample grid. Window k covers the samples
[WINDOW * k, WINDOW * (k + 1)); the last window of a stream is a whole one although its tail was padded with zeros.
All arithmetic is on integers; a threshold is met when the probability is equal to it or above.

States
    silence    a window with p >= threshold_on opens a candidate at the window's start.
    candidate  lives while p >= threshold_off. Once its length, up to the end of the current window, is at least
               min_speech it is speech, with the same start. A lower window before that drops it.
    speech     a window with p < threshold_off starts a silence at the window's start, unless one runs; a window with
               p >= threshold_off ends it. Once the silence, up to the end of the current window, is at least
               min_silence the utterance ends, and its speech ended where the silence began.

An utterance is [max(speech start - pad_before, end of the one before), min(speech end + pad_after, samples read)),
where the samples read are those up to the end of the current window, so that chunking changes nothing.

Max length: speech that runs, and whose utterance would reach max_length at the end of the current window, is cut at
the start of the window with the lowest p, the earliest of equals, among the windows that end at 80 % of max_length or
later. The utterance is [start, cut), without padding; speech goes on with start = cut and no padding; a silence that
runs goes on from the later of its start and the cut. What goes on and has no window of speech before its end is not an
utterance.

End of the stream: speech ends where the silence that runs began, else at the last sample. A candidate of any length is
an utterance, so that a last word is never lost.
"""

from dataclasses import dataclass

SAMPLE_RATE_HZ = 16_000
WINDOW = 512


@dataclass(frozen=True)
class Settings:
    """Keys of the `endpoint` kind, with its defaults."""

    threshold_on: float = 0.5
    threshold_off: float = 0.35
    min_speech_ms: int = 96
    min_silence_ms: int = 500
    max_length_ms: int = 15_000
    pad_before_ms: int = 200
    pad_after_ms: int = 200


def in_samples(milliseconds: int) -> int:
    """Samples in a duration; exact, for 16 kHz has 16 of them in a millisecond."""
    return milliseconds * SAMPLE_RATE_HZ // 1000


def segments(voice: list[float], total: int, settings: Settings = Settings()) -> list[tuple[int, int]]:
    """Utterances as [start, end) in samples.

    voice: probability of each window; total: samples in the stream, with WINDOW * (len(voice) - 1) < total.
    """
    if len(voice) != -(-total // WINDOW):
        raise ValueError(f"{total} samples have {-(-total // WINDOW)} windows, found {len(voice)} probabilities")
    min_speech = in_samples(settings.min_speech_ms)
    min_silence = in_samples(settings.min_silence_ms)
    max_length = in_samples(settings.max_length_ms)
    pad_before = in_samples(settings.pad_before_ms)
    pad_after = in_samples(settings.pad_after_ms)

    found: list[tuple[int, int]] = []
    state = "silence"
    speech = 0  # where the candidate or the speech began
    start = 0  # where its utterance begins: speech less the padding, or a cut
    silence: int | None = None  # where the silence inside speech began

    def close(speech_end: int, read: int) -> None:
        if speech_end > speech:
            found.append((start, min(speech_end + pad_after, read)))

    for k, p in enumerate(voice):
        begin, end = WINDOW * k, WINDOW * (k + 1)
        if state == "silence" and p >= settings.threshold_on:
            state, speech, silence = "candidate", begin, None
            start = max(speech - pad_before, found[-1][1] if found else 0, 0)
        if state == "candidate":
            if p < settings.threshold_off:
                state = "silence"
            elif end - speech >= min_speech:
                state = "speech"
        if state == "speech":
            if p >= settings.threshold_off:
                silence = None
            elif silence is None:
                silence = begin
            if silence is not None and end - silence >= min_silence:
                close(silence, min(end, total))
                state = "silence"
            elif end - start >= max_length:
                late = [j for j in range(k + 1)
                        if WINDOW * j > start and 5 * (WINDOW * (j + 1) - start) >= 4 * max_length]
                cut = WINDOW * min(late, key=lambda j: (voice[j], j))
                found.append((start, cut))
                speech = start = cut
                silence = None if silence is None else max(silence, cut)
    if state != "silence":
        close(total if silence is None else silence, total)
    return found
