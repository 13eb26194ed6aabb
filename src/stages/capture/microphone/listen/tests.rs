use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use super::super::device::{DeviceError, Failure};
use super::super::ring::{RingWriter, SlipBell, ring};
use super::*;
use crate::stages::capture::trial::{self, Ran};
use crate::units::VirtualClock;

/// A device of the test: what its driver would do.
struct Fake {
    writer: RingWriter,
    bell: SlipBell,
    failure: Failure,
    next: f32,
    /// Dropped when the driver has closed it.
    open: Option<oneshot::Sender<()>>,
    held: mpsc::Receiver<()>,
}

impl Fake {
    /// Delivers this many frames of one channel, numbered.
    fn deliver(&mut self, frames: usize) {
        let first = self.next;
        self.next += frames as f32;
        self.writer.write((0..frames).map(|frame| first + frame as f32));
    }

    fn is_held(&self) -> bool {
        self.held.try_recv() != Err(mpsc::TryRecvError::Disconnected)
    }
}

fn device(hz: u32, buffer: usize) -> (Line, Fake) {
    let (writer, reader) = ring(buffer, 1);
    let (bell, failure) = (writer.bell(), Failure::default());
    let (hold, held) = mpsc::channel();
    let (open, closed) = oneshot::channel();
    let (answering, answer) = oneshot::channel();
    let connected = Connected {
        name: "fake".into(),
        rate: Rate::hz(hz).unwrap(),
        channels: 1,
        ring: reader,
        failure: failure.clone(),
    };
    answering.send(Ok(connected)).unwrap();
    (Line { answer, hold, closed }, Fake { writer, bell, failure, next: 1.0, open: Some(open), held })
}

fn refusal(wanted: &str) -> Line {
    let (answering, answer) = oneshot::channel();
    answering.send(Err(DeviceError::Missing { wanted: wanted.into(), found: Vec::new() })).unwrap();
    Line { answer, hold: mpsc::channel().0, closed: oneshot::channel().1 }
}

struct Bench {
    clock: Arc<VirtualClock>,
    listener: Listener,
    /// What dialling gives next.
    lines: Arc<Mutex<VecDeque<Line>>>,
    ran: Ran,
}

/// Packets of 10 ms at 1000 Hz; silent after 100 ms, opened again after 50 ms, muted after 200 ms.
async fn bench(buffer: usize) -> (Bench, Fake) {
    let clock = Arc::new(VirtualClock::new());
    let (mut line, fake) = device(1000, buffer);
    let connected = (&mut line.answer).await.unwrap().unwrap();
    let lines: Arc<Mutex<VecDeque<Line>>> = Arc::default();
    let dialled = lines.clone();
    let patience = Patience {
        packet: TimeSpan::from_millis(10),
        silent_after: TimeSpan::from_millis(100),
        reopen: TimeSpan::from_millis(50),
        muted_after: Some(TimeSpan::from_millis(200)),
    };
    let dial: Dial = Box::new(move || dialled.lock().unwrap().pop_front().expect("a line for each dialling"));
    let mut listener = Listener::new("mic".into(), patience, clock.clone(), dial, line, connected);
    let mut out = Output::new();
    // The first look fixes time zero.
    assert!(tokio::time::timeout(Duration::ZERO, listener.read(&mut out)).await.is_err());
    let ran = trial::begun(&listener);
    (Bench { clock, listener, lines, ran }, fake)
}

impl Bench {
    /// Reads as long as there is something to read now. Whether the stream was reopened.
    async fn read(&mut self) -> bool {
        let mut out = Output::new();
        let mut reopened = false;
        loop {
            let read = tokio::time::timeout(Duration::from_millis(2), self.listener.read(&mut out)).await;
            trial::collect(&mut self.ran, &mut out);
            self.ran.loss = self.listener.loss();
            match read {
                Err(_) => return reopened,
                Ok(flow) => reopened |= flow.unwrap() == Flow::Reopen,
            }
        }
    }

    async fn pass(&mut self, ms: i64) -> bool {
        self.clock.advance(TimeSpan::from_millis(ms));
        self.read().await
    }

