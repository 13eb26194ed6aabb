//! The listening side: lines in, lines out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::LONGEST_LINE;
use super::address::ControlAddress;
use super::handler::Control;
use super::protocol::{Answer, Code, Envelope, Refusal};
#[cfg(unix)]
use super::socket::SocketFile;
use crate::serve::{Access, ServeError};

/// Connections at a time.
const MOST_CONNECTIONS: usize = 16;
/// How long a connection may take to say its first line.
const FIRST_LINE_WITHIN: Duration = Duration::from_secs(10);
/// How long one that is refused may take to say what it wants.
const REQUEST_WITHIN: Duration = Duration::from_secs(1);
/// How long it may say nothing later.
const IDLE: Duration = Duration::from_secs(300);
/// How long it may take to read an answer.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// A control socket that is listened at, before or while requests are answered. A unix socket's file is removed when
/// this is dropped.
#[derive(Debug)]
pub struct Listening {
    door: Option<Door>,
    access: Access,
    address: ControlAddress,
    #[cfg(unix)]
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Door {
    Net(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl Listening {
    /// Listens at `address`; port 0 takes a free one. Call it inside a tokio runtime.
    ///
    /// A unix socket's file can be used by its owner only. One that is there and that nobody listens at is replaced. At
    /// an address a token is wanted; one is made where none is given.
    pub fn open(address: &ControlAddress, token: Option<&str>) -> Result<Listening, ServeError> {
        match address {
            ControlAddress::Net(address) => Self::net(*address, token),
            #[cfg(unix)]
            ControlAddress::Path(path) => {
                let failed = |source| ServeError::Listen { address: path.display().to_string(), source };
                let (file, listener) = SocketFile::bind(path)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
                let (door, address) = (Some(Door::Unix(listener)), address.clone());
                Ok(Listening { door, access: Access::FILE, address, _file: Some(file) })
            }
            #[cfg(not(unix))]
            ControlAddress::Path(_) => Err(ServeError::NoUnixSockets),
        }
    }

    fn net(address: SocketAddr, token: Option<&str>) -> Result<Listening, ServeError> {
        let access = Access::to_change(address.ip(), token)?;
        let failed = |source| ServeError::Listen { address: address.to_string(), source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = ControlAddress::Net(listener.local_addr().map_err(failed)?);
        let door = Some(Door::Net(TcpListener::from_std(listener).map_err(failed)?));
        Ok(Listening {
            door,
            access,
            address,
            #[cfg(unix)]
            _file: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &ControlAddress {
        &self.address
    }

    /// The token that is wanted, if any.
    pub fn token(&self) -> Option<&str> {
        self.access.token()
    }

    /// Answers requests until the runtime ends. Returns at once; call it inside a tokio runtime.
    pub fn serve(&mut self, control: Control) {
        if let Some(door) = self.door.take() {
            tokio::spawn(serve(door, Arc::new(self.access.clone()), Arc::new(control)));
        }
    }
}

async fn serve(door: Door, access: Arc<Access>, control: Arc<Control>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let (reader, mut writer) = match door.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("a control connection could not be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tokio::spawn(async move {
                // Closing with a request unread would take the answer away from who asks.
                let _ = timeout(REQUEST_WITHIN, read_line(&mut BufReader::new(reader))).await;
                let message = format!("{MOST_CONNECTIONS} are connected already; try again when one has gone");
                let answer = Answer::new(None, Err(Refusal::new(Code::Busy, message)));
                let _ = send(&mut writer, &answer.line()).await;
            });
            continue;
        };
        let (access, control) = (access.clone(), control.clone());
        tokio::spawn(async move {
            // Who goes away in the middle takes no answer.
            let _ = converse(BufReader::new(reader), writer, &access, &control).await;
            drop(permit);
        });
    }
}

impl Door {
    async fn accept(&self) -> io::Result<(Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>)> {
        match self {
            Door::Net(listener) => {
                let (reader, writer) = listener.accept().await?.0.into_split();
                Ok((Box::new(reader), Box::new(writer)))
            }
            #[cfg(unix)]
            Door::Unix(listener) => {
                let (reader, writer) = listener.accept().await?.0.into_split();
                Ok((Box::new(reader), Box::new(writer)))
            }
        }
    }
}

/// Answers one connection until it ends, or says something that is no request.
async fn converse(
    mut reader: impl AsyncBufRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    access: &Access,
    control: &Arc<Control>,
) -> io::Result<()> {
    let mut within = FIRST_LINE_WITHIN;
    while let Some(line) = timeout(within, read_line(&mut reader)).await?? {
        within = IDLE;
        let (mut id, mut end) = (None, None);
        let result = match line {
            Line::TooLong => {
                Err(Refusal::new(Code::BadRequest, format!("expected at most {LONGEST_LINE} bytes a line")))
            }
            Line::Whole(line) => match Envelope::read(&line) {
                Err(refusal) => Err(refusal),
                Ok(mut envelope) => {
                    id = envelope.id.take();
                    match access.admits(envelope.token.as_deref()) {
                        false => Err(Refusal::new(Code::Token, "the token is missing or wrong")),
                        true => match envelope.request() {
                            Err(refusal) => Err(refusal),
                            Ok(request) => {
                                let control = control.clone();
                                let done = tokio::task::spawn_blocking(move || control.carry_out(&request)).await;
                                let Ok(done) = done else { return Err(io::Error::other("the request panicked")) };
                                done.map(|done| {
                                    end = done.end;
                                    done.result
                                })
                            }
                        },
                    }
                }
            },
        };
        let closes = result.as_ref().is_err_and(Refusal::closes);
        let line = Answer::new(id, result).line();
        let written = send(&mut writer, &line).await;
        // After the answer, which would be lost with the process; and whether it is read or not.
        end.into_iter().for_each(|end| control.end(end));
        written?;
        if closes {
            return Ok(());
        }
    }
    Ok(())
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    timeout(READ_WITHIN, async {
        writer.write_all(line.as_bytes()).await?;
        writer.flush().await
    })
    .await?
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// The next line without its end; `None` at the end. A line that the end cuts off counts as one.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok((!line.is_empty()).then_some(Line::Whole(line)));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        if line.len() + part.len() > LONGEST_LINE {
            return Ok(Some(Line::TooLong));
        }
        line.extend_from_slice(part);
        let taken = end.map_or(bytes.len(), |end| end + 1);
        reader.consume(taken);
        if end.is_some() {
            return Ok(Some(Line::Whole(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_a_cut_off_one_is_read() {
        let long = [vec![b'x'; LONGEST_LINE + 1], b"\n".to_vec()].concat();
        let most = [vec![b'x'; LONGEST_LINE], b"\n".to_vec()].concat();
        for (bytes, expected) in [
            (b"".to_vec(), vec![]),
            (b"a\n\nb".to_vec(), vec![1, 0, 1]),
            (most, vec![LONGEST_LINE]),
            (long, vec![usize::MAX]),
        ] {
            let mut reader = BufReader::new(&bytes[..]);
            let mut found = Vec::new();
            while let Some(line) = read_line(&mut reader).await.unwrap() {
                match line {
                    Line::Whole(line) => found.push(line.len()),
                    Line::TooLong => {
                        found.push(usize::MAX);
                        break;
                    }
                }
            }
            assert_eq!(found, expected);
        }
    }
}
