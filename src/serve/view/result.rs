//! What a page shows of a packet with a result.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use crate::media::{Label, Packet, Payload, Region};

/// Labels and regions that are shown of one packet.
const SHOWN: usize = 20;

/// Characters of a text that are shown.
const SHOWN_TEXT: usize = 4000;

/// A result for the page.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The name under which a later revision replaces it.
    pub key: Option<Arc<str>>,
    /// What the page is told.
    pub json: Arc<str>,
}

/// A result as the page is told of it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    port: usize,
    stream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    start: f64,
    end: f64,
    partial: bool,
    #[serde(skip_serializing_if = "is_zero")]
    weights: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<ShownLabel<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<ShownRegion<'a>>>,
    /// Width and height of the frame that the regions lie in.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<(u32, u32)>,
}

#[derive(Debug, Serialize)]
struct ShownLabel<'a> {
    index: usize,
    name: Option<&'a str>,
    score: f32,
}

#[derive(Debug, Serialize)]
struct ShownRegion<'a> {
    /// Left, top, width, height.
    bounds: [f32; 4],
    score: f32,
    label: Option<ShownLabel<'a>>,
    track: Option<u64>,
    keypoints: Vec<(f32, f32)>,
}

fn is_zero(weights: &u32) -> bool {
    *weights == 0
}

/// How sure the model is of a result, where it tells.
pub(super) fn confidence(payload: &Payload) -> Option<f32> {
    match payload {
        Payload::Transcript(transcript) => transcript.confidence,
        Payload::Labels(labels) => labels.entries.first().map(|label| label.score),
        Payload::Regions(regions) => regions.entries.first().map(|region| region.score),
        _ => None,
    }
}

impl Entry {
    /// What is shown of a packet; `None` where it carries no result.
    pub fn of(port: usize, stream: &str, packet: &Packet) -> Option<Entry> {
        let (mut key, mut text, mut labels, mut regions, mut frame) = (None, None, None, None, None);
        let mut partial = packet.flags.partial;
        match &packet.payload {
            Payload::Transcript(transcript) => {
                partial |= !transcript.is_final;
                key = Some(transcript.utterance.to_string());
                text = Some(shortened(&transcript.text));
            }
            Payload::Text(found) => {
                key = Some(packet.start.as_nanos().to_string());
                text = Some(shortened(&found.text));
            }
            Payload::Labels(found) => labels = Some(found.entries.iter().take(SHOWN).map(ShownLabel::of).collect()),
            Payload::Regions(found) => {
                regions = Some(found.entries.iter().take(SHOWN).map(ShownRegion::of).collect());
                frame = Some((found.frame_width, found.frame_height));
            }
            _ => return None,
        }
        let key: Option<Arc<str>> = key.map(|key| format!("{port}-{}-{key}", packet.stream.0).into());
        let shown = Shown {
            port,
            stream,
            key: key.as_deref(),
            start: packet.start.as_seconds(),
            end: packet.end().as_seconds(),
            partial,
            weights: packet.weights,
            confidence: confidence(&packet.payload).filter(|sure| sure.is_finite()),
            text,
            labels,
            regions,
            frame,
        };
        let json = serde_json::to_string(&shown).ok()?.into();
        Some(Entry { key, json })
    }

    /// Takes the place of the entry that it replaces, where one is among the newest.
    pub fn replaces_in(&self, entries: &mut VecDeque<Entry>) -> bool {
        let Some(key) = &self.key else { return false };
        let older = entries.iter_mut().rev().take(16).find(|older| older.key.as_ref() == Some(key));
        older.map(|older| *older = self.clone()).is_some()
    }
}

/// The beginning of a text.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(SHOWN_TEXT).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

impl<'a> ShownLabel<'a> {
    fn of(label: &'a Label) -> Self {
        ShownLabel { index: label.index, name: label.name.as_deref(), score: label.score }
    }
}

impl<'a> ShownRegion<'a> {
    fn of(region: &'a Region) -> Self {
        let bounds = region.bounds;
        ShownRegion {
            bounds: [bounds.x, bounds.y, bounds.width, bounds.height],
            score: region.score,
            label: region.label.as_ref().map(ShownLabel::of),
            track: region.track,
            keypoints: region.keypoints.iter().take(SHOWN).map(|point| (point.point.x, point.point.y)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{StreamId, Transcript};
    use crate::tensor::Tensor;
    use crate::units::{TimeSpan, Timestamp};

    fn packet(payload: impl Into<Payload>) -> Packet {
        Packet::new(StreamId(4), Timestamp::from_nanos(1_500_000_000), TimeSpan::from_millis(500), payload)
    }

    fn transcript(text: &str, is_final: bool) -> Packet {
        let pieces = Arc::default();
        packet(Transcript { text: text.into(), is_final, utterance: 7, confidence: Some(0.5), pieces })
    }

    #[test]
    fn a_transcript_replaces_its_partial() {
        let mut entries = VecDeque::new();
        let partial = Entry::of(2, "a <b>", &transcript("he", false)).unwrap();
        assert!(!partial.replaces_in(&mut entries));
        entries.push_back(partial);
        let whole = Entry::of(2, "a <b>", &transcript("\"hello\"\n", true)).unwrap();
        assert!(whole.replaces_in(&mut entries));
        assert_eq!(entries.len(), 1);
        assert_eq!(
            &*entries[0].json,
            r#"{"port":2,"stream":"a <b>","key":"2-4-7","start":1.5,"end":2.0,"partial":false,"confidence":0.5,"text":"\"hello\"\n"}"#
        );
        assert!(!entries[0].json.contains('\n'), "a line of an event is one line");
    }

    #[test]
    fn what_is_no_result_is_not_shown_and_nan_is_null() {
        assert!(Entry::of(0, "s", &packet(Tensor::scalar(1.0f32))).is_none());
        let label = Label { index: 3, name: None, score: f32::NAN };
        let labels = packet(crate::media::Labels { entries: [label].into() });
        let entry = Entry::of(0, "s", &labels).unwrap();
        assert!(entry.json.ends_with(r#""labels":[{"index":3,"name":null,"score":null}]}"#), "{}", entry.json);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = "ü".repeat(2 * SHOWN_TEXT);
        assert_eq!(shortened(&long).chars().count(), SHOWN_TEXT);
        assert_eq!(shortened("short"), "short");
    }
}
