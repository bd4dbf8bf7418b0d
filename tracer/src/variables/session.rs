//! One run, from start to end: records come in, events go out.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Sent};
use tickfs_store::disk::Durability;
use tickfs_store::runs::{RunFacts, RunStatus, RunWriter, Tag, Value};

use super::counts::Counts;
use super::error::{Error, Result};
use super::event::{self, Added, End, Facts};
use super::options::{Level, Options};
use super::output::Output;
use super::processor::{Processor, Verdict};
use super::program::Program;
use super::raw::{Open, Statements, Write};
use super::symbols::{Memory, Message, Symbols};
use crate::sys::layout::{Fixed, KIND_MESSAGE, KIND_OVER, KIND_PATCH, KIND_RAW, KIND_VALUE};
use crate::sys::{Keeper, Next, Ring};

/// A tracer that nobody wakes looks by itself after so long,
const SLEEP: Duration = Duration::from_millis(50);
/// and one that has just read something after so long,
const NAP: Duration = Duration::from_millis(1);
/// until it has found nothing so often.
const LOOKS: u32 = 4;
/// What the store holds of a run is made durable so often.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// So many records are read before something else is looked after.
const TURN: usize = 4096;
/// A value of up to so many bytes is short.
const SHORT: usize = 64;

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub facts: RunFacts,
    /// The program was refused by its shim, and nothing of it has run.
    pub invalid: Option<String>,
}

/// Runs the program and records it until it ends. `started` is told what is known when the program has been started.
pub fn trace(mut options: Options, started: &dyn Fn(&RunFacts)) -> Result<Ended> {
    let language = options.check()?;
    let mut processors = Vec::new();
    for path in &options.processors {
        let (processor, warning) = Processor::start(path, language)?;
        (options.announce)(Level::Debug, &format!("the processor {} is ready", path.display()));
        if let Some(warning) = warning {
            (options.announce)(Level::Warning, &warning);
        }
        processors.push(processor);
    }
    let output = Output::open(&options.output)?;
    let facts = RunFacts {
        run: options.run.clone(),
        language: language.name().to_owned(),
        script: options.script.display().to_string(),
        script_tick: options.kept.as_ref().and_then(|kept| kept.script_tick),
        output: output.path().display().to_string(),
        started_at: (options.clock)().to_iso(),
        ended_at: None,
        status: RunStatus::Running,
        exit_code: None,
        signal: None,
        capabilities: "hooks".to_owned(),
        variables: 0,
        counts: Counts::default().named(),
    };
    let handled = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
    let signals = SignalsInfo::<WithOrigin>::new(handled).map_err(|source| Error::Io {
        action: "handle the signals of",
        path: options.script.clone(),
        source,
    })?;
    let program = Program::start(&options, language)?;
    if let Some(kept) = &options.kept {
        let script = std::fs::read(&options.script).map_err(Error::io("read", &options.script))?;
        kept.writer.keep_script(&script)?;
        kept.writer.put_facts(&facts, Durability::Synced)?;
    }
    started(&facts);
    (options.announce)(Level::Info, &format!("run {} of {}", options.run, options.script.display()));
    let (depth, head) = (options.depth.0, event::head(options.run.as_str()));
    let session = Session {
        sink: Sink {
            options: &mut options,
            processors,
            output,
            facts,
            counts: Counts::default(),
            warned: None,
        },
        symbols: Symbols::default(),
        depth,
        pieces: HashMap::new(),
        statements: Statements::default(),
        events: 0,
        head,
        invalid: None,
        attached: false,
    };
    session.run(program, signals)
}

struct Session<'a> {
    sink: Sink<'a>,
    symbols: Symbols,
    depth: Option<u64>,
    /// What came of a long payload so far, by thread.
    pieces: HashMap<u32, Vec<u8>>,
    statements: Statements,
    events: u64,
    /// How each event begins.
    head: Vec<u8>,
    invalid: Option<String>,
    attached: bool,
}

