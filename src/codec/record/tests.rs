//! Records that are written, read, cut and spoiled.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::media::{
    Affine, Audio, Classes, Custom, CustomPayload, Flags, Format, Image, Keypoint, Label, Labels, Mask, Origin, Packet,
    Payload, Piece, PixelFormat, Place, Point, Rect, Region, Regions, StreamId, Text, Transcript, View,
};
use crate::tensor::{Buffer, DType, Element, Tensor, TensorData, bf16, f16};
use crate::units::{ClockInstant, Rate, TimeSpan, Timestamp};

fn info(name: &str) -> RecordedStream {
    RecordedStream {
        name: name.into(),
        group: "room 3".into(),
        live: true,
        zero: ClockInstant::from_nanos(-7),
        wall: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789)),
        file: Some(Path::new("in/größe.wav").into()),
    }
}

fn packet(start: i64, payload: impl Into<Payload>) -> Packet {
    Packet::new(StreamId(0), Timestamp::from_nanos(start), TimeSpan::from_nanos(5), payload)
}

fn ports(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Everything about a packet but its stream, with numbers by their bits: an account of it that owes the codec nothing.
fn account(packet: &Packet) -> String {
    fn floats(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }
    fn map(map: &Affine) -> Vec<u64> {
        map.rows().as_flattened().iter().map(|value| value.to_bits()).collect()
    }
    fn pieces(pieces: &[Piece]) -> String {
        pieces.iter().fold(String::new(), |mut text, piece| {
            write!(text, "{:?} {:x} {:?} {:?};", piece.text, piece.log_probability.to_bits(), piece.start, piece.end)
                .unwrap();
            text
        })
    }
    fn label(label: &Label) -> String {
        format!("{} {:?} {:x}", label.index, label.name, label.score.to_bits())
    }
    fn region(region: &Region) -> String {
        let Rect { x, y, width, height } = region.bounds;
        let point = |point: &Point| floats(&[point.x, point.y]);
        let outline: Vec<_> = region.outline.iter().map(point).collect();
        let keypoints: Vec<_> =
            region.keypoints.iter().map(|k| (point(&k.point), k.score.to_bits(), k.name.clone())).collect();
        let mask =
            region.mask.as_ref().map(|mask| (mask.width, mask.height, mask.values.to_vec(), map(&mask.to_frame)));
        let embedding = region.embedding.as_ref().map(|values| floats(values));
        let numbers = floats(&[x, y, width, height, region.score]);
        let named = region.label.as_ref().map(label);
        format!("{numbers:?} {named:?} {outline:?} {keypoints:?} {mask:?} {:?} {embedding:?}", region.track)
    }
    let payload = match &packet.payload {
        Payload::Audio(audio) => format!("{:?} {} {:?}", audio.rate(), audio.channels(), floats(audio.samples())),
        Payload::Image(image) => {
            let place = image.place();
            let rows: Vec<_> = image.rows().collect();
            let frame = (place.frame_width, place.frame_height);
            format!(
                "{} {} {} {:?} {frame:?} {rows:?}",
                image.format(),
                image.width(),
                image.height(),
                map(&place.to_frame)
            )
        }
        Payload::Tensor(tensor) => {
            let values = match tensor.data() {
                TensorData::F16(values) => format!("{:?}", values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
                TensorData::BF16(values) => format!("{:?}", values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
                TensorData::F32(values) => format!("{:?}", floats(values)),
                TensorData::F64(values) => format!("{:?}", values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
                TensorData::I8(values) => format!("{:?}", values.to_vec()),
                TensorData::I16(values) => format!("{:?}", values.to_vec()),
                TensorData::I32(values) => format!("{:?}", values.to_vec()),
                TensorData::I64(values) => format!("{:?}", values.to_vec()),
                TensorData::U8(values) => format!("{:?}", values.to_vec()),
                TensorData::U16(values) => format!("{:?}", values.to_vec()),
                TensorData::U32(values) => format!("{:?}", values.to_vec()),
                TensorData::U64(values) => format!("{:?}", values.to_vec()),
                TensorData::Bool(values) => format!("{:?}", values.to_vec()),
                TensorData::String(values) => format!("{:?}", values.to_vec()),
            };
            format!("{} {:?} {values}", tensor.dtype(), tensor.shape())
        }
        Payload::Text(text) => format!("{:?} {}", text.text, pieces(&text.pieces)),
        Payload::Transcript(transcript) => {
            let Transcript { text, is_final, utterance, confidence, pieces: list } = transcript;
            format!("{text:?} {is_final} {utterance} {:?} {}", confidence.map(f32::to_bits), pieces(list))
        }
        Payload::Labels(labels) => labels.entries.iter().map(label).collect::<Vec<_>>().join(";"),
        Payload::Regions(regions) => {
            let list: Vec<_> = regions.entries.iter().map(region).collect();
            format!("{} {} {list:?}", regions.frame_width, regions.frame_height)
        }
        Payload::Bytes(bytes) => format!("{:?}", bytes.to_vec()),
        Payload::Custom(custom) => format!("{custom:?}"),
    };
    let Packet { sequence, start, duration, origin, flags, revision, weights, classes, view, .. } = packet;
    let names = classes.as_ref().map(Classes::names);
    format!(
        "{:?} {sequence} {start:?} {duration:?} {origin:?} {flags:?} {revision} {weights} {names:?} {view:?} {payload}",
        packet.payload.format()
    )
}

/// An account of an item.
fn told(item: &RecordItem) -> String {
    match item {
        RecordItem::Open { stream, info, formats } => format!("open {stream} {info:?} {formats:?}"),
        RecordItem::Packet { port, packet } => format!("packet {} {port} {}", packet.stream, account(packet)),
        RecordItem::Close { stream, failed } => format!("close {stream} {failed}"),
    }
}

/// All items up to the end or the first error.
fn read(bytes: &[u8]) -> (Vec<String>, Option<RecordError>) {
    let mut items = Vec::new();
    let mut reader = match RecordReader::new(bytes, Path::new("run.mcap")) {
        Ok(reader) => reader,
        Err(error) => return (items, Some(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(item)) => items.push(told(&item)),
            Ok(None) => return (items, None),
            Err(error) => {
                assert!(matches!(reader.next(), Ok(None)), "nothing comes after an error");
                return (items, Some(error));
            }
        }
    }
}

/// A record of two streams with a packet of every payload.
fn sample() -> (Vec<u8>, Vec<String>) {
    let mut writer = RecordWriter::new(Vec::new(), &ports(&["frames", "labels"])).unwrap();
    let (mut items, formats) = (Vec::new(), [Format::ANY_IMAGE, Format::Labels]);
    let classes = Classes::new(["zero", "one"].map(Arc::from));
    for name in ["a", "b"] {
        let stream = writer.open(info(name), &formats).unwrap();
        items.push(RecordItem::Open { stream, info: info(name).into(), formats: formats.to_vec() });
    }
    for (at, payload) in every_payload().into_iter().enumerate() {
        let mut packet = packet(at as i64 * 400_000_000, payload);
        packet.stream = StreamId(at as u32 % 2);
        packet.classes = (at % 3 == 0).then(|| classes.clone());
        writer.write(packet.stream.0, at % 2, &packet).unwrap();
        items.push(RecordItem::Packet { port: at % 2, packet });
    }
    for (stream, failed) in [(1, true), (0, false)] {
        writer.close(stream, failed).unwrap();
        items.push(RecordItem::Close { stream, failed });
    }
    writer.finish().unwrap();
    (writer.into_target(), items.iter().map(told).collect())
}

fn every_payload() -> Vec<Payload> {
    let piece = Piece {
        text: " word".into(),
        log_probability: -0.5,
        start: Some(Timestamp::from_nanos(-3)),
        end: Some(Timestamp::MAX),
    };
    let label = Label { index: 3, name: Some("cat".into()), score: f32::NAN };
    let mut region = Region::new(Rect { x: 1.0, y: -2.0, width: 3.5, height: f32::INFINITY }, 0.5);
    region.label = Some(label.clone());
    region.outline = [Point { x: 1.0, y: 2.0 }].into();
    region.keypoints = [Keypoint { point: Point { x: 0.0, y: -0.0 }, score: 1.0, name: None }].into();
    region.mask = Some(Mask { width: 2, height: 2, values: vec![9].into(), to_frame: Affine::scale(2.0, 3.0) });
    region.track = Some(u64::MAX);
    region.embedding = Some(vec![1.0, 2.0].into());
    let image = Image::with_stride((0..60).collect::<Vec<u8>>(), 4, 3, 20, PixelFormat::Rgba8).unwrap();
    let place = Place { to_frame: Affine::translation(0.1, 5.0), frame_width: 640, frame_height: 480 };
    let mut payloads: Vec<Payload> = vec![
        Audio::new(vec![0.0, -1.0, f32::from_bits(0x7fa0_1234), 1e-40], 2, Rate::new(30_000, 1001).unwrap())
            .unwrap()
            .into(),
        image.at(place).crop(1, 1, 2, 2).unwrap().into(),
        Text { text: "größe".into(), pieces: [piece.clone()].into() }.into(),
        Transcript { text: "".into(), is_final: true, utterance: 9, confidence: Some(0.25), pieces: [piece].into() }
            .into(),
        Labels { entries: [label, Label { index: 0, name: None, score: 0.5 }].into() }.into(),
        Regions { frame_width: 640, frame_height: 480, entries: [region, Region::new(Rect::default(), 0.0)].into() }
            .into(),
        Payload::Bytes(vec![0, 255, 7].into()),
        Payload::Bytes(Vec::new().into()),
        Tensor::new(vec![0, 3], Vec::<f32>::new()).unwrap().into(),
        Tensor::new(vec![2], vec!["".to_owned(), "ü".to_owned()]).unwrap().into(),
    ];
    payloads.extend(DType::ALL.map(|dtype| Tensor::zeros(dtype, vec![2, 1]).unwrap().into()));
    payloads
}

#[test]
fn every_payload_comes_back_and_streams_in_their_order() {
    let (bytes, expected) = sample();
    let (found, error) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(found, expected);
    assert!(found.len() > 20);
}

#[test]
fn a_record_cut_anywhere_gives_what_is_whole_and_then_says_so() {
    let (bytes, expected) = sample();
    let (mut before, mut ends) = (0, 0);
    for cut in 0..bytes.len() {
        let (found, error) = read(&bytes[..cut]);
        assert_eq!(found, expected[..found.len()], "{cut}");
        assert!(found.len() >= before, "more bytes give no fewer items: {cut}");
        ends += usize::from(found.len() > before);
        before = found.len();
        match error {
            // The ending is all that is missing: every item is there.
            None => assert_eq!(found.len(), expected.len(), "{cut}"),
            Some(RecordError::Cut { at, .. }) => assert!(at <= cut as u64, "{at} of {cut}"),
            Some(RecordError::NotRecord { .. }) => assert!(cut < 8, "{cut}"),
            Some(error) => panic!("{cut}: {error}"),
        }
    }
    assert_eq!((before, ends), (expected.len(), expected.len()), "each item comes as soon as it is whole");
}

#[test]
fn what_was_flushed_survives_without_an_ending() {
    let mut writer = RecordWriter::new(Vec::new(), &ports(&["in"])).unwrap();
    let stream = writer.open(info("a"), &[Format::Bytes]).unwrap();
    for at in 0..12 {
        writer.write(stream, 0, &packet(at * 250_000_000, Payload::Bytes(vec![at as u8].into()))).unwrap();
    }
    // A chunk is written when a second lies in it: the fifth packet, and the tenth.
    let (found, error) = read(writer.target());
    assert_eq!(found.len(), 1 + 10, "{found:?}");
    assert!(matches!(error, Some(RecordError::Cut { .. })), "{error:?}");
    writer.flush().unwrap();
    assert_eq!(read(writer.target()).0.len(), 1 + 12);
}

#[test]
fn a_finished_record_goes_on() {
    let mut writer = RecordWriter::new(Vec::new(), &ports(&["in"])).unwrap();
    let mut sizes = Vec::new();
    for round in 0..3u8 {
        let stream = writer.open(info("a"), &[Format::Bytes]).unwrap();
        assert_eq!(stream, u32::from(round));
        writer.write(stream, 0, &packet(0, Payload::Bytes(vec![round].into()))).unwrap();
        writer.close(stream, false).unwrap();
        if round == 1 {
            writer.reopen(1, &[Format::Text]).unwrap();
            writer.close(1, false).unwrap();
        }
        writer.finish().unwrap();
        writer.finish().unwrap();
        let (found, error) = read(writer.target());
        assert!(error.is_none() && found.len() == [3, 8, 11][usize::from(round)], "{round} {error:?} {found:?}");
        sizes.push(writer.target().len());
    }
    assert!(sizes.is_sorted());
}

#[test]
fn what_a_record_does_not_take() {
    #[derive(Debug)]
    struct Pose;
    impl CustomPayload for Pose {
        fn type_name(&self) -> &'static str {
            "pose"
        }
        fn byte_len(&self) -> usize {
            12
        }
    }
    for names in [&[][..], &["a", "b", "a"]] {
        assert!(matches!(RecordWriter::new(Vec::new(), &ports(names)), Err(RecordError::Ports { .. })));
    }
    let mut writer = RecordWriter::new(Vec::new(), &ports(&["in"])).unwrap();
    let bytes = || packet(0, Payload::Bytes(vec![1].into()));
    let unknown = |result: Result<(), RecordError>| assert!(matches!(result, Err(RecordError::Unknown { .. })));
    unknown(writer.write(0, 0, &bytes()));
    unknown(writer.reopen(0, &[]));
    let stream = writer.open(info("a"), &[]).unwrap();
    unknown(writer.write(stream, 1, &bytes()));
    let error = writer.write(stream, 0, &packet(0, Custom::new(Pose))).unwrap_err().to_string();
    assert_eq!(error, "a packet of the type `pose` has no form in a record; record what is made from it instead");
    writer.write(stream, 0, &bytes()).unwrap();
    writer.close(stream, false).unwrap();
    unknown(writer.close(stream, false));
    unknown(writer.write(stream, 0, &bytes()));
    writer.finish().unwrap();
    assert_eq!(read(writer.target()).0.len(), 3, "what was refused left nothing behind");
}

/// Takes `left` bytes, then says that the disk is full.
struct Small {
    left: usize,
    taken: Vec<u8>,
}

impl std::io::Write for Small {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let fits = bytes.len().min(self.left);
        if fits == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.left -= fits;
        self.taken.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl RecordTarget for Small {
    fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.taken.cut(length)
    }
}

#[test]
fn a_full_disk_takes_half_a_chunk_back_and_fails_every_later_call() {
    let mut writer = RecordWriter::new(Small { left: 6000, taken: Vec::new() }, &ports(&["in"])).unwrap();
    let stream = writer.open(info("a"), &[Format::Bytes]).unwrap();
    let mut written = 0;
    let error = loop {
        let packet = packet(written * 2_000_000_000, Payload::Bytes(vec![0; 300].into()));
        match writer.write(stream, 0, &packet) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, RecordError::Write { source } if source.kind() == std::io::ErrorKind::StorageFull));
    for result in [writer.flush(), writer.finish(), writer.close(stream, false)] {
        assert!(matches!(result, Err(RecordError::Write { .. })), "{result:?}");
    }
    let (found, error) = read(&writer.target().taken);
    assert!(written > 2 && found.len() as i64 >= written, "{written} {found:?}");
    assert!(matches!(error, Some(RecordError::Cut { .. })), "{error:?}");
}

/// The sample with the bytes `from` made `to`, and the checksums of chunks out of force.
fn spoiled(from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut bytes, _) = sample();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    without_sums(&mut bytes);
    bytes
}

/// Sets the checksums of all chunks to 0, which is none.
fn without_sums(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 9) {
        let (opcode, length) = (head[0], u64::from_le_bytes(head[1..].try_into().unwrap()));
        if opcode == 6 && bytes.len() > at + 9 + 28 {
            bytes[at + 9 + 24..at + 9 + 28].fill(0);
        }
        let Some(next) = usize::try_from(length).ok().and_then(|length| length.checked_add(at + 9)) else { return };
        at = next;
    }
}

