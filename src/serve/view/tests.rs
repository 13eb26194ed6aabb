//! The page's server over real sockets, and a pipeline that is looked at.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::outline::Shows;
use super::*;
use crate::media::{Format, Image, PixelFormat};
use crate::pipeline::Overflow;
use crate::runtime::{Pipeline, StartOptions};
use crate::stage::Draft;
use crate::stages::capture::push::Push;
use crate::stages::sink::collect::Collect;
use crate::units::{SystemClock, TimeSpan, Timestamp};

const PATIENCE: Duration = Duration::from_secs(30);

/// A page that is served on a thread of its own.
struct Served {
    runtime: tokio::runtime::Runtime,
    board: Arc<Board>,
    address: SocketAddr,
}

impl Served {
    fn new(address: &str, token: Option<&str>) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let yaml = "percept: 1\nname: a </b>\nstages:\n  - capture: push\n    sample_rate_hz: 8000\n  - sink: jsonl\n    path: '-'\n";
        let board = Board::new(Outline::of(Pipeline::from_yaml(yaml).unwrap().plan()), Arc::new(SystemClock::new()));
        let board = Arc::new(board);
        let _entered = runtime.enter();
        let door = Door::open(address.parse().unwrap(), token).unwrap();
        let address: SocketAddr = ([127, 0, 0, 1], door.address().port()).into();
        runtime.spawn(http::serve(door.listener, Arc::new(door.access), board.clone(), address.port()));
        drop(_entered);
        Served { runtime, board, address }
    }

    fn connect(&self, request: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{request}\r\n\r\n").as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// Status line and headers, and the body.
    fn ask(&self, request: &str) -> (String, String) {
        let mut text = String::new();
        self.connect(&format!("{request}\r\nConnection: close")).read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// A browser that listens to the events and has the first ones.
    fn listen(&self) -> Listener {
        let mut reader = self.connect("GET /events HTTP/1.1\r\nHost: localhost");
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let mut listener = Listener(reader);
        assert_eq!(listener.next().0, "hello");
        listener
    }
}

struct Listener(BufReader<TcpStream>);

impl Listener {
    fn next(&mut self) -> (String, Json) {
        let mut line = || {
            let mut text = String::new();
            assert_ne!(self.0.read_line(&mut text).unwrap(), 0, "the events ended");
            text.trim_end().to_owned()
        };
        loop {
            // Chunks of HTTP stand between; an event is two lines.
            if let Some(name) = line().strip_prefix("event: ") {
                let data = line();
                return (name.to_owned(), serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap());
            }
        }
    }

    fn until(&mut self, wanted: &str) -> Json {
        loop {
            let (name, data) = self.next();
            if name == wanted {
                return data;
            }
        }
    }
}

#[test]
fn paths_methods_and_hosts() {
    let served = Served::new("127.0.0.1:0", None);
    for (request, status, holds) in [
        ("GET / HTTP/1.1\r\nHost: localhost:1", 200, "<!doctype html>"),
        ("GET /app.js HTTP/1.1\r\nHost: 127.0.0.1", 200, "EventSource"),
        ("GET /style.css HTTP/1.1\r\nHost: [::1]:80", 200, "prefers-reduced-motion"),
        ("GET /pipeline HTTP/1.1\r\nHost: localhost", 200, "\"name\":\"a </b>\""),
        ("GET /stats HTTP/1.1\r\nHost: localhost", 200, "{}"),
        ("HEAD / HTTP/1.1\r\nHost: localhost", 200, ""),
        ("GET /nothing HTTP/1.1\r\nHost: localhost", 404, "no such page"),
        ("GET /../Cargo.toml HTTP/1.1\r\nHost: localhost", 404, "no such page"),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", 405, "only be read"),
        ("GET / HTTP/1.1\r\nHost: stranger.example", 421, "localhost"),
        ("GET / HTTP/1.1", 421, "localhost"),
    ] {
        let (head, body) = served.ask(request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{head}");
        assert!(body.contains(holds), "{request}\n{body}");
        let head = head.to_lowercase();
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        assert!(!head.contains("access-control"), "no other page may read it: {head}");
    }
}

#[test]
fn a_token_is_wanted_where_one_is_given_or_others_can_come() {
    const TOKEN: &str = "correct-horse-battery";
    let served = Served::new("0.0.0.0:0", Some(TOKEN));
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: robot.local", 401),
        ("GET /app.js HTTP/1.1\r\nHost: robot.local", 401),
        ("GET /events HTTP/1.1\r\nHost: robot.local", 401),
        ("GET /?token=wrong-horse-battery HTTP/1.1\r\nHost: robot.local", 401),
        ("GET /stats HTTP/1.1\r\nHost: robot.local\r\nCookie: percept-view-{port}=x", 401),
        ("GET /stats HTTP/1.1\r\nHost: robot.local\r\nCookie: a=b; percept-view-{port}=correct-horse-battery", 200),
        ("GET /stats HTTP/1.1\r\nHost: robot.local\r\nCookie: percept-view-1=correct-horse-battery", 401),
        (
            "GET /stats?token=old HTTP/1.1\r\nHost: robot.local\r\nCookie: percept-view-{port}=correct-horse-battery",
            200,
        ),
        ("GET /stats HTTP/1.1\r\nHost: robot.local\r\nAuthorization: Bearer correct-horse-battery", 200),
        ("GET /stats?token=correct-horse-battery HTTP/1.1\r\nHost: robot.local", 200),
        ("GET /?token=correct-horse-battery HTTP/1.1\r\nHost: robot.local", 303),
    ] {
        let request = request.replace("{port}", &served.address.port().to_string());
        let (head, body) = served.ask(&request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{head}\n{body}");
        assert_eq!(head.contains("HttpOnly; SameSite=Lax"), status == 303, "{head}");
        assert!(!body.contains(TOKEN), "{body}");
    }
}

#[test]
fn a_slow_browser_loses_frames_of_its_own() {
    let served = Served::new("127.0.0.1:0", None);
    let mut slow = served.listen();
    let mut quick = served.listen();
    // More than what the sockets between hold.
    let picture = "x".repeat(1 << 20);
    for number in 0..64 {
        let event = format!("{{\"number\":{number},\"url\":\"{picture}\"}}");
        served.board.show(0, number, event.into());
        assert_eq!(quick.until("frame")["number"], number, "the quick one sees every picture");
    }
    let mut seen = 0;
    let (mut last, mut lost) = (0, 0);
    while last < 63 {
        match slow.next() {
            (name, data) if name == "frame" => {
                seen += 1;
                last = data["number"].as_u64().unwrap();
            }
            (name, data) if name == "lost" => lost = data["frames"].as_u64().unwrap(),
            _ => {}
        }
    }
    if lost == 0 {
        lost = slow.until("lost")["frames"].as_u64().unwrap();
    }
    assert!(lost > 0 && seen < 64, "{seen} seen");
    assert_eq!(seen + lost, 64, "every picture is seen or counted");
    drop(served.runtime);
}

#[test]
fn browsers_come_and_go_and_are_not_too_many() {
    let served = Served::new("127.0.0.1:0", None);
    let mut all: Vec<_> = (0..16).map(|_| served.listen()).collect();
    let (head, _) = served.ask("GET /events HTTP/1.1\r\nHost: localhost");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    all.pop();
    let began = Instant::now();
    loop {
        let mut status = String::new();
        served.connect("GET /events HTTP/1.1\r\nHost: localhost").read_line(&mut status).unwrap();
        if status.starts_with("HTTP/1.1 200 ") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the place of the one that went is never free: {status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Pictures pushed as a camera would; what the page shows of them.
#[test]
fn a_pipeline_is_looked_at_and_runs_as_if_it_were_not() {
    let push = Push::of(Format::ANY_IMAGE);
    let handle = push.handle();
    let (collect, mut collected) = Collect::new(1000);
    let pipeline = Pipeline::build(Pipeline::builder("eye").stage("camera", push).stage("out", collect)).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut plan = pipeline.plan().clone();
    let view = View::attach(&mut plan, clock.clone(), ViewOptions { frames_per_s: 60.0 });
    assert_eq!(plan.links.last().unwrap().settings.overflow, Overflow::Latest);
    assert_eq!(view.taps.iter().map(|id| &**id).collect::<Vec<_>>(), ["camera.view"]);

    let served = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let entered = served.enter();
    let door = Door::open("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let page =
        Served { address: door.address(), board: view.board.clone(), runtime: tokio::runtime::Runtime::new().unwrap() };
    let running =
        Arc::new(Running::start(plan, StartOptions { clock: Some(clock), ..StartOptions::default() }).unwrap());
    view.serve(door, running.clone());
    drop(entered);

    let mut browser = page.listen();
    let mut stream = handle.open_stream("eye").unwrap();
    for at in 0..500i64 {
        let image = Image::new(vec![at as u8; 12], 2, 2, PixelFormat::Rgb8).unwrap();
        stream.push(Draft::new(Timestamp::from_nanos(at * 1_000_000), TimeSpan::from_millis(1), image)).unwrap();
    }
    let frame = browser.until("frame");
    assert_eq!((&frame["stream"], &frame["width"]), (&"eye".into(), &2.into()));
    stream.close();
    handle.finish();
    let report = running.wait();
    assert!(report.is_clean(), "{report:#?}");
    view.finish(&report);
    let (mut books, mut count) = (report.books.clone(), 0);
    view.strip(&mut books);
    assert_eq!(books.stages.iter().map(|stage| &*stage.id).collect::<Vec<_>>(), ["camera", "out"]);
    assert_eq!(books.links.len(), 1);
    while collected.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 500, "the pipeline has lost nothing");
    let stats = browser.until("stats");
    assert_eq!(stats["stages"].as_array().unwrap().len(), 2);
    assert_eq!(browser.until("ended"), "finished");
    assert_eq!(Outline::of(pipeline.plan()).ports[0].shows, Shows::Pictures);
}
