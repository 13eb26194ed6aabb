//! The page of a run as a person meets it: `percept run … --view` in a headless Chromium, where one is found.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value as Json, json};

use common::{percept, root};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Photos, and a sound that goes on, whose windows a model sorts into classes with names that are no HTML.
const PIPELINE: &str = "\
percept: 1
name: see & hear <i>
stages:
  - capture: images
    path: PHOTOS
  - sink: jsonl
    id: seen
    path: seen.jsonl
  - capture: stdin
    format: raw
    sample_format: s16le
    sample_rate_hz: 8000
    channels: 1
    live: true
  - model: relu.onnx
    id: gate
    backend: engine
    window_samples: 4
  - decoder: top_k
    labels: labels.txt
  - sink: jsonl
    path: heard.jsonl
";

/// Ends what a test started.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The browser to use: `PERCEPT_BROWSER`, or one that is found.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PERCEPT_BROWSER") {
        return Some(named.into());
    }
    let paths = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    std::env::split_paths(&paths).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

/// The lines of an answer's head, in small letters.
fn head(reader: &mut impl BufRead) -> Vec<String> {
    reader.lines().map(|line| line.unwrap().to_lowercase()).take_while(|line| !line.is_empty()).collect()
}

/// A page of a headless Chromium, driven by its DevTools protocol
/// (<https://chromedevtools.github.io/devtools-protocol/>) over a WebSocket (RFC 6455).
struct Page {
    _browser: Ended,
    _profile: tempfile::TempDir,
    socket: BufReader<TcpStream>,
    asked: u64,
    /// Faults that the page told of.
    faults: VecDeque<String>,
}

