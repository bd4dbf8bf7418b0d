//! One who asks: a thread each, which greets, hears one request, and says what came of it.
//!
//! Invariant: whoever goes away, says nothing, or says garbage, ends this conversation and nothing else.

use std::io::{self, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::message::{Greeting, REQUEST_MAX, Reply, Request, VERSION, hear, say};
use super::process::{Outcome, Server};
use super::socket;
use crate::error::Failure;

/// So many may be spoken with at once.
const CONVERSATIONS_MAX: usize = 128;
/// A request comes at once, or never.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets a thread accept whoever connects, until the process ends.
pub(crate) fn accept(server: &Arc<Server>, listener: UnixListener) -> anyhow::Result<()> {
    let server = Arc::clone(server);
    let conversations = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => begin(&server, stream, &conversations),
                // For instance, too many files are open: those who wait are served when some are closed.
                Err(error) => {
                    server.log().line(&format!("could not accept a connection: {error}"));
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("socket".to_owned())
        .spawn(accept)
        .context("could not start a thread")?;
    Ok(())
}

fn begin(server: &Arc<Server>, mut stream: UnixStream, conversations: &Arc<AtomicUsize>) {
    let taken = Taken(Arc::clone(conversations));
    if conversations.fetch_add(1, Ordering::Relaxed) >= CONVERSATIONS_MAX {
        let failure = Failure::new("the process speaks with too many at once").next("try again");
        if let Err(error) = say(&mut stream, &Reply::Failed { failure }) {
            server.log().line(&format!("could not turn somebody away: {error}"));
        }
        return;
    }
    let speaker = Arc::clone(server);
    let converse = move || {
        let _until_the_end = taken;
        if let Err(error) = converse(&speaker, stream) {
            speaker.log().line(&format!("a conversation ended early: {error}"));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("request".to_owned()).spawn(converse) {
        server.log().line(&format!("could not start a thread: {error}"));
    }
}

/// A place among the conversations.
struct Taken(Arc<AtomicUsize>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(server: &Server, mut stream: UnixStream) -> io::Result<()> {
    let peer = socket::peer(&stream)?;
    let own = rustix::process::getuid().as_raw();
    if peer.uid != own && peer.uid != 0 {
        return Err(io::Error::other(format!("process {} is of user {}", peer.pid, peer.uid)));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    say(&mut stream, &Greeting { tickfs: VERSION, pid: std::process::id() })?;
    if !speaks(&stream)? {
        return Ok(());
    }
    // What is not read when the process ends was not done, and the kernel tells who said it.
    let Some(_until_it_is_answered) = Heard::begin(server) else { return Ok(()) };
    let Some(request) = hear::<Request>(&mut BufReader::new(&stream), REQUEST_MAX)? else {
        return Ok(());
    };
    let speaking = Mutex::new(&mut stream);
    let progress = |text| {
        let said = say(&mut *speaking.lock(), &Reply::Progress { text });
        if let Err(error) = said {
            server.log().line(&format!("nobody waits for an answer any more: {error}"));
        }
    };
    let met = match request {
        Request::Status => server.meet(&request),
        _ => server.announcer().telling(progress, || server.meet(&request)),
    };
    let reply = match met {
        Ok(Outcome::Answer(answer)) => Reply::Done { answer },
        Ok(Outcome::Ending) => Reply::Ending,
        Err(error) => Reply::Failed { failure: Failure::from(&error) },
    };
    say(&mut stream, &reply)
}

/// Waits for the first byte of a request; `false`: it never came.
fn speaks(stream: &UnixStream) -> io::Result<bool> {
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut polled = [PollFd::new(stream, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// While this lives, the process does not end.
struct Heard<'a>(&'a Server);

impl<'a> Heard<'a> {
    /// `None`: it ends now.
    fn begin(server: &'a Server) -> Option<Self> {
        server.hears().then_some(Self(server))
    }
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        self.0.answered();
    }
}
