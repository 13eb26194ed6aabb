//! The kind as a whole: heads, suppression, the way back to the frame, and everything that is refused.

use super::super::trial::{open, packet, read, regions, seen};
use super::*;
use crate::media::{Place, Rect};

/// A picture of 8 × 4 pixels, twice as large in the frame, where it starts at (100, 50).
fn crop() -> View {
    let to_frame = Affine::translation(100.0, 50.0).after(&Affine::scale(2.0, 2.0));
    View { width: 8, height: 4, place: Place { to_frame, frame_width: 640, frame_height: 480 } }
}

fn run(yaml: &str, tensors: &[(&[usize], &[f32])], view: View) -> Regions {
    let blueprint = read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
    let mut solo = open(&*blueprint);
    let mut found = Vec::new();
    for (port, (shape, values)) in tensors.iter().enumerate() {
        found.extend(solo.push(port, seen(0, shape, values.to_vec(), view)).unwrap());
    }
    regions(&found).clone()
}

/// Class, score in thousandths, and box.
fn short(regions: &Regions) -> Vec<(usize, i32, [f32; 4])> {
    let one = |region: &Region| {
        let Rect { x, y, width, height } = region.bounds;
        (region.label.as_ref().unwrap().index, (region.score * 1000.0).round() as i32, [x, y, width, height])
    };
    regions.entries.iter().map(one).collect()
}

const TWO_ANCHORS: &str = "anchors: {layers: [{columns: 2, rows: 1, sizes: [[0.5, 1]]}], scale: [1, 1, 1, 1]}\n";

#[test]
fn anchors_lead_to_the_frame() {
    let yaml = format!("{TWO_ANCHORS}keypoints: [nose]\nactivation: sigmoid\n");
    // Both a quarter of the picture wide and half of it high; the second a little lower, its nose at its centre.
    let boxes = [0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.25, 0.5, 0.5, 0.0, 0.25];
    let found = run(&yaml, &[(&[1, 2, 6], &boxes), (&[1, 2, 1], &[3.0, -3.0])], crop());
    assert_eq!((found.frame_width, found.frame_height), (640, 480));
    // Of 8 × 4 pixels: centre (2, 2), 2 × 2 pixels.
    assert_eq!(short(&found), [(0, 953, [102.0, 52.0, 4.0, 4.0])]);
    let nose = &found.entries[0].keypoints[0];
    assert_eq!((nose.point.x, nose.point.y, nose.name.as_deref()), (108.0, 54.0, Some("nose")));
    let found = run(&yaml, &[(&[1, 2, 6], &boxes), (&[1, 2, 1], &[-3.0, 0.0])], View::whole(8, 4));
    assert_eq!(short(&found), [(0, 500, [5.0, 2.0, 2.0, 2.0])]);
}

#[test]
fn classes_and_what_means_nothing() {
    let boxes = [0.0f32; 8].map(|_| 0.5);
    let scores = [4.0, 0.0, 1.0, 0.0, 1.0, 4.0];
    for (keys, expected) in [
        // exp(4) / (exp(4) + exp(1) + 1)
        ("activation: softmax\n", &[(0, 936), (2, 936)][..]),
        ("activation: softmax\nbackground: true\n", &[(1, 936)]),
        ("activation: sigmoid\nmost: 1\n", &[(0, 982)]),
        ("activation: sigmoid\nthreshold: 0.99\n", &[]),
    ] {
        let yaml = format!("{TWO_ANCHORS}{keys}");
        let found = run(&yaml, &[(&[1, 2, 4], &boxes), (&[1, 2, 3], &scores)], View::whole(8, 4));
        let found: Vec<_> = short(&found).iter().map(|(class, score, _)| (*class, *score)).collect();
        assert_eq!(found, expected, "{keys}");
    }
}

#[test]
fn centers_lead_to_the_frame() {
    let heat = [0.0, 0.0, 0.9, 0.8, 0.0, 0.0, 0.0, 0.0];
    let two = |a: f32, b: f32| [[a; 8], [b; 8]].concat();
    let (size, offset, keypoints) = (two(2.0, 1.0), two(0.5, 0.5), two(0.5, 1.0));
    let shapes: [&[usize]; 4] = [&[1, 1, 2, 4], &[1, 2, 2, 4], &[1, 2, 2, 4], &[1, 2, 2, 4]];
    let tensors = [(shapes[0], &heat[..]), (shapes[1], &size), (shapes[2], &offset), (shapes[3], &keypoints)];
    let found = run("centers: {peaks: true, keypoints_from: box}\nkeypoints: [tip]\n", &tensors, crop());
    // A cell is 2 pixels of the picture, 4 of the frame: centre (2.5, 0.5), 2 × 1 cells.
    assert_eq!(short(&found), [(0, 900, [106.0, 50.0, 8.0, 4.0])]);
    let tip = found.entries[0].keypoints[0].point;
    assert_eq!((tip.x, tip.y), (110.0, 54.0));
    // Without the peaks the neighbour, which overlaps by a third, stays until suppression takes it.
    for (iou, count) in [(0.34, 2), (0.33, 1)] {
        let found = run(&format!("centers: {{}}\niou: {iou}\n"), &tensors[..3], crop());
        assert_eq!(found.entries.len(), count, "{iou}");
    }
}