impl Session<'_> {
    fn run(mut self, mut program: Program, mut signals: SignalsInfo<WithOrigin>) -> Result<Ended> {
        let (mut fixed, mut payload) = (Fixed::default(), Vec::new());
        let mut synced = Instant::now();
        let mut ended = None;
        let mut looks = 0;
        let status = loop {
            // What it wrote before it ended is read in one more turn, and what was found in its memory.
            let finished = ended.is_some() && program.keeper.as_ref().is_none_or(Keeper::is_finished);
            let read = self.drain(&mut program.ring, &mut fixed, &mut payload);
            for signal in signals.pending() {
                forward(&program, &signal);
            }
            let over = self.statements.over_by_time();
            self.told(over);
            if self.sink.output.is_due() {
                self.sink.flush();
            }
            if synced.elapsed() >= SYNC_EVERY {
                synced = Instant::now();
                self.sink.keep(Durability::Cache, self.symbols.variables.len());
            }
            if read == TURN {
                continue;
            }
            if let Some(status) = ended.filter(|_| finished) {
                break status;
            }
            let waited = program.child.try_wait();
            ended = waited.map_err(|source| Error::Io {
                action: "wait for",
                path: self.sink.options.script.clone(),
                source,
            })?;
            match (&program.keeper, ended) {
                (Some(keeper), Some(_)) => keeper.finish(),
                (None, Some(_)) => continue,
                _ => {}
            }
            looks = if read == 0 { looks + 1 } else { 0 };
            wait(&mut program, looks);
        };
        let over = self.statements.all();
        self.told(over);
        self.sink.flush();
        let facts = self.sink.finish(status, self.symbols.variables.len());
        if !self.attached && self.invalid.is_none() && !status.success() {
            let what = "the tracer could not be loaded into the program: what it printed says why";
            (self.sink.options.announce)(Level::Error, what);
        }
        Ok(Ended { status, facts, invalid: self.invalid })
    }

    /// Reads what there is, up to a turn.
    fn drain(&mut self, ring: &mut Ring, fixed: &mut Fixed, payload: &mut Vec<u8>) -> usize {
        for read in 0..TURN {
            match ring.next(fixed, payload) {
                Next::Nothing => return read,
                Next::Record => self.record(*fixed, payload),
                Next::Damaged => {
                    self.sink.counts.damaged += 1;
                    return read;
                }
            }
        }
        TURN
    }

    fn record(&mut self, fixed: Fixed, payload: &[u8]) {
        if fixed.more {
            self.pieces.entry(fixed.thread).or_default().extend_from_slice(payload);
            return;
        }
        let begun = if self.pieces.is_empty() { None } else { self.pieces.remove(&fixed.thread) };
        match begun {
            None => self.whole(fixed, payload),
            Some(mut all) => {
                all.extend_from_slice(payload);
                self.whole(fixed, &all);
            }
        }
    }

    fn whole(&mut self, fixed: Fixed, payload: &[u8]) {
        match fixed.kind {
            KIND_MESSAGE => match serde_json::from_slice(payload) {
                Ok(message) => self.message(message),
                Err(_foreign) => self.sink.counts.damaged += 1,
            },
            KIND_VALUE => match Tag::from_byte(fixed.tag) {
                Some(tag) => {
                    self.gone_on(fixed.thread, Some(fixed.variable));
                    self.value(fixed, tag, payload);
                }
                None => self.sink.counts.damaged += 1,
            },
            KIND_PATCH => {
                self.gone_on(fixed.thread, Some(fixed.variable));
                self.patch(fixed, payload);
            }
            KIND_RAW => self.write(fixed, payload),
            KIND_OVER => self.gone_on(fixed.thread, None),
            _ => self.sink.counts.damaged += 1,
        }
    }

    fn message(&mut self, message: Message) {
        let announce = &self.sink.options.announce;
        match message {
            Message::Attached(_process) => self.attached = true,
            Message::Variable(declared) => self.symbols.declare(declared, self.depth),
            Message::Sites(file, sites) => self.symbols.sites(&file, sites),
            Message::Query { id, context } => self.symbols.query(id, context),
            Message::NoMain {} => {
                announce(Level::Info, "the script defines no main(): its module-level code was traced")
            }
            Message::Ended(id) => {
                let over = self.statements.all();
                self.told(over);
                drop(self.symbols.instances.remove(&id));
            }
            Message::Memory(memory) => self.memory(&memory),
            Message::GivenUp(id, at) => {
                let name = self.name_of(id);
                let note = format!(
                    "{name}: the instruction at 0x{at} writes it in a way that is not known; \
                     from here on it is followed by hooks alone"
                );
                (self.sink.options.announce)(Level::Warning, &note);
            }
            Message::Note(note) => announce(Level::Warning, &note),
            Message::Invalid(what) => self.invalid = Some(what),
            Message::Untraced(id) => {
                let name = self.name_of(id);
                let note = format!("{name} is a variable of a function: --track-locals traces it");
                (self.sink.options.announce)(Level::Info, &note);
            }
        }
    }

    fn name_of(&mut self, id: u32) -> String {
        let variable = self.symbols.instances.get(&id).map(|instance| instance.variable);
        let variable = variable.and_then(|number| self.symbols.variable(number));
        variable.map_or_else(|| "a variable".to_owned(), |variable| variable.facts.name.clone())
    }

    /// Says once how changes are seen.
    fn memory(&mut self, memory: &Memory) {
        let coalesced = if matches!(memory.mode.as_str(), "handler" | "coarse") { ", coalesced" } else { "" };
        let Memory { raw, kernel, mode, .. } = memory;
        let how = format!("hooks / raw={raw}{coalesced} / kernel={kernel} / mode={mode}");
        let why = memory.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        (self.sink.options.announce)(Level::Info, &format!("changes are seen by {how}{why}"));
        let asked = self.sink.options.flags.faults.name();
        if asked != mode {
            let text = format!("--fault-mode {asked} cannot be had here: {mode} is used instead");
            (self.sink.options.announce)(Level::Warning, &text);
        }
        self.sink.facts.capabilities = how;
    }

    // Writes to memory itself

    fn write(&mut self, fixed: Fixed, payload: &[u8]) {
        let Some(write) = Write::read(payload) else {
            self.sink.counts.damaged += 1;
            return;
        };
        let over = self.statements.over_before(&fixed, &write);
        self.told(over);
        // Its object may be gone, and its memory written once more.
        let Some(known) = self.symbols.instances.get_mut(&fixed.variable) else { return };
        let Some(value) =
            known.value.as_mut().filter(|value| value.bytes.len() >= write.at + write.bytes.len())
        else {
            self.sink.counts.damaged += 1;
            return;
        };
        let over = self.statements.note(fixed, &write, &mut value.bytes);
        self.told(over);
    }

    /// A thread, or a variable, has gone on: what was written before is told first.
    fn gone_on(&mut self, thread: u32, variable: Option<u32>) {
        if !self.statements.is_empty() {
            let over = self.statements.over(thread, variable);
            self.told(over);
        }
    }

    fn told(&mut self, over: impl IntoIterator<Item = Open>) {
        for open in over {
            let known = self.symbols.instances.get(&open.fixed.variable);
            let Some(value) = known.and_then(|known| known.value.as_ref()) else { continue };
            if value.bytes.get(open.range()) == Some(&open.before[..]) {
                self.sink.counts.unchanged += 1;
            } else {
                let size = value.bytes.len();
                self.changed(open.fixed, &Changed { at: open.at, size, before: &open.before });
            }
        }
    }

    fn patch(&mut self, fixed: Fixed, payload: &[u8]) {
        let known =
            self.symbols.instances.get_mut(&fixed.variable).and_then(|instance| instance.value.as_mut());
        let number = |at: usize| {
            let bytes = payload.get(at..at + 8)?.try_into().ok()?;
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let piece = known.zip(number(0).zip(number(8))).and_then(|(value, (at, removed))| {
            let end = at.checked_add(removed).filter(|&end| end <= value.bytes.len())?;
            let added = &payload[16..];
            // What stands behind the piece moves, unless it is replaced by as many bytes.
            let moved = if removed == added.len() { end } else { value.bytes.len() };
            let before = value.bytes[at..moved].to_vec();
            let size = value.bytes.len();
            value.bytes.splice(at..end, added.iter().copied());
            Some((at, before, size))
        });
        let Some((at, before, size)) = piece else {
            self.sink.counts.damaged += 1;
            return;
        };
        let Some(instance) = self.symbols.instances.get(&fixed.variable) else { return };
        let Some(value) = &instance.value else { return };
        let after_end = at + before.len() + value.bytes.len() - size;
        if value.bytes.get(at..after_end) == Some(&before[..]) {
            self.sink.counts.unchanged += 1;
            return;
        }
        self.changed(fixed, &Changed { at, size, before: &before });
    }

    /// A new value of a variable: its first one, or an event.
    fn value(&mut self, fixed: Fixed, tag: Tag, bytes: &[u8]) {
        let Some(instance) = self.symbols.instances.get_mut(&fixed.variable) else {
            return self.stray(fixed, bytes);
        };
        let Some(value) = instance.value.as_mut() else {
            instance.value = Some(Value { tag, bytes: bytes.to_vec() });
            let number = instance.variable;
            return self.first(number, fixed.variable);
        };
        if value.tag == tag && value.bytes == bytes {
            self.sink.counts.unchanged += 1;
            return;
        }
        value.tag = tag;
        // Most values are short, and as long as before: they need no memory of their own.
        let mut short = [0; SHORT];
        let (size, long);
        let before = match short.get_mut(..value.bytes.len()) {
            Some(before) if bytes.len() == before.len() => {
                before.copy_from_slice(&value.bytes);
                value.bytes.copy_from_slice(bytes);
                before
            }
            _ => {
                long = std::mem::replace(&mut value.bytes, bytes.to_vec());
                &long[..]
            }
        };
        size = before.len();
        self.changed(fixed, &Changed { at: 0, size, before });
    }

    /// An event of a variable that has its new value already.
    fn changed(&mut self, fixed: Fixed, changed: &Changed<'_>) {
        let Some(instance) = self.symbols.instances.get(&fixed.variable) else { return };
        self.events += 1;
        let number = instance.variable;
        let Some(variable) = self.symbols.variables.get(number as usize - 1) else { return };
        let Some(value) = instance.value.as_ref() else { return };
        let after_end = changed.at + changed.before.len() + value.bytes.len() - changed.size;
        let end = match (instance.threads, instance.sql) {
            (false, false) => End::Ready(&variable.end),
            (threads, sql) => End::Of {
                thread: threads.then_some(fixed.thread).filter(|&thread| thread != 0),
                sql: if sql { self.symbols.context(fixed.sql) } else { "null" },
                scope: &variable.scope,
            },
        };
        let facts = Facts {
            head: &self.head,
            number: self.events,
            time_ns: fixed.time_ns,
            names: &variable.names,
            site: self.symbols.site(fixed.site),
            at: changed.at,
            before: changed.before,
            after: &value.bytes[changed.at..after_end],
            sizes: (changed.size, value.bytes.len()),
            depth: instance.depth,
            end,
        };
        self.sink.event(&facts, |writer, line| writer.change(number, value, line));
    }

    fn first(&mut self, number: u32, id: u32) {
        let Some(value) = self.symbols.instances.get(&id).and_then(|instance| instance.value.clone()) else {
            return;
        };
        if let Some(variable) = self.symbols.variable(number).filter(|variable| !variable.kept) {
            variable.kept = true;
            let facts = variable.facts.clone();
            self.sink.keep_variable(&facts, &value);
        }
    }

    /// A change of something that was never declared.
    fn stray(&mut self, fixed: Fixed, value: &[u8]) {
        self.events += 1;
        let facts = Facts {
            head: &self.head,
            number: self.events,
            time_ns: fixed.time_ns,
            names: event::UNKNOWN,
            site: self.symbols.site(fixed.site),
            at: 0,
            before: &[],
            after: value,
            sizes: (0, value.len()),
            depth: self.depth,
            end: End::Of { thread: None, sql: "null", scope: "null" },
        };
        self.sink.event(&facts, |writer, line| {
            writer.stray(line);
            Ok(())
        });
    }
}

