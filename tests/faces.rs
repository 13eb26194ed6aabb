//! Faces and persons in pictures, from the file to the frame's pixels, held against tests/reference/faces.py.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{models_are_here, percept, records, root, run};
use percept::Pipeline;
use percept::media::Point;
use percept::stages::REGISTRY;
use percept::stages::sink::collect::Collect;
use serde_json::Value;

/// What the reference found in each photo.
fn reference(model: &str) -> Value {
    let text = fs::read_to_string(root().join("tests/data/picture/faces.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[model].clone()
}

/// Runs the pipeline on each backend; the records by photo.
fn found(pipeline: &str, model: &str) -> Vec<BTreeMap<String, Value>> {
    let backends = if models_are_here() { &["engine", "onnxruntime"][..] } else { &["engine"] };
    let one = |backend: &&str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.yaml");
        fs::write(&file, pipeline.replace("../", &format!("{}/", root().display()))).unwrap();
        let (code, _, stderr) =
            run(percept().arg("run").arg(&file).args(["--set", &format!("{model}.backend={backend}")]));
        assert_eq!(code, 0, "{backend}: {stderr}");
        let mut written = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let jsonl = written.find(|path| path.extension().is_some_and(|found| found == "jsonl")).unwrap();
        let name = |record: &Value| record["stream"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let records: BTreeMap<_, _> = records(&jsonl).into_iter().map(|record| (name(&record), record)).collect();
        assert_eq!(records.len(), 3, "{backend}: a record for each photo");
        records
    };
    backends.iter().map(one).collect()
}

fn pipeline(name: &str) -> String {
    fs::read_to_string(root().join("pipelines").join(name)).unwrap()
}

/// The box and the points of both, within 0.1 pixels; the scores within 0.001.
fn assert_same(found: &Value, expected: &Value, place: &str) {
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{place}: {value}"));
    let near = |a: f64, b: &Value, within: f64| {
        assert!((a - number(b)).abs() < within, "{place}: {a} and {b}\n{found}\n{expected}");
    };
    for (key, side) in ["x", "y", "width", "height"].iter().zip(expected["box"].as_array().unwrap()) {
        near(number(&found[key]), side, 0.1);
    }
    near(number(&found["score"]), &expected["score"], 1e-3);
    let (points, expected) = (found["keypoints"].as_array().unwrap(), expected["keypoints"].as_array().unwrap());
    assert_eq!(points.len(), expected.len(), "{place}");
    for (point, expected) in points.iter().zip(expected) {
        near(number(&point["x"]), &expected[0], 0.1);
        near(number(&point["y"]), &expected[1], 0.1);
    }
}

fn assert_faces(pipeline: &str, model: &str, threshold: f64) {
    let reference = reference(model);
    for photos in found(pipeline, model) {
        for (photo, record) in photos {
            let sure = |face: &&Value| face["score"].as_f64().unwrap() >= threshold;
            let expected: Vec<_> = reference[&photo].as_array().unwrap().iter().filter(sure).collect();
            let faces = record["regions"].as_array().unwrap();
            assert_eq!(faces.len(), expected.len(), "{model}: {photo}: {record}");
            for (face, expected) in faces.iter().zip(expected) {
                assert_same(face, expected, &format!("{model}: {photo}"));
            }
        }
    }
}

#[test]
fn faces_lie_where_the_reference_finds_them() {
    let text = pipeline("faces.yaml");
    assert_faces(&text, "blazeface", 0.6);
    // The cat too, which the model takes for a face, and a larger part of black around.
    assert_faces(&text.replace("threshold: 0.6", "threshold: 0.5"), "blazeface", 0.5);
}

#[test]
fn a_crop_and_a_resize_before_the_model_change_nothing_but_the_pixels() {
    let cut = "path: ../examples/photos\n  - preprocess: crop\n    shares: [0.2, 0.05, 0.8, 0.65]\n  \
               - preprocess: resize\n    short_side: 200\n  - preprocess: to_tensor";
    let text = pipeline("faces.yaml");
    let text = text.replacen("path: ../examples/photos\n  - preprocess: to_tensor", cut, 1);
    assert!(text.contains("short_side"));
    for photos in found(&text, "blazeface") {
        let faces = photos["astronaut.png"]["regions"].as_array().unwrap();
        assert_eq!(faces.len(), 1, "{faces:?}");
        let point = |name: &str| {
            let points = faces[0]["keypoints"].as_array().unwrap();
            let point = points.iter().find(|point| point["name"] == name).unwrap();
            (point["x"].as_f64().unwrap(), point["y"].as_f64().unwrap())
        };
        // Seen with the eye in the picture of 512 × 512 pixels.
        for (name, x, y) in [("right_eye", 203.0, 103.0), ("left_eye", 248.0, 105.0), ("nose", 224.0, 125.0)] {
            let found = point(name);
            assert!((found.0 - x).hypot(found.1 - y) < 8.0, "{name}: {found:?}");
        }
    }
}

#[test]
fn centerface_reads_pictures_of_any_size() {
    let text = pipeline("faces.yaml");
    let (head, rest) = text.split_once("  - preprocess: to_tensor").unwrap();
    let (_, other) = rest.split_once("Instead of the three stages above\n").unwrap();
    let other: String = other.lines().map(|line| format!("  {}\n", line.strip_prefix("# ").unwrap())).collect();
    let text = format!("{head}{other}  - sink: jsonl\n    path: faces.jsonl\n");
    assert_faces(&text, "centerface", 0.5);
}

/// The share of what either shows that both show.
fn iou(a: &[bool], b: &[bool]) -> f64 {
    let count = |pick: fn(bool, bool) -> bool| a.iter().zip(b).filter(|(a, b)| pick(**a, **b)).count() as f64;
    count(|a, b| a && b) / count(|a, b| a || b)
}

#[test]
fn the_person_covers_the_pixels_of_the_reference() {
    let picture = image::open(root().join("tests/data/picture/selfie.png")).unwrap().into_luma8();
    let expected: Vec<bool> = picture.pixels().map(|pixel| pixel.0[0] > 0).collect();
    let photo = root().join("examples/photos/astronaut.png");
    let backends = if models_are_here() { &["engine", "onnxruntime"][..] } else { &["engine"] };
    for (backend, upsample) in backends.iter().flat_map(|backend| [(backend, true), (backend, false)]) {
        let (collect, mut collected) = Collect::new(4);
        let builder = Pipeline::builder("selfie")
            .yaml(&REGISTRY, &format!("{{capture: images, path: {}}}", photo.display()))
            .yaml(&REGISTRY, "{preprocess: to_tensor, width: 256, height: 256, layout: nhwc}")
            .yaml(&REGISTRY, &format!("{{model: selfie-segmentation, backend: {backend}}}"))
            .yaml(&REGISTRY, &format!("{{decoder: mask, card: selfie-segmentation, upsample: {upsample}}}"))
            .stage("out", collect);
        let running = Pipeline::build(builder).unwrap().start().unwrap();
        let packet = collected.recv().unwrap().packet;
        assert!(running.wait().is_clean());
        let regions = packet.payload.regions().unwrap();
        assert_eq!((regions.frame_width, regions.frame_height, regions.entries.len()), (512, 512, 1));
        let person = &regions.entries[0];
        assert_eq!(person.label.as_ref().unwrap().name.as_deref(), Some("person"));
        let mask = person.mask.as_ref().unwrap();
        let middle = |at: usize| at as f32 + 0.5;
        let at = |place: usize| mask.at(Point { x: middle(place % 512), y: middle(place / 512) }) > 0;
        let found: Vec<bool> = (0..512 * 512).map(at).collect();
        let share = iou(&found, &expected);
        assert!(share >= 0.99, "{backend}, upsample: {upsample}: IoU {share}");
        if upsample {
            assert_eq!((mask.width, mask.height), (512, 512));
            assert!(share >= 0.999, "{backend}: IoU {share}");
        }
    }
}

#[test]
fn persons_are_found_in_photos() {
    for photos in found(&pipeline("selfie.yaml"), "selfie-segmentation") {
        let person = &photos["astronaut.png"]["regions"][0];
        assert_eq!(person["label"]["name"], "person");
        assert!(person["width"].as_f64().unwrap() > 300.0 && person["score"].as_f64().unwrap() > 0.8, "{person}");
    }
}

/// Find, cut out, find again in what was cut out: both times in the frame's pixels.
#[test]
fn what_is_found_in_a_crop_of_what_was_found_lies_in_the_frame() {
    let again = "    threshold: 0.6                             # the cat is 0.56 of a face\n  \
                 - preprocess: crop_regions\n    from: {image: images, regions: boxes}\n    margin: 0.6\n  \
                 - preprocess: to_tensor\n    id: again\n    width: 128\n    height: 128\n    fit: letterbox\n    \
                 layout: nhwc\n    scale: 1\n    mean: 127.5\n    std: 127.5\n  - model: blazeface\n    id: closer\n  \
                 - decoder: boxes\n    id: finer\n    \
                 from: {boxes: closer.regressors, scores: closer.classificators}\n    card: blazeface\n";
    let first = "    threshold: 0.6                             # the cat is 0.56 of a face\n";
    let text = pipeline("faces.yaml").replacen(first, again, 1);
    assert!(text.contains("crop_regions"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twice.yaml");
    fs::write(&file, text.replace("../", &format!("{}/", root().display()))).unwrap();
    let backends = ["--set", "blazeface.backend=engine", "--set", "closer.backend=engine"];
    let (code, _, stderr) = run(percept().arg("run").arg(&file).args(backends));
    assert_eq!(code, 0, "{stderr}");
    let records = records(&folder.path().join("faces.jsonl"));
    let [record] = &records[..] else { panic!("one frame shows one face: {records:?}") };
    assert!(record["stream"].as_str().unwrap().ends_with("astronaut.png"));
    let face = &record["regions"][0];
    let expected = &reference("blazeface")["astronaut.png"][0];
    // Eyes, nose and mouth; where the ears are under the hair is a guess both times.
    let points = |value: &Value| value["keypoints"].as_array().unwrap()[..4].to_vec();
    for (point, expected) in points(face).iter().zip(points(expected)) {
        let off = |key: &str, at: usize| point[key].as_f64().unwrap() - expected[at].as_f64().unwrap();
        assert!(off("x", 0).hypot(off("y", 1)) < 8.0, "{point} and {expected}");
    }
    assert!(face["score"].as_f64().unwrap() > expected["score"].as_f64().unwrap(), "seen closer: {face}");
}