impl Page {
    fn open(browser: &Path) -> Page {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let child = Ended(child);
        let listening = lines.find_map(|line| Some(line.split_once("DevTools listening on ws://")?.1.to_owned()));
        let listening = listening.expect("the browser starts");
        std::thread::spawn(move || lines.for_each(drop));
        let host = listening.split('/').next().unwrap().to_owned();
        let began = Instant::now();
        let path = loop {
            let mut stream = TcpStream::connect(&host).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            write!(stream, "GET /json/list HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
            let mut stream = BufReader::new(stream);
            let length = head(&mut stream)
                .into_iter()
                .find_map(|line| Some(line.strip_prefix("content-length:")?.trim().parse()));
            let mut text = vec![0; length.unwrap().unwrap()];
            stream.read_exact(&mut text).unwrap();
            let list: Json = serde_json::from_slice(&text).unwrap();
            let page = list.as_array().unwrap().iter().find(|target| target["type"] == "page").cloned();
            if let Some(page) = page {
                let address = page["webSocketDebuggerUrl"].as_str().unwrap().to_owned();
                break address[address.find("/devtools").unwrap()..].to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "the browser shows no page");
        };
        let mut stream = TcpStream::connect(&host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .unwrap();
        let mut socket = BufReader::new(stream);
        head(&mut socket);
        let mut page = Page { _browser: child, _profile: profile, socket, asked: 0, faults: VecDeque::new() };
        for domain in ["Page", "Runtime", "Log"] {
            page.ask(&format!("{domain}.enable"), json!({}));
        }
        page
    }

    fn ask(&mut self, method: &str, parameters: Json) -> Json {
        self.asked += 1;
        let text = json!({"id": self.asked, "method": method, "params": parameters}).to_string();
        let mut frame = vec![0x81];
        match text.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
        }
        // A mask of zeros leaves the text as it is.
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.socket.get_mut().write_all(&frame).unwrap();
        loop {
            let message = self.message();
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.faults.push_back(message.to_string()),
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.faults.push_back(message.to_string());
                }
                _ if message["id"] == self.asked => return message["result"].clone(),
                _ => {}
            }
        }
    }

    fn message(&mut self) -> Json {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head).unwrap();
        let len = match head[1] & 127 {
            126 => {
                let mut len = [0; 2];
                self.socket.read_exact(&mut len).unwrap();
                u16::from_be_bytes(len).into()
            }
            127 => {
                let mut len = [0; 8];
                self.socket.read_exact(&mut len).unwrap();
                u64::from_be_bytes(len)
            }
            len => len.into(),
        };
        let mut text = vec![0; usize::try_from(len).unwrap()];
        self.socket.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// What an expression of the page's own language gives.
    fn value(&mut self, expression: &str) -> Json {
        self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}))["result"]["value"]
            .clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    fn until(&mut self, expression: &str) {
        let began = Instant::now();
        while self.value(expression) != true {
            let shown = self.value("document.body.innerText");
            assert!(began.elapsed() < PATIENCE, "never true: {expression}\n{}\n{:?}", shown, self.faults);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sees the page in light or dark, and keeps a picture of it in the folder `PERCEPT_SCREENSHOTS`, where that is
    /// set.
    fn see(&mut self, name: &str, scheme: &str, width: u32) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": features}));
        let size = json!({"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", size);
        self.until(&format!("document.documentElement.dataset.theme === '{scheme}' && innerWidth === {width}"));
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(
            self.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth"),
            true,
            "{name} is too wide"
        );
        if let Some(graph) = self
            .value("document.getElementById('graph').scrollWidth - document.getElementById('graph').clientWidth")
            .as_i64()
        {
            assert_eq!(graph, 0, "{name}: the graph is too wide");
        }
        let picture = self.ask("Page.captureScreenshot", json!({}));
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        if let Some(folder) = std::env::var_os("PERCEPT_SCREENSHOTS") {
            std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
        }
    }
}

#[test]
fn a_person_watches_a_run() {
    let Some(browser) = browser() else {
        // Past the capture of the test's output: whoever reads the log shall see it.
        let why = "SKIPPED: no Chromium was found, so the page was not looked at; install one, or set PERCEPT_BROWSER";
        writeln!(std::io::stderr(), "{why}").unwrap();
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let photos = root().join("examples/photos");
    std::fs::write(folder.path().join("see.yaml"), PIPELINE.replace("PHOTOS", &photos.display().to_string())).unwrap();
    std::fs::write(folder.path().join("labels.txt"), "<b>bold</b>\nquiet\n\"quoted\"\nfourth\n").unwrap();
    std::fs::copy(root().join("tests/data/inference/relu.onnx"), folder.path().join("relu.onnx")).unwrap();
    let mut command = percept();
    command.args(["run", "see.yaml", "--view", "127.0.0.1:0", "--view-stay"]).current_dir(folder.path());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut stdin = child.stdin.take().unwrap();
    let _run = Ended(child);
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let url = line.split_once("watched at ").unwrap_or_else(|| panic!("{line}")).1.trim().to_owned();
    let mut push = || {
        let samples = (0..1600u32).flat_map(|at| ((at % 4 * 4000) as i16).to_le_bytes());
        stdin.write_all(&samples.collect::<Vec<_>>()).unwrap();
    };

    let mut page = Page::open(&browser);
    push();
    page.ask("Page.navigate", json!({"url": url}));
    page.until("document.getElementById('state')?.textContent === 'live'");
    assert_eq!(page.value("document.getElementById('name').textContent"), "see & hear <i>");
    let stages = "[...document.querySelectorAll('.node b')].map((node) => node.textContent).join()";
    assert_eq!(page.value(stages), "images,seen,stdin,gate,top_k,jsonl");
    // What came before the page was opened is there, and what comes now.
    page.until("document.querySelectorAll('#results li').length >= 50");
    push();
    page.until("document.getElementById('results').textContent.includes('<b>bold</b>')");
    assert_eq!(page.value("document.querySelectorAll('#results b, #name i').length"), 0, "names are text, not HTML");
    page.until("(document.querySelector('#frames img')?.naturalWidth ?? 0) > 100");
    page.until("document.querySelectorAll('.plot').length >= 2");
    // 800 windows, once their rate is over.
    page.until("[...document.querySelectorAll('.node')].some((node) => node.textContent.includes('gate800'))");
    page.until("document.getElementById('left-out')?.textContent.includes('came faster') ?? false");
    page.see("light", "light", 1360);
    page.value("document.querySelector('details').open = true");
    page.until("document.querySelectorAll('#numbers table').length === 2");
    page.see("dark", "dark", 1360);
    page.see("narrow", "dark", 420);

    // The end: the page stays and says so.
    drop(stdin);
    page.until("document.getElementById('state').textContent === 'finished'");
    assert_eq!(page.value("document.getElementById('state').dataset.state"), "finished");
    page.see("finished", "light", 1360);
    // Who comes now sees what there was, the last picture too.
    page.ask("Page.reload", json!({}));
    page.until("document.getElementById('state')?.textContent === 'finished' && document.querySelectorAll('#results li').length > 50");
    page.until("(document.querySelector('#frames img')?.naturalWidth ?? 0) > 100");
    assert_eq!(page.faults, VecDeque::<String>::new(), "the page has faults");
}
