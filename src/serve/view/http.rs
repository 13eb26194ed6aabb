//! The page's HTTP server: a few paths, read only.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_io_timeout::TimeoutStream;

use super::board::Board;
use super::viewer::Viewer;
use crate::serve::Access;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 64;

/// How long a browser may take to send a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a browser may leave what is sent to it unread.
const TAKE_WITHIN: Duration = Duration::from_secs(30);

/// The page: path, type, content.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("page/app.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

const JSON: &str = "application/json";

/// Sent with every answer: nothing from elsewhere is loaded, nothing is kept, the token goes nowhere.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What an answer carries: a text, or events as they come.
pub(super) enum Content {
    Whole(Option<Bytes>),
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Events(events) => events.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Events(_) => SizeHint::default(),
        }
    }
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, access: Arc<Access>, board: Arc<Board>, port: u16) {
    // Browsers keep cookies by host, whatever the port: each page has one of its own.
    let cookie: Arc<str> = format!("percept-view-{port}").into();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, for one: it may pass.
                tracing::warn!("a browser could not be let in: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (access, board, cookie) = (access.clone(), board.clone(), cookie.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &access, &board, &cookie);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(64 << 10);
            // A browser that goes away in the middle is no fault.
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(TAKE_WITHIN));
            let _ = server.serve_connection(TokioIo::new(Box::pin(stream)), service).await;
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, access: &Access, board: &Arc<Board>, cookie: &str) -> Response<Content> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if !access.serves_host(text(header::HOST)) {
        return refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "This page answers to localhost and to this machine's loopback address only.",
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "This page can only be read.");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let path = request.uri().path();
    let asked = request.uri().query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("token=")));
    if let (Some(token), Some(wanted)) = (asked, access.token())
        && path == "/"
        && access.admits(Some(token))
    {
        // The browser keeps it from here on, and the address that it shows does not hold it.
        let cookie = format!("{cookie}={wanted}; HttpOnly; SameSite=Lax; Path=/");
        let mut moved = whole(StatusCode::SEE_OTHER, "text/plain", "");
        moved.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            moved.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        return moved;
    }
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let cookies = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let kept = cookies
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|found| found.trim().strip_prefix(cookie)?.strip_prefix('='));
    if ![asked, bearer, kept].into_iter().any(|offered| access.admits(offered)) {
        return refusal(
            StatusCode::UNAUTHORIZED,
            "Open the address that percept printed, with its token: http://…/?token=…",
        );
    }
    match path {
        "/pipeline" => whole(StatusCode::OK, JSON, board.outline().to_string()),
        "/stats" => whole(StatusCode::OK, JSON, board.stats().to_string()),
        "/events" if *request.method() == Method::GET => events(board),
        path => match FILES.iter().find(|(name, ..)| *name == path) {
            Some((_, kind, content)) => whole(StatusCode::OK, kind, *content),
            None => refusal(StatusCode::NOT_FOUND, "There is no such page."),
        },
    }
}

fn events(board: &Arc<Board>) -> Response<Content> {
    let Some(viewer) = board.join() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open.");
    };
    // One event on its way, one that waits to be written: what comes later waits in the viewer's own place.
    let (sender, events) = mpsc::channel(1);
    let present = Present { board: board.clone(), viewer };
    tokio::spawn(async move {
        loop {
            let text = tokio::select! {
                text = present.viewer.next() => text,
                () = sender.closed() => return,
            };
            if sender.send(Bytes::from(text)).await.is_err() {
                return;
            }
        }
    });
    response(StatusCode::OK, "text/event-stream", Content::Events(events))
}

/// A browser that looks; it leaves the board when this is dropped.
struct Present {
    board: Arc<Board>,
    viewer: Arc<Viewer>,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.board.leave(&self.viewer);
    }
}

fn whole(status: StatusCode, kind: &str, text: impl Into<Bytes>) -> Response<Content> {
    response(status, kind, Content::Whole(Some(text.into())))
}

fn refusal(status: StatusCode, text: &'static str) -> Response<Content> {
    whole(status, "text/plain; charset=utf-8", text)
}

fn response(status: StatusCode, kind: &str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    response
}
