//! Frozen values of librosa and Kaldi, made by `tests/reference/dsp.py`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{MelNorm, MelScale};

/// A filterbank and its dense weights, bands × bins.
#[derive(Deserialize)]
pub(super) struct Filterbank {
    pub(super) sample_rate_hz: u32,
    pub(super) fft_size: usize,
    pub(super) bands: usize,
    pub(super) min_hz: f64,
    pub(super) max_hz: f64,
    pub(super) scale: MelScale,
    pub(super) norm: MelNorm,
    pub(super) weights: Vec<f32>,
}

/// Log-mel features of [`signal`], frames × bands.
#[derive(Deserialize)]
pub(super) struct Features {
    pub(super) frames: usize,
    pub(super) bands: usize,
    pub(super) values: Vec<f32>,
}

pub(super) fn filterbanks() -> Vec<Filterbank> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dsp/mel_filterbank.json"));
    serde_json::from_str(text).unwrap()
}

pub(super) fn log_mels() -> BTreeMap<String, Features> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dsp/log_mel.json"));
    serde_json::from_str(text).unwrap()
}

/// The input of the reference: a rising sawtooth in noise, with a gap of silence. Exact in 16 bits.
pub(super) fn signal() -> Vec<f32> {
    let mut state = 12_345u32;
    (0..4000i32)
        .map(|n| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let noise = (state >> 16) as i32 % 2048 - 1024;
            let tone = n * (200 + n / 8) % 16_384 - 8192;
            if (1500..2300).contains(&n) { 0.0 } else { (tone + noise) as f32 / 32_768.0 }
        })
        .collect()
}
