//! SIGINT and SIGTERM.

/// What interrupts a run or a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    Terminate,
}

/// Completes at SIGINT (Ctrl-C) or SIGTERM.
pub(super) async fn interrupted() -> Signal {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        {
            return tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
            };
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be had on this system: the work ends by itself.
        std::future::pending::<()>().await;
    }
    Signal::Interrupt
}