#[test]
fn rows_of_every_kind() {
    // Two boxes, each: centre, size, objectness, two classes, a keypoint with its score.
    let v5: [&[f32]; 2] =
        [&[4.0, 2.0, 4.0, 2.0, 0.5, 0.2, 0.8, 3.0, 1.0, 0.25], &[1.0, 1.0, 1.0, 1.0, 0.9, 0.1, 0.2, 0.0, 0.0, 0.0]];
    let keys = "rows: {objectness: true, keypoint_scores: true}\nkeypoints: [hand]\nthreshold: 0.3\n";
    let found = run(keys, &[(&[1, 2, 10], &v5.concat())], crop());
    assert_eq!(short(&found), [(1, 400, [104.0, 52.0, 8.0, 4.0])]);
    let hand = &found.entries[0].keypoints[0];
    assert_eq!((hand.point.x, hand.point.y, hand.score), (106.0, 52.0, 0.25));
    // The same numbers, the other way round, and without objectness.
    let v8: Vec<f32> = (0..6).flat_map(|n| [[0.5, 0.5, 0.25, 0.5, 0.1, 0.7][n], [0.1; 6][n]]).collect();
    let found = run("rows: {transposed: true, unit: shares}\n", &[(&[1, 6, 2], &v8)], crop());
    assert_eq!(short(&found), [(1, 700, [106.0, 52.0, 4.0, 4.0])]);
    // Models that suppress by themselves.
    let last = [2.0, 1.0, 6.0, 3.0, 0.6, 5.0, 2.0, 1.0, 6.0, 3.0, 0.9, 5.0, 0.0, 0.0, 1.0, 1.0, 0.9, 0.5];
    let found = run("rows: {form: corners, classes: number}\nnms: none\n", &[(&[1, 3, 6], &last)], crop());
    let twice = [104.0, 52.0, 8.0, 4.0];
    assert_eq!(short(&found), [(5, 900, twice), (5, 600, twice)]);
    let found = run("rows: {form: corners, classes: number}\nmost: 1\nnms: none\n", &[(&[1, 3, 6], &last)], crop());
    assert_eq!(short(&found), [(5, 900, twice)]);
    assert!(run("rows: {}\n", &[(&[1, 0, 6], &[])], crop()).entries.is_empty());
}

#[test]
fn boxes_that_overlap() {
    // Two classes: the second box overlaps the first by 8 / 12, the third is the same box of another class.
    let rows = [[0.0, 0.0, 10.0, 10.0, 0.9, 0.0], [2.0, 0.0, 10.0, 10.0, 0.8, 0.0], [0.0, 0.0, 10.0, 10.0, 0.0, 0.7]];
    let gaussian = (800.0 * (-(8.0f32 / 12.0).powi(2) / 0.5).exp()).round() as i32;
    for (keys, expected) in [
        ("iou: 0.6\n", &[900, 700][..]),
        ("iou: 0.7\n", &[900, 800, 700]),
        ("nms: linear\niou: 0.6\nthreshold: 0.2\n", &[900, 700, 267]),
        ("nms: linear\niou: 0.6\n", &[900, 700]),
        ("nms: gaussian\nthreshold: 0.2\n", &[900, 700, gaussian]),
        ("nms: none\nmost: 2\n", &[900, 800]),
    ] {
        let yaml = format!("rows: {{form: corner}}\n{keys}");
        let found = run(&yaml, &[(&[1, 3, 6], &rows.concat())], crop());
        assert_eq!(short(&found).iter().map(|found| found.1).collect::<Vec<_>>(), expected, "{keys}");
    }
}

#[test]
fn boxes_that_are_none_are_left_out() {
    let rows: Vec<f32> = [
        [f32::INFINITY, 0.0, 1.0, 1.0, 0.9],
        [0.0, 0.0, -1.0, 1.0, 0.9],
        [0.0, 0.0, 1.0, 0.0, 0.9],
        [0.0, 0.0, 1.0, 1.0, f32::INFINITY],
        [1.0, 1.0, 1.0, 1.0, 0.6],
    ]
    .concat();
    let found = run("rows: {form: corner}\n", &[(&[1, 5, 5], &rows)], View::whole(8, 4));
    assert_eq!(short(&found), [(0, 600, [1.0, 1.0, 1.0, 1.0])]);
}