/// What a value was before, from a place on; up to there, and behind what it is told of, it is the same.
struct Changed<'a> {
    at: usize,
    before: &'a [u8],
    /// Of all of the value.
    size: usize,
}

/// Where events go.
struct Sink<'a> {
    options: &'a mut Options,
    processors: Vec<Processor>,
    output: Output,
    facts: RunFacts,
    counts: Counts,
    /// When the last warning about a processor was given.
    warned: Option<Instant>,
}

impl Sink<'_> {
    /// Passes an event through the processors and writes it, to the store too, unless one of them drops it.
    fn event(
        &mut self,
        facts: &Facts<'_>,
        keep: impl FnOnce(&mut RunWriter, &[u8]) -> tickfs_store::Result<()>,
    ) {
        const PENDING_MAX: usize = 1024 * 1024;
        let begin = self.output.buffer.len();
        event::open(&mut self.output.buffer, facts);
        if self.processors.is_empty() {
            self.output.buffer.extend_from_slice(event::CLOSE);
        } else {
            let Some(added) = self.processed(begin, facts.number) else {
                return self.output.buffer.truncate(begin);
            };
            added.close(&mut self.output.buffer);
        }
        // The output may not be used while the store is: the line is taken out, and put back.
        let buffer = std::mem::take(&mut self.output.buffer);
        self.in_store(|writer| {
            keep(writer, &buffer[begin..])?;
            if writer.pending() > PENDING_MAX { writer.flush() } else { Ok(()) }
        });
        self.output.buffer = buffer;
        self.output.added(&mut self.counts);
        self.tell_failure();
    }

    /// What the processors add to the event that begins there in the output's buffer; `None` if one of them dropped it.
    fn processed(&mut self, begin: usize, number: u64) -> Option<Added> {
        let mut line = self.output.buffer[begin..].to_vec();
        let open = line.len();
        let id = format!("{}-{number}", self.options.run);
        let mut added = Added::default();
        for place in 0..self.processors.len() {
            line.truncate(open);
            added.close(&mut line);
            match self.processors[place].ask(&id, &line) {
                Ok(Verdict::Pass) => {}
                Ok(Verdict::Drop) => {
                    self.counts.dropped += 1;
                    return None;
                }
                Ok(Verdict::Annotate(annotations)) => added.annotate(annotations),
                Ok(Verdict::Enrich(extra)) => self.counts.ignored_fields += added.enrich(extra),
                Err(why) => self.skipped(place, &why),
            }
        }
        Some(added)
    }

    fn skipped(&mut self, place: usize, why: &str) {
        self.counts.skipped_invocations += 1;
        let quiet = self.warned.is_some_and(|before| before.elapsed() < Duration::from_secs(10));
        if !quiet {
            self.warned = Some(Instant::now());
            let path = self.processors[place].path().display();
            let text = format!("the processor {path} is skipped for an event: {why}");
            (self.options.announce)(Level::Warning, &text);
        }
    }

    fn tell_failure(&mut self) {
        if std::mem::take(&mut self.output.is_new) {
            let path = self.output.path().display();
            let text = format!(
                "{path} was removed or moved; it is made anew, and what was in it is not written again"
            );
            (self.options.announce)(Level::Warning, &text);
        }
        if let Some(error) = self.output.failed.take() {
            let path = self.output.path().display();
            let text = format!("events cannot be written to {path}: {error}; {} are lost", self.counts.lost);
            (self.options.announce)(Level::Warning, &text);
        }
    }

    fn flush(&mut self) {
        self.output.flush(&mut self.counts);
        self.tell_failure();
        self.in_store(|writer| writer.flush());
    }

    fn keep_variable(&mut self, facts: &tickfs_store::runs::VariableFacts, value: &Value) {
        self.in_store(|writer| writer.declare(facts, value));
    }

    /// A store that cannot be written to is given up, and said so; the output goes on.
    fn in_store(&mut self, work: impl FnOnce(&mut RunWriter) -> tickfs_store::Result<()>) {
        let Some(kept) = &mut self.options.kept else { return };
        if let Err(error) = work(&mut kept.writer) {
            let text = format!("the store keeps no more of this run: {error}");
            (self.options.announce)(Level::Warning, &text);
            self.options.kept = None;
        }
    }

    /// Writes the facts of the run as they are now, and makes them last if asked to.
    fn keep(&mut self, durability: Durability, variables: usize) {
        self.facts.variables = variables as u64;
        self.facts.counts = self.counts.named();
        let facts = self.facts.clone();
        self.in_store(|writer| {
            writer.sync()?;
            writer.put_facts(&facts, durability)
        });
    }

    fn finish(&mut self, status: ExitStatus, variables: usize) -> RunFacts {
        use std::os::unix::process::ExitStatusExt as _;
        self.facts.ended_at = Some((self.options.clock)().to_iso());
        self.facts.exit_code = status.code();
        self.facts.signal = status.signal();
        self.facts.status = match (status.success(), status.signal()) {
            (true, _) => RunStatus::Finished,
            (false, None) => RunStatus::Failed,
            (false, Some(_)) => RunStatus::Killed,
        };
        self.keep(Durability::Synced, variables);
        self.facts.clone()
    }
}