    /// The device delivers as time goes by.
    async fn record(&mut self, fake: &mut Fake, ms: usize) {
        for _ in 0..ms / 5 {
            fake.deliver(5);
            self.pass(5).await;
        }
    }

    /// Starts in ms, frames, the first sample, and whether flagged, of the packets since the last call.
    fn packets(&mut self) -> Vec<(i64, usize, f32, bool)> {
        self.ran
            .drafts
            .drain(..)
            .map(|draft| {
                let audio = draft.payload.audio().unwrap();
                (draft.start.as_nanos() / 1_000_000, audio.frames(), audio.samples()[0], draft.flags.gap)
            })
            .collect()
    }

    fn kinds(&self) -> Vec<EventKind> {
        self.ran.events.iter().map(|event| event.kind).collect()
    }
}

#[tokio::test]
async fn packets_are_cut_from_whatever_the_device_delivers() {
    let (mut bench, mut fake) = bench(1000).await;
    for frames in [3, 9, 1, 30] {
        fake.deliver(frames);
        bench.pass(5).await;
    }
    assert_eq!(
        bench.packets(),
        [(0, 10, 1.0, false), (10, 10, 11.0, false), (20, 10, 21.0, false), (30, 10, 31.0, false)]
    );
    let mut out = Output::new();
    fake.deliver(2);
    bench.listener.stop(&mut out);
    trial::collect(&mut bench.ran, &mut out);
    assert_eq!(bench.packets(), [(40, 5, 41.0, false)], "stopping takes the rest");
    assert_eq!(bench.listener.loss(), Loss { delivered: 45, overrun: 0, damaged: 0 });
    assert_eq!(bench.kinds(), []);
    let info = bench.listener.info();
    assert!(info.live && info.wall.is_some() && info.formats[0].is_fixed());
}

#[tokio::test]
async fn a_silent_device_is_told_closed_opened_again_and_its_gap_measured() {
    let (mut bench, mut fake) = bench(1000).await;
    bench.record(&mut fake, 35).await;
    for _ in 0..3 {
        bench.pass(33).await;
        assert_eq!(bench.kinds(), []);
    }
    bench.pass(10).await;
    assert_eq!(bench.kinds(), [EventKind::DeviceSilent]);
    let told = &bench.ran.events[0].message;
    assert!(told.starts_with("the microphone \"fake\" has delivered nothing for 0.1"), "{told}");
    assert!(!fake.is_held(), "it is let go");
    // The driver takes its time: nothing is dialled meanwhile, or the bench would panic.
    bench.pass(500).await;
    let (line, mut again) = device(1000, 1000);
    bench.lines.lock().unwrap().push_back(line);
    drop(fake.open.take());
    bench.read().await;
    bench.pass(49).await;
    assert_eq!(bench.lines.lock().unwrap().len(), 1, "the wait is not over");
    bench.pass(1).await;
    assert_eq!(bench.lines.lock().unwrap().len(), 0);
    assert_eq!(bench.kinds(), [EventKind::DeviceSilent], "it is back when it delivers, not when it opens");
    again.deliver(20);
    bench.pass(20).await;
    assert_eq!(bench.kinds(), [EventKind::DeviceSilent, EventKind::DeviceBack]);
    let now = bench.clock.now().as_nanos() / 1_000_000;
    let before = [(0, 10, 1.0, false), (10, 10, 11.0, false), (20, 10, 21.0, false), (30, 5, 31.0, false)];
    let after = [(now - 20, 10, 1.0, true), (now - 10, 10, 11.0, false)];
    assert_eq!(bench.packets(), [&before[..], &after[..]].concat());
    assert_eq!(bench.listener.loss(), Loss { delivered: 55, overrun: 0, damaged: 0 });
}

