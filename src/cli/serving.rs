//! The web page and the control socket of a run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::CliError;
use super::global::Global;
use super::signals::interrupted;
use crate::pipeline::Plan;
use crate::runtime::{Books, Pipeline, Report, Running};
use crate::serve::ServeError;
use crate::serve::control::{Control, ControlAddress, Listening, Models};
use crate::serve::view::{Door, View, ViewOptions};
use crate::units::Clock;

/// How long browsers have to take the last word.
const LAST_WORD: Duration = Duration::from_millis(300);

/// How to look into a run, and how to change it.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "While it runs")]
pub(super) struct Serving {
    /// Shows the run as a web page, as in --view 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    view: Option<SocketAddr>,

    /// What the page's readers must show [default: nothing on this machine; at other addresses a token that is made up
    /// and printed]
    #[arg(long, value_name = "TOKEN", requires = "view")]
    view_token: Option<String>,

    /// Keeps the page when the run has come to its end, until it is interrupted
    #[arg(long, requires = "view")]
    view_stay: bool,

    /// Takes the commands of `percept live`, as in --control /run/user/1000/percept.sock or --control 127.0.0.1:9200
    #[arg(long, value_name = "PATH|ADDRESS")]
    control: Option<ControlAddress>,

    /// What those who give commands must show, at an address [default: one that is made up and printed]
    #[arg(long, value_name = "TOKEN", requires = "control")]
    control_token: Option<String>,
}

/// What serves a run, before it begins and while it lasts.
#[derive(Debug, Default)]
pub(super) struct Served {
    door: Option<Door>,
    view: Option<View>,
    control: Option<(Listening, Models)>,
    url: Option<String>,
    stays: bool,
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> CliError {
        match error {
            ServeError::Token { .. } | ServeError::Address { .. } | ServeError::NoUnixSockets => {
                CliError::usage(error.to_string())
            }
            error => CliError::failed(error.to_string()),
        }
    }
}

impl Serving {
    /// Opens the sockets and says where they are. Call it inside a tokio runtime.
    pub(super) fn open(&self, pipeline: &Pipeline, global: &Global) -> Result<Served, CliError> {
        let door = self.view.map(|address| Door::open(address, self.view_token.as_deref())).transpose()?;
        let control = self.control.as_ref().map(|address| Listening::open(address, self.control_token.as_deref()));
        let control = control.transpose()?.map(|listening| (listening, Models::of(pipeline)));
        let url = door.as_ref().map(Door::url);
        // A token that was made up is shown even to who wants quiet: without it the socket is of no use.
        let say = |made_up: bool, text: String| if made_up { global.stderr().line(&text) } else { global.note(text) };
        if let Some(url) = &url {
            say(self.view_token.is_none() && url.contains("token="), format!("the run can be watched at {url}"));
        }
        if let Some((listening, _)) = &control {
            let token = listening.token().filter(|_| self.control_token.is_none());
            let shown = token.map(|token| format!(", with --token {token}")).unwrap_or_default();
            say(token.is_some(), format!("`percept live` reaches it with --control {}{shown}", listening.address()));
        }
        Ok(Served { door, view: None, control, url, stays: self.view_stay })
    }
}

impl Served {
    /// Adds to the plan what the page looks through.
    pub(super) fn attach(&mut self, plan: &mut Plan, clock: Arc<dyn Clock>) {
        if self.door.is_some() {
            self.view = Some(View::attach(plan, clock, ViewOptions::default()));
        }
    }

    /// Serves from now on. Call it inside a tokio runtime.
    pub(super) fn begin(&mut self, running: &Arc<Running>) {
        if let (Some(door), Some(view)) = (self.door.take(), &self.view) {
            view.serve(door, running.clone());
        }
        if let Some((listening, models)) = &mut self.control {
            let taps = self.view.as_ref().map(View::taps).unwrap_or_default();
            listening.serve(Control::new(running.clone(), models.clone()).hiding(taps.to_vec()));
        }
    }

    /// The run is over: tells whoever watches, stays where that was asked for and it came to its end `by_itself`, and
    /// gives the books without what the page added.
    pub(super) async fn finish(&self, report: &Report, by_itself: bool, global: &Global) -> Books {
        let mut books = report.books.clone();
        let Some(view) = &self.view else { return books };
        view.finish(report);
        view.strip(&mut books);
        match &self.url {
            Some(url) if self.stays && by_itself => {
                global.note(format!("the run is over; {url} stays until it is interrupted"));
                interrupted().await;
            }
            _ => tokio::time::sleep(LAST_WORD).await,
        }
        books
    }
}