/// A signal that a person sent to the tracer is meant for the program; one from the terminal it has already.
fn forward(program: &Program, signal: &signal_hook::low_level::siginfo::Origin) {
    let sent = matches!(signal.cause, Cause::Sent(Sent::User | Sent::TKill | Sent::Queue));
    let pid = i32::try_from(program.child.id()).ok().and_then(Pid::from_raw);
    let (Some(pid), true) = (pid, sent) else { return };
    let signal = match signal.signal {
        SIGINT => Signal::INT,
        SIGTERM => Signal::TERM,
        SIGHUP => Signal::HUP,
        _ => Signal::QUIT,
    };
    // It may just have ended; the next look sees that.
    if kill_process(pid, signal).is_err() {}
}

/// Waits until the program has something to say. While it says much, it is not asked to wake anybody: that would cost it a
/// system call for each event. It may be that it says something while this falls asleep: so the sleep is short.
fn wait(program: &mut Program, looks: u32) {
    let asleep = looks > LOOKS;
    program.ring.set_sleeping(asleep);
    let timeout = Timespec::try_from(if asleep { SLEEP } else { NAP }).unwrap_or_default();
    let mut fds = [PollFd::new(&program.bell, PollFlags::IN)];
    // Interrupted or failed: either way it is time to look.
    let woken = poll(&mut fds, Some(&timeout)).unwrap_or(0);
    program.ring.set_sleeping(false);
    if woken > 0 {
        let mut bells = [0; 256];
        let emptied = program.bell.read(&mut bells);
        // The program has closed its end: without this the wait would turn into a spin.
        if matches!(emptied, Ok(0)) {
            std::thread::sleep(NAP);
        }
    }
}
