//! Channels of interleaved sound.

use super::DspError;
use super::error::whole_frames;

/// Appends the mean over the channels of each frame of `interleaved` to `mono`; returns the number of frames.
///
/// The sum is formed in 64 bits, so it does not overflow. Fails when the samples are not whole frames.
pub fn downmix(interleaved: &[f32], channels: usize, mono: &mut Vec<f32>) -> Result<usize, DspError> {
    let frames = whole_frames(interleaved.len(), channels)?;
    if channels == 1 {
        mono.extend_from_slice(interleaved);
    } else {
        mono.extend(interleaved.chunks_exact(channels).map(|frame| {
            let sum: f64 = frame.iter().copied().map(f64::from).sum();
            (sum / channels as f64) as f32
        }));
    }
    Ok(frames)
}

/// Appends one channel, counted from 0, of each frame of `interleaved` to `mono`; returns the number of frames.
///
/// Fails when there is no such channel or the samples are not whole frames.
pub fn pick_channel(
    interleaved: &[f32],
    channels: usize,
    channel: usize,
    mono: &mut Vec<f32>,
) -> Result<usize, DspError> {
    let frames = whole_frames(interleaved.len(), channels)?;
    if channel >= channels {
        return Err(DspError::NoSuchChannel { channel, channels });
    }
    mono.extend(interleaved.iter().skip(channel).step_by(channels));
    Ok(frames)
}

/// Appends the samples of `planes`, one slice a channel, frame by frame to `interleaved`; returns the number of frames.
///
/// Fails when there is no channel or the channels differ in length.
pub fn interleave(planes: &[&[f32]], interleaved: &mut Vec<f32>) -> Result<usize, DspError> {
    whole_frames(0, planes.len())?;
    let frames = planes.first().map_or(0, |plane| plane.len());
    if let Some(plane) = planes.iter().find(|plane| plane.len() != frames) {
        return Err(DspError::WrongLength { what: "every channel", expected: frames, found: plane.len() });
    }
    interleaved.reserve(frames.saturating_mul(planes.len()));
    for frame in 0..frames {
        interleaved.extend(planes.iter().map(|plane| plane[frame]));
    }
    Ok(frames)
}

/// The samples of each channel of `interleaved`. Fails when the samples are not whole frames.
pub fn deinterleave(interleaved: &[f32], channels: usize) -> Result<Vec<Vec<f32>>, DspError> {
    whole_frames(interleaved.len(), channels)?;
    Ok((0..channels).map(|channel| interleaved.iter().skip(channel).step_by(channels).copied().collect()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn downmix_cases() {
        for (interleaved, channels, expected) in [
            (&[][..], 2, &[][..]),
            (&[1.0, -2.0, 3.0][..], 1, &[1.0, -2.0, 3.0][..]),
            (&[1.0, 3.0, -1.0, 1.0], 2, &[2.0, 0.0]),
            (&[1.0, 2.0, 6.0], 3, &[3.0]),
            (&[f32::MAX, f32::MAX], 2, &[f32::MAX]),
        ] {
            let mut mono = Vec::new();
            assert_eq!(downmix(interleaved, channels, &mut mono), Ok(expected.len()));
            assert_eq!(mono, expected);
        }
    }

    #[test]
    fn a_bad_sample_spoils_its_own_frame_only() {
        let mut mono = Vec::new();
        downmix(&[1.0, f32::NAN, 2.0, 2.0], 2, &mut mono).unwrap();
        assert!(mono[0].is_nan());
        assert_eq!(mono[1], 2.0);
    }

    #[test]
    fn pick_appends_the_channel() {
        let mut mono = vec![9.0];
        assert_eq!(pick_channel(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 1, &mut mono), Ok(2));
        assert_eq!(mono, [9.0, 2.0, 5.0]);
    }

    #[test]
    fn bad_input() {
        let mut out = Vec::new();
        assert_eq!(downmix(&[0.0; 3], 2, &mut out), Err(DspError::PartialFrame { samples: 3, channels: 2 }));
        assert!(matches!(downmix(&[], 0, &mut out), Err(DspError::OutOfRange { .. })));
        assert!(matches!(downmix(&[], usize::MAX, &mut out), Err(DspError::OutOfRange { .. })));
        assert_eq!(pick_channel(&[0.0; 2], 2, 2, &mut out), Err(DspError::NoSuchChannel { channel: 2, channels: 2 }));
        assert!(matches!(interleave(&[], &mut out), Err(DspError::OutOfRange { .. })));
        assert!(matches!(
            interleave(&[&[1.0], &[1.0, 2.0]], &mut out),
            Err(DspError::WrongLength { expected: 1, found: 2, .. })
        ));
        assert!(matches!(deinterleave(&[0.0; 5], 4), Err(DspError::PartialFrame { .. })));
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn interleave_undoes_deinterleave(channels in 1usize..9, frames in 0usize..50) {
            let samples: Vec<f32> = (0..channels * frames).map(|index| index as f32).collect();
            let planes = deinterleave(&samples, channels).unwrap();
            let planes: Vec<&[f32]> = planes.iter().map(Vec::as_slice).collect();
            let mut back = Vec::new();
            prop_assert_eq!(interleave(&planes, &mut back), Ok(frames));
            prop_assert_eq!(back, samples);
        }
    }
}
