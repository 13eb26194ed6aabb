//! One browser: what waits for it, and what it lost because it reads too slowly.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::result::Entry;

/// Results that wait for one browser.
const WAITING_RESULTS: usize = 256;

/// The place where the newest waits for one browser. Of numbers and pictures only the newest waits.
#[derive(Debug)]
pub(super) struct Viewer {
    inner: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug)]
struct Waiting {
    hello: Option<String>,
    stats: Option<Arc<str>>,
    results: VecDeque<Entry>,
    frames: BTreeMap<usize, Arc<str>>,
    lost: Lost,
    told: Lost,
    ended: Option<Arc<str>>,
}

/// What a browser lost because it did not read in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub frames: u64,
    pub results: u64,
}

impl Viewer {
    /// A browser that begins with `hello`, JSON.
    pub fn new(hello: String) -> Viewer {
        let inner = Waiting {
            hello: Some(hello),
            stats: None,
            results: VecDeque::new(),
            frames: BTreeMap::new(),
            lost: Lost::default(),
            told: Lost::default(),
            ended: None,
        };
        Viewer { inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// New numbers. Older ones that still wait are of no use any more.
    pub fn stats(&self, stats: &Arc<str>) {
        self.lock().stats = Some(stats.clone());
        self.changed.notify_one();
    }

    /// A new result. One that replaces another that still waits takes its place.
    pub fn result(&self, entry: &Entry) {
        let mut waiting = self.lock();
        if !entry.replaces_in(&mut waiting.results) {
            if waiting.results.len() == WAITING_RESULTS {
                waiting.results.pop_front();
                waiting.lost.results += 1;
            }
            waiting.results.push_back(entry.clone());
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// A new picture of `port`. One that still waits is lost.
    pub fn frame(&self, port: usize, frame: &Arc<str>) {
        let mut waiting = self.lock();
        if waiting.frames.insert(port, frame.clone()).is_some() {
            waiting.lost.frames += 1;
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// The run is over, with this last word, JSON. A picture that is still being made may follow.
    pub fn end(&self, word: &Arc<str>) {
        self.lock().ended = Some(word.clone());
        self.changed.notify_one();
    }

    /// What it lost so far.
    #[cfg(test)]
    pub fn lost(&self) -> Lost {
        self.lock().lost
    }

    /// Everything that waits, as Server-Sent Events; waits for something.
    pub async fn next(&self) -> String {
        loop {
            let changed = self.changed.notified();
            let text = self.lock().take();
            if !text.is_empty() {
                return text;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics between two steps that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> String {
        let mut text = String::new();
        let mut event = |name: &str, data: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "event: {name}\ndata: {data}\n\n");
        };
        if let Some(hello) = self.hello.take() {
            event("hello", &hello);
        }
        if let Some(stats) = self.stats.take() {
            event("stats", &stats);
        }
        for entry in self.results.drain(..) {
            event("result", &entry.json);
        }
        for frame in std::mem::take(&mut self.frames).values() {
            event("frame", frame);
        }
        if self.lost != self.told {
            self.told = self.lost;
            event("lost", &format!("{{\"frames\":{},\"results\":{}}}", self.lost.frames, self.lost.results));
        }
        if let Some(word) = self.ended.take() {
            event("ended", &word);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: Option<&str>, json: &str) -> Entry {
        Entry { key: key.map(Arc::from), json: json.into() }
    }

    #[tokio::test]
    async fn a_slow_one_loses_frames_of_its_own_and_is_told() {
        let (slow, quick) = (Viewer::new("{}".into()), Viewer::new("{}".into()));
        assert_eq!(quick.next().await, "event: hello\ndata: {}\n\n");
        for number in 0..10 {
            let frame: Arc<str> = number.to_string().into();
            slow.frame(0, &frame);
            slow.frame(1, &frame);
            quick.frame(0, &frame);
            assert_eq!(quick.next().await, format!("event: frame\ndata: {number}\n\n"));
        }
        assert_eq!((slow.lost().frames, quick.lost().frames), (18, 0));
        let text = slow.next().await;
        assert!(text.ends_with(
            "event: frame\ndata: 9\n\nevent: frame\ndata: 9\n\nevent: lost\ndata: {\"frames\":18,\"results\":0}\n\n"
        ));
    }

    #[tokio::test]
    async fn results_are_kept_up_to_a_bound_and_in_order() {
        let viewer = Viewer::new("{}".into());
        for number in 0..WAITING_RESULTS + 3 {
            viewer.result(&entry(None, &number.to_string()));
        }
        assert_eq!(viewer.lost(), Lost { frames: 0, results: 3 });
        let text = viewer.next().await;
        assert!(text.starts_with("event: hello\ndata: {}\n\nevent: result\ndata: 3\n\nevent: result\ndata: 4\n\n"));
    }

    #[tokio::test]
    async fn what_is_replaced_is_no_loss() {
        let viewer = Viewer::new("{}".into());
        for word in ["on", "one", "one two"] {
            viewer.result(&entry(Some("k"), word));
        }
        viewer.stats(&"1".into());
        viewer.stats(&"2".into());
        let text = viewer.next().await;
        assert_eq!(text, "event: hello\ndata: {}\n\nevent: stats\ndata: 2\n\nevent: result\ndata: one two\n\n");
        assert_eq!(viewer.lost(), Lost::default());
    }

    #[tokio::test]
    async fn the_end_comes_once_after_all_that_waits() {
        let viewer = Arc::new(Viewer::new("{}".into()));
        viewer.next().await;
        let waiting = tokio::spawn({
            let viewer = viewer.clone();
            async move { viewer.next().await }
        });
        tokio::task::yield_now().await;
        viewer.end(&"\"finished\"".into());
        assert_eq!(waiting.await.unwrap(), "event: ended\ndata: \"finished\"\n\n");
        viewer.end(&"1".into());
        viewer.frame(0, &"2".into());
        assert_eq!(viewer.next().await, "event: frame\ndata: 2\n\nevent: ended\ndata: 1\n\n");
        viewer.frame(0, &"3".into());
        assert_eq!(viewer.next().await, "event: frame\ndata: 3\n\n", "one who came late sees the last picture");
    }
}
