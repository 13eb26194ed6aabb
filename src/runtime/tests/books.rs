//! A packet that vanishes is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::kit::*;
use crate::media::Format;
use crate::stage::{Contract, Role};

#[test]
fn a_deleted_packet_is_found_by_the_books() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let held = Made::new(Contract::new().input("in", Format::Any), move |_, _, _, _| {
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let running = Planner::new()
        .stage("count", Role::Capture, Count { streams: 1, packets: 20, every: None })
        .stage("held", Role::Sink, held)
        .link(0, 1, 0)
        .start();
    while running.stats().stages[0].written < 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(running.inboxes()[0].delete_one());
    open.store(true, Ordering::SeqCst);
    let report = running.wait();
    assert!(!report.is_clean());
    let imbalances = report.books.imbalances();
    assert_eq!(imbalances.len(), 1, "{imbalances:?}");
    assert_eq!(
        imbalances[0].to_string(),
        "count → held: 20 packets sent but 19 packets received, dropped or cancelled"
    );
}