#[test]
fn damaged_and_foreign_files_are_errors() {
    let (whole, _) = sample();
    let opened = br#""event":"open","stream":0"#;
    let mut flipped = whole.clone();
    let place = whole.windows(6).position(|window| window == "größ".as_bytes()).unwrap();
    flipped[place] ^= 1;
    let foreign = |profile: &[u8]| {
        let header = [&(profile.len() as u32).to_le_bytes()[..], profile, &0u32.to_le_bytes()].concat();
        [&whole[..8], &[1], &(header.len() as u64).to_le_bytes(), &header, &[15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
            .concat()
    };
    let chunk = |compression: &[u8], says: u64| {
        let mut content = vec![0; 16];
        content.extend(says.to_le_bytes());
        content.extend([0; 4]);
        content.extend((compression.len() as u32).to_le_bytes());
        content.extend(compression);
        content.extend(says.to_le_bytes());
        let head = foreign(b"percept");
        let head = &head[..head.len() - 13];
        [head, &[6], &(content.len() as u64).to_le_bytes(), &content].concat()
    };
    for (bytes, says) in [
        (b"RIFF".to_vec(), "expected a record (an MCAP file"),
        (foreign(b"ros2"), "was not written by percept: it does not begin with what a record holds (profile `ros2`)"),
        (foreign(b"percept"), "was not written by percept"),
        (foreign(b"\xff\xfe"), "was not written by percept"),
        (chunk(b"zstd", 0), "its chunks are compressed (zstd), and records are read plain; undo it: mcap decompress"),
        (chunk(b"", u64::MAX), "a chunk of 0 bytes says that it holds"),
        (chunk(b"", 1), "a chunk of 0 bytes says that it holds 1"),
        (flipped, "expected the checksum"),
        (
            spoiled(br#""version":1"#, br#""version":2"#),
            "expected version 1 of records, found 2; read it with a newer percept",
        ),
        (spoiled(opened, br#""event":"open","stream":7"#), "a stream with the number 7 out of order"),
        (spoiled(opened, br#""event":"oops","stream":0"#), "expected an event of a stream: unknown variant `oops`"),
        (
            spoiled(br#""event":"close","stream":1"#, br#""event":"close","stream":8"#),
            "the end of a stream 8 that never opened",
        ),
        (spoiled(br#""number":1"#, br#""number":5"#), "a list of classes with the number 5 out of order"),
        (spoiled(b"percept.Tensor", b"percept.Labels"), "damaged at byte"),
        (spoiled(b"\x07\0\0\0gr\xc3", b"\x07\0\0\0gr\xff"), "expected UTF-8 text"),
        // The length of the text before it.
        (spoiled(b"\x07\0\0\0gr\xc3", b"\xff\xff\xff\xffgr\xc3"), "expected 4294967295 bytes, found the last"),
        // A count of labels.
        (
            spoiled(b"\x02\0\0\0\x03\0\0\0\0\0\0\0\x01", b"\xff\xff\xff\xff\x03\0\0\0\0\0\0\0\x01"),
            "expected 4294967295 values",
        ),
    ] {
        let (_, error) = read(&bytes);
        let error = error.unwrap_or_else(|| panic!("expected an error: {says}")).to_string();
        assert!(error.starts_with("run.mcap: ") && error.contains(says), "{error}\n{says}");
    }
}

#[test]
fn the_index_and_the_summary_say_what_the_record_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let (bytes, expected) = sample();
    let ports = [("frames".to_owned(), Format::ANY_IMAGE), ("labels".to_owned(), Format::Labels)];
    let data_end = bytes.len() - 2000;
    for cut in [bytes.len(), bytes.len() - 1, data_end] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let summary = RecordSummary::open(&path).unwrap();
        assert_eq!((&summary.ports[..], summary.streams), (&ports[..], 2), "{cut}");
        let index = RecordIndex::open(&path).unwrap();
        assert_eq!(index.ports(), ["frames", "labels"]);
        assert_eq!((index.streams.len(), index.together), (2, 2));
        let mut packets = index.packets().unwrap();
        for (number, stream) in index.streams.iter().enumerate() {
            let found: Vec<_> = stream
                .steps
                .iter()
                .map(|step| match step {
                    RecordStep::Open(formats) => format!("open {number} {:?} {formats:?}", stream.info),
                    RecordStep::Packet(place) => {
                        let packet = packets.read(place).unwrap();
                        format!("packet #{number} {} {}", place.port, account(&packet))
                    }
                })
                .collect();
            let own = |text: &&String| {
                text.starts_with(&format!("open {number} ")) || text.starts_with(&format!("packet #{number} "))
            };
            let expected: Vec<_> = expected.iter().filter(own).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected[..found.len()]);
            if cut == bytes.len() {
                assert_eq!((found.len(), stream.ended), (expected.len(), Some(number == 1)));
                assert!(index.fault.is_none() && summary.whole);
            }
        }
    }
    assert!(RecordIndex::open(&folder.path().join("gone")).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn what_streams_do_not_share_is_unknown_in_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let audio = |hz, channels| Format::audio(Rate::hz(hz).ok(), Some(channels));
    for finish in [true, false] {
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = RecordWriter::new(file, &ports(&["audio", "other"])).unwrap();
        for hz in [8000, 16_000] {
            let stream = writer.open(info("a"), &[audio(hz, 1), Format::Text]).unwrap();
            writer.close(stream, false).unwrap();
        }
        writer.flush().unwrap();
        if finish {
            writer.finish().unwrap();
        }
        let summary = RecordSummary::open(&path).unwrap();
        let format = Format::audio(None, Some(1));
        assert_eq!(summary.ports, [("audio".to_owned(), format), ("other".to_owned(), Format::Text)]);
        assert_eq!((summary.whole, summary.streams), (finish, 2));
        assert_eq!(RecordIndex::open(&path).unwrap().together, 1);
    }
}

fn number() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits)
}

fn map() -> impl Strategy<Value = Affine> {
    let row = || prop::array::uniform3(any::<u64>().prop_map(f64::from_bits));
    [row(), row()].prop_map(Affine::new)
}

fn piece() -> impl Strategy<Value = Piece> {
    let time = || option::of(any::<i64>().prop_map(Timestamp::from_nanos));
    (".{0,5}", number(), time(), time()).prop_map(|(text, log_probability, start, end)| Piece {
        text: text.into(),
        log_probability,
        start,
        end,
    })
}

fn label() -> impl Strategy<Value = Label> {
    (any::<usize>(), option::of(".{0,5}"), number()).prop_map(|(index, name, score)| Label {
        index,
        name: name.map(Arc::from),
        score,
    })
}

fn region() -> impl Strategy<Value = Region> {
    let point = || (number(), number()).prop_map(|(x, y)| Point { x, y });
    let keypoint = (point(), number(), option::of(".{0,5}"));
    let mask = (any::<u32>(), any::<u32>(), vec(any::<u8>(), 0..5), map());
    (
        (prop::array::uniform5(number()), option::of(label()), vec(point(), 0..4)),
        (vec(keypoint, 0..3), option::of(mask), option::of(any::<u64>()), option::of(vec(number(), 0..4))),
    )
        .prop_map(|(([x, y, width, height, score], label, outline), (keypoints, mask, track, embedding))| {
            let mut region = Region::new(Rect { x, y, width, height }, score);
            region.label = label;
            region.outline = outline.into();
            let keypoint =
                |(point, score, name): (_, _, Option<String>)| Keypoint { point, score, name: name.map(Arc::from) };
            region.keypoints = keypoints.into_iter().map(keypoint).collect();
            region.mask =
                mask.map(|(width, height, values, to_frame)| Mask { width, height, values: values.into(), to_frame });
            region.track = track;
            region.embedding = embedding.map(Buffer::from);
            region
        })
}

fn tensor() -> impl Strategy<Value = Payload> {
    fn of<T: Element>(element: impl Strategy<Value = T> + Clone + 'static) -> BoxedStrategy<Payload> {
        vec(0usize..4, 0..4)
            .prop_flat_map(move |shape| {
                let count = shape.iter().product::<usize>();
                (Just(shape), vec(element.clone(), count))
            })
            .prop_map(|(shape, elements)| Tensor::new(shape, elements).unwrap().into())
            .boxed()
    }
    prop_oneof![
        of(any::<u16>().prop_map(f16::from_bits as fn(u16) -> f16)),
        of(any::<u16>().prop_map(bf16::from_bits as fn(u16) -> bf16)),
        of(any::<u32>().prop_map(f32::from_bits as fn(u32) -> f32)),
        of(any::<u64>().prop_map(f64::from_bits as fn(u64) -> f64)),
        of(any::<i8>()),
        of(any::<i16>()),
        of(any::<i32>()),
        of(any::<i64>()),
        of(any::<u8>()),
        of(any::<u16>()),
        of(any::<u32>()),
        of(any::<u64>()),
        of(any::<bool>()),
        of("[a-zäß]{0,5}"),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let rate = (1u32.., 1u32..).prop_map(|(numerator, denominator)| Rate::new(numerator, denominator).unwrap());
    let audio = (rate, 1u16..5, 0usize..5).prop_flat_map(|(rate, channels, frames)| {
        vec(number(), frames * usize::from(channels))
            .prop_map(move |samples| Payload::from(Audio::new(samples, channels, rate).unwrap()))
    });
    let pixels = prop_oneof![Just(PixelFormat::Gray8), Just(PixelFormat::Rgb8), Just(PixelFormat::Rgba8)];
    let image = (pixels, 1u32..6, 1u32..6, 0usize..4, map(), any::<[u32; 2]>(), any::<u8>()).prop_map(
        |(format, width, height, gap, to_frame, [frame_width, frame_height], seed)| {
            let stride = width as usize * format.bytes() + gap;
            let bytes: Vec<u8> = (0..stride * height as usize).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
            let image = Image::with_stride(bytes, width, height, stride, format).unwrap();
            Payload::from(image.at(Place { to_frame, frame_width, frame_height }))
        },
    );
    let text = (".{0,9}", vec(piece(), 0..3))
        .prop_map(|(text, pieces)| Payload::from(Text { text: text.into(), pieces: pieces.into() }));
    let transcript = (".{0,9}", any::<bool>(), any::<u64>(), option::of(number()), vec(piece(), 0..3)).prop_map(
        |(text, is_final, utterance, confidence, pieces)| {
            let (text, pieces) = (text.into(), pieces.into());
            Payload::from(Transcript { text, is_final, utterance, confidence, pieces })
        },
    );
    let labels = vec(label(), 0..4).prop_map(|entries| Payload::from(Labels { entries: entries.into() }));
    let regions = (any::<[u32; 2]>(), vec(region(), 0..3)).prop_map(|([frame_width, frame_height], entries)| {
        Payload::from(Regions { frame_width, frame_height, entries: entries.into() })
    });
    let bytes = vec(any::<u8>(), 0..9).prop_map(|bytes| Payload::Bytes(bytes.into()));
    prop_oneof![audio, image, tensor(), text, transcript, labels, regions, bytes]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let classes = option::of(vec("[a-c]{0,2}", 0..3));
    let head = (any::<u64>(), any::<i64>(), any::<i64>(), any::<(u64, u32, u32)>());
    let view = option::of((any::<[u32; 4]>(), map()));
    (payload(), head, any::<[bool; 4]>(), any::<[u32; 2]>(), classes, view).prop_map(
        |(
            payload,
            (sequence, start, duration, origin),
            [gap, partial, expected_final, late],
            numbers,
            classes,
            view,
        )| {
            let mut packet = packet(start, payload);
            packet.sequence = sequence;
            packet.duration = TimeSpan::from_nanos(duration);
            packet.origin = Origin { sequence: origin.0, part: origin.1, of: origin.2 };
            packet.flags = Flags { gap, partial, expected_final, late };
            [packet.revision, packet.weights] = numbers;
            packet.view = view.map(|([width, height, frame_width, frame_height], to_frame)| {
                Arc::new(View { width, height, place: Place { to_frame, frame_width, frame_height } })
            });
            packet.classes = classes.map(|names| Classes::new(names.into_iter().map(Arc::from)));
            packet
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_packets_come_back_bit_for_bit(packets in vec((any_packet(), 0usize..3, 0u32..2), 0..12)) {
        let mut writer = RecordWriter::new(Vec::new(), &ports(&["a", "b", "c"])).unwrap();
        let mut expected = Vec::new();
        for name in ["s", "t"] {
            let stream = writer.open(info(name), &[]).unwrap();
            let formats = vec![Format::Any; 3];
            expected.push(told(&RecordItem::Open { stream, info: info(name).into(), formats }));
        }
        for (mut packet, port, stream) in packets {
            writer.write(stream, port, &packet).unwrap();
            packet.stream = StreamId(stream);
            expected.push(told(&RecordItem::Packet { port, packet }));
        }
        writer.finish().unwrap();
        let (found, error) = read(writer.target());
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_spoiled_record_is_read_or_refused(
        spots in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), sums in any::<bool>(), cut in option::of(any::<prop::sample::Index>()),
    ) {
        let (mut bytes, expected) = sample();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if !sums {
            without_sums(&mut bytes);
        }
        for (spot, value) in spots {
            if !bytes.is_empty() {
                let place = spot.index(bytes.len());
                bytes[place] = value;
            }
        }
        let (found, error) = read(&bytes);
        // Events are no packets of the file's own: with checksums in force, only what was written is told.
        if sums && error.is_none() {
            prop_assert_eq!(&found[..found.len().min(expected.len())], &expected[..found.len().min(expected.len())]);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mcap");
        std::fs::write(&path, &bytes).unwrap();
        // Neither panics, whatever it finds.
        let _ = RecordSummary::open(&path);
        if let Ok(index) = RecordIndex::open(&path) {
            let mut packets = index.packets().unwrap();
            for step in index.streams.iter().flat_map(|stream| &stream.steps) {
                if let RecordStep::Packet(place) = step {
                    let _ = packets.read(place);
                }
            }
        }
    }
}