#[test]
fn tensors_that_do_not_fit_are_skipped_and_the_stream_goes_on() {
    let blueprint = read(&KIND, "rows: {}\n").unwrap();
    let mut solo = open(&*blueprint);
    let tensor =
        |shape: &[usize], value: f32| Tensor::new(shape.to_vec(), vec![value; shape.iter().product()]).unwrap();
    let whole = View::whole(8, 8);
    for (input, says) in [
        (packet(0, tensor(&[1, 2, 5], 0.6)), "expected numbers that know the picture they were made of"),
        (seen(0, &[2, 5], vec![0.0; 10], whole), "expected a tensor [1, ?, ?], found [2, 5]"),
        (seen(0, &[1, 2, 4], vec![0.0; 8], whole), "expected a tensor of at least 5 numbers a box, found [1, 2, 4]"),
        (
            seen(0, &[1, 1, 5], vec![f32::NAN; 5], whole),
            "port `boxes`: expected numbers, found NaN (not a number) at place 0",
        ),
        (packet(0, Tensor::from_vec(vec![1i64])), "port `boxes`: expected"),
        (packet(0, Tensor::from_vec(vec![1.0f32])), "found [1]"),
        (packet(0, Regions::default()), "expected a payload of tensor, found regions"),
    ] {
        let error = solo.push(0, input).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(says), "{error}");
    }
    assert_eq!(regions(&solo.push(0, seen(0, &[1, 2, 5], vec![0.6; 10], whole)).unwrap()).entries.len(), 1);
    let blueprint = read(&KIND, "rows: {}\nwidth: 8\nheight: 8\n").unwrap();
    let found = open(&*blueprint).push(0, packet(0, tensor(&[1, 2, 5], 0.6))).unwrap();
    assert_eq!((regions(&found).frame_width, regions(&found).entries.len()), (8, 1));
    let maps = read(&KIND, "centers: {}\n").unwrap();
    let mut solo = open(&*maps);
    for (port, width) in [(0, 4), (1, 4)] {
        assert!(solo.push(port, seen(0, &[1, 2, 2, width], vec![0.6; 4 * width], whole)).unwrap().is_empty());
    }
    let error = solo.push(2, seen(0, &[1, 2, 2, 3], vec![0.6; 12], whole)).unwrap_err();
    assert!(error.to_string().contains("port `offset`: expected a tensor with maps of 2 × 4, as `heat`"), "{error}");
}

#[test]
fn faults_at_their_place() {
    for yaml in ["rows: {}", "centers: {}", TWO_ANCHORS, "card: blazeface", "card: blazeface\nthreshold: 0.9"] {
        read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
    }
    let many = "{columns: 4096, rows: 4096, sizes: [[1, 1]]}";
    for (yaml, says) in [
        ("{}".to_owned(), "nothing says how the model tells its boxes"),
        ("rows: {}\ncenters: {}".into(), "in one way, and here are two"),
        ("card: blazeface\nrows: {}".into(), "in one way, and here are two"),
        ("card: blazefase".into(), "blazeface"),
        ("card: silero-vad".into(), "says nothing of the decoder `boxes`"),
        ("rows: {}\nlabels: nowhere.txt".into(), "nowhere.txt"),
        ("rows: {}\nwidth: 4".into(), "`width` is given without `height`"),
        ("rows: {forms: centre}".into(), "did you mean `form`?"),
        ("rows: {}\nthreshold: 2".into(), "threshold"),
        (format!("anchors: {{layers: [{many}]}}"), "16777216 anchors"),
        ("anchors: {layers: []}".into(), "layers"),
        ("anchors: {scale: [0, 1, 1, 1], layers: [{columns: 1, rows: 1, sizes: [[1, 1]]}]}".into(), "`scale` divides"),
    ] {
        let faults = read(&KIND, &yaml).unwrap_err();
        assert!(faults.contains(says) && faults.contains("test.yaml:"), "{yaml}: {faults}");
    }
}

#[test]
fn ports_tell_what_is_known() {
    let ports = |yaml: &str| {
        let contract = read(&KIND, yaml).unwrap().contract();
        contract.inputs.iter().map(|port| format!("{} {}", port.name, port.format)).collect::<Vec<_>>()
    };
    assert_eq!(ports("card: blazeface"), ["boxes tensor f32 [1, 896, 16]", "scores tensor f32 [1, 896, ?]"]);
    let maps = ["heat tensor f32 [1, ?, ?, ?]", "size tensor f32 [1, 2, ?, ?]", "offset tensor f32 [1, 2, ?, ?]"];
    assert_eq!(ports("centers: {}"), maps);
    assert_eq!(ports("centers: {}\nkeypoints: [a, b]")[3], "keypoints tensor f32 [1, 4, ?, ?]");
    assert_eq!(ports("rows: {transposed: true, classes: number}"), ["boxes tensor f32 [1, 6, ?]"]);
}