#[tokio::test]
async fn an_unplugged_device_is_lost_and_comes_back() {
    let (mut bench, mut fake) = bench(1000).await;
    bench.record(&mut fake, 20).await;
    fake.deliver(4);
    fake.failure.set("it was unplugged".into());
    drop(fake.open.take());
    bench.pass(5).await;
    assert_eq!(bench.kinds(), [EventKind::DeviceLost]);
    assert_eq!(bench.packets().last(), Some(&(20, 4, 21.0, false)), "what it delivered before is kept");
    bench.lines.lock().unwrap().extend([refusal("usb"), refusal("usb")]);
    bench.pass(50).await;
    bench.pass(50).await;
    assert_eq!(bench.kinds(), [EventKind::DeviceLost; 2], "the same refusal is told once");
    assert!(bench.ran.events[1].message.contains("no microphone `usb`"), "{:?}", bench.ran.events);
    let (line, mut again) = device(1000, 1000);
    bench.lines.lock().unwrap().push_back(line);
    bench.pass(50).await;
    again.deliver(10);
    bench.pass(5).await;
    assert_eq!(bench.kinds(), [EventKind::DeviceLost, EventKind::DeviceLost, EventKind::DeviceBack]);
    assert_eq!(bench.packets(), [(170, 10, 1.0, true)]);
}

#[tokio::test]
async fn a_device_that_comes_back_otherwise_reopens_the_stream() {
    let (mut bench, mut fake) = bench(1000).await;
    bench.record(&mut fake, 20).await;
    fake.failure.set("gone".into());
    drop(fake.open.take());
    bench.pass(10).await;
    bench.packets();
    let (line, mut again) = device(2000, 1000);
    bench.lines.lock().unwrap().push_back(line);
    assert!(bench.pass(50).await, "the format is another one");
    assert_eq!(bench.listener.info().formats, [Format::audio(Rate::hz(2000).ok(), Some(1))]);
    again.deliver(20);
    bench.pass(10).await;
    assert_eq!(bench.packets(), [(80, 20, 1.0, true)]);
}

#[tokio::test]
async fn samples_without_room_leave_a_gap_of_their_length() {
    let (mut bench, mut fake) = bench(20).await;
    fake.deliver(50);
    bench.pass(50).await;
    fake.deliver(10);
    bench.pass(10).await;
    assert_eq!(bench.packets(), [(0, 10, 1.0, false), (10, 10, 11.0, false), (50, 10, 51.0, true)]);
    assert_eq!(bench.listener.loss(), Loss { delivered: 60, overrun: 30, damaged: 0 });
    assert_eq!(bench.kinds(), [EventKind::Overrun]);
    fake.deliver(30);
    fake.deliver(1);
    bench.pass(30).await;
    fake.deliver(10);
    bench.pass(10).await;
    assert_eq!(bench.kinds(), [EventKind::Overrun], "not told again within seconds");
    assert_eq!(bench.listener.loss(), Loss { delivered: 101, overrun: 41, damaged: 0 });
    assert_eq!(bench.packets().last(), Some(&(91, 10, 92.0, true)));
}

#[tokio::test]
async fn what_the_driver_lost_is_placed_by_the_clock() {
    let (mut bench, mut fake) = bench(1000).await;
    bench.record(&mut fake, 20).await;
    fake.deliver(5);
    fake.bell.ring();
    bench.clock.advance(TimeSpan::from_millis(75));
    fake.deliver(10);
    bench.pass(5).await;
    assert_eq!(bench.kinds(), [EventKind::Overrun]);
    let packets = bench.packets();
    assert_eq!(packets[2..], [(20, 5, 21.0, false), (90, 10, 26.0, true)]);
}

#[tokio::test]
async fn nothing_but_zeros_is_told_once() {
    let (mut bench, mut fake) = bench(1000).await;
    for round in 0..100 {
        // A sound in the first second, zeros from then on.
        fake.writer.write((0..5).map(|_| if round < 10 { 0.5 } else { 0.0 }));
        bench.pass(5).await;
    }
    assert_eq!(bench.kinds(), [EventKind::DeviceSilent]);
    let told = &bench.ran.events[0].message;
    assert_eq!(told, "the microphone \"fake\" gives nothing but zeros for 0.200 s; is it muted?");
    assert_eq!(bench.packets().len(), 50);
}
