//! The web page of a run: `percept run … --view 127.0.0.1:8080`.
//!
//! It shows the pipeline as a graph with rates, queues, drops and times, the latest pictures, transcripts and labels as
//! they come, and curves of confidence, latency and level.
//!
//! # How it stays out of the way
//!
//! What it shows of packets comes through stages of its own, one for each output that a page can show, on links that
//! drop what waits when they are full. Such a stage puts what it sees on a board, for which a lock is held for
//! microseconds, and is done; pictures are made smaller and compressed on other threads, only while somebody looks, at
//! most [`ViewOptions::frames_per_s`] times a second. Each browser has a place of its own where the newest waits for
//! it: a slow one loses frames of its own and is told how many.
//!
//! # The events
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/pipeline` | the stages, links, pictures and curves, as JSON; does not change |
//! | `/stats` | the newest numbers, as JSON |
//! | `/events` | Server-Sent Events: `hello` (what there is so far), then `stats`, `result`, `frame`, `lost`, `ended` |

mod board;
mod encode;
mod http;
mod outline;
mod result;
mod sample;
mod series;
mod tap;
mod viewer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use self::board::Board;
use self::outline::Outline;
use self::sample::Sampler;
use super::{Access, ServeError};
use crate::pipeline::Plan;
use crate::runtime::{Books, Outcome, Report, Running};
use crate::units::Clock;

/// How often the numbers are taken.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// How a page shows a run.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ViewOptions {
    /// Most pictures a second of each output that are made for the page. Default: 8.
    pub frames_per_s: f64,
}

impl Default for ViewOptions {
    fn default() -> Self {
        ViewOptions { frames_per_s: 8.0 }
    }
}

/// The page of a run.
#[derive(Debug)]
pub struct View {
    board: Arc<Board>,
    /// The stages that were added to the plan for it: these ids.
    taps: Vec<Arc<str>>,
    sampler: Sampler,
    options: ViewOptions,
}

/// A socket at which a page will be served.
#[derive(Debug)]
pub struct Door {
    listener: tokio::net::TcpListener,
    access: Access,
    address: SocketAddr,
}

impl Door {
    /// Listens at `address`; port 0 takes a free one. Works inside a tokio runtime.
    pub fn open(address: SocketAddr, token: Option<&str>) -> Result<Door, ServeError> {
        let access = Access::new(address.ip(), token)?;
        let failed = |source| ServeError::Listen { address: address.to_string(), source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        Ok(Door { listener, access, address })
    }

    /// What to type into a browser, with the token where one is wanted.
    pub fn url(&self) -> String {
        match self.access.token() {
            Some(token) => format!("http://{}/?token={token}", self.address),
            None => format!("http://{}/", self.address),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl View {
    /// Adds to the plan what the page looks through. `clock` must be the one that the pipeline is started with.
    pub fn attach(plan: &mut Plan, clock: Arc<dyn Clock>, options: ViewOptions) -> View {
        let outline = Outline::of(plan);
        let sampler = Sampler::new(plan.stages.len(), plan.links.len());
        let ports = outline.ports.clone();
        let board = Arc::new(Board::new(outline, clock));
        let taps = ports.iter().enumerate().map(|(place, port)| tap::add(plan, place, port, &board)).collect();
        View { board, taps, sampler, options }
    }

    /// Serves the page until the runtime ends. Returns at once; call it inside a tokio runtime.
    pub fn serve(&self, door: Door, running: Arc<Running>) {
        tokio::spawn(http::serve(door.listener, Arc::new(door.access), self.board.clone(), door.address.port()));
        tokio::spawn(sample(self.board.clone(), self.sampler.clone(), running));
        let pause = Duration::from_secs_f64(1.0 / self.options.frames_per_s.clamp(0.1, 60.0));
        tokio::spawn(show(self.board.clone(), pause));
    }

    /// Tells every browser that it is over, with the last numbers.
    pub fn finish(&self, report: &Report) {
        let mut sampler = self.sampler.clone();
        self.board.publish(&sampler.sample(self.board.seconds(), &report.books));
        let word = match &report.outcome {
            Outcome::Finished if report.is_clean() => "finished".to_owned(),
            Outcome::Finished => "finished with losses".to_owned(),
            Outcome::Cancelled { reason } => format!("cancelled: {reason}"),
            Outcome::Failed { reason } => format!("failed: {reason}"),
        };
        self.board.end(&word);
    }

    /// The stages that are the page's own, and do not belong into the pipeline's books.
    pub fn taps(&self) -> &[Arc<str>] {
        &self.taps
    }

    /// Takes the page's own stages and links out of the books, which are the pipeline's.
    pub fn strip(&self, books: &mut Books) {
        books.without(&self.taps);
    }
}

/// Takes the numbers, again and again, until the run is over.
async fn sample(board: Arc<Board>, mut sampler: Sampler, running: Arc<Running>) {
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !board.has_ended() {
        ticks.tick().await;
        board.publish(&sampler.sample(board.seconds(), &running.stats()));
    }
}

/// Makes the newest pictures for whoever looks, again and again.
async fn show(board: Arc<Board>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        for (port, frame) in board.wanted_frames() {
            let made = tokio::task::spawn_blocking(move || match encode::event(port, &frame) {
                Ok(event) => Ok((frame.number, event)),
                Err(error) => Err((frame.number, error)),
            });
            match made.await {
                Ok(Ok((number, event))) => board.show(port, number, event),
                Ok(Err((number, error))) => {
                    board.pass_over(port, number);
                    tracing::warn!("a picture cannot be shown: {error}");
                }
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
