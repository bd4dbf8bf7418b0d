//! What is written is read back, at every version, also from a run that is still being written to, or was cut off.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, Durability, SimDisk};
use crate::error::Error;
use crate::ids::UnixMillis;
use crate::store::Layout;

fn id() -> RunId {
    RunId::new(UnixMillis(1_763_640_900_123), [1, 0xab, 3])
}

fn facts(id: u32, name: &str) -> VariableFacts {
    VariableFacts {
        id,
        name: name.to_owned(),
        key: name.to_owned(),
        file: "/p/app.py".to_owned(),
        scope: None,
    }
}

fn run_facts() -> RunFacts {
    RunFacts {
        run: id(),
        language: "python".to_owned(),
        script: "app.py".to_owned(),
        script_tick: None,
        output: "events.jsonl".to_owned(),
        started_at: "2025-11-20T12:15:00.123Z".to_owned(),
        ended_at: None,
        status: RunStatus::Running,
        exit_code: None,
        signal: None,
        capabilities: "hooks".to_owned(),
        variables: 0,
        counts: std::collections::BTreeMap::new(),
    }
}

fn text(text: &str) -> Value {
    Value { tag: Tag::Str, bytes: text.as_bytes().to_vec() }
}

fn begin() -> (Arc<SimDisk>, Layout, RunWriter) {
    let disk = Arc::new(SimDisk::default());
    let layout = Layout::new(Path::new("/s"));
    disk.create_dir(layout.dir()).unwrap();
    let writer = RunWriter::create(Arc::clone(&disk) as Arc<dyn Disk>, &layout, &id()).unwrap();
    writer.put_facts(&run_facts(), Durability::Cache).unwrap();
    (disk, layout, writer)
}

#[test]
fn the_id_of_a_run_says_when_it_began() {
    assert_eq!(id().as_str(), "20251120-121500123-01ab03");
    assert_eq!(RunId::parse(id().as_str()), Some(id()));
    assert_eq!((RunId::parse("../x"), RunId::parse("")), (None, None));
}

#[test]
fn every_version_of_a_long_value_is_read_back() {
    let (disk, layout, mut writer) = begin();
    let long = |n: usize| text(&format!("{}{n}{}", "begins and goes on ".repeat(20), "ends".repeat(50)));
    writer.declare(&facts(1, "x"), &long(0)).unwrap();
    writer.declare(&facts(2, "y"), &text("small")).unwrap();
    for n in 1..=300 {
        writer.change(1, &long(n), format!("{{\"n\":{n}}}\n").as_bytes()).unwrap();
        if n % 7 == 0 {
            writer.flush().unwrap();
        }
    }
    writer.change(2, &text("other"), b"{\"y\":1}\n").unwrap();
    writer.sync().unwrap();
    let run = Runs::new(disk.clone(), layout).open(&id()).unwrap();
    assert_eq!(run.changes(1).unwrap(), 300);
    for n in 0..=300 {
        assert_eq!(run.value(1, n).unwrap(), long(usize::try_from(n).unwrap()), "version {n}");
    }
    assert_eq!(run.event(1, 17).unwrap().as_deref(), Some("{\"n\":17}"));
    assert_eq!(run.event(1, 0).unwrap(), None);
    assert_eq!((run.value(2, 1).unwrap(), run.changes(2).unwrap()), (text("other"), 1));
    assert!(matches!(run.value(1, 301), Err(Error::NotFound { .. })));
    let names: Vec<String> = run.variables().unwrap().into_iter().map(|facts| facts.name).collect();
    assert_eq!(names, ["x", "y"]);
    // Far less than 301 values of 580 bytes.
    assert!(
        disk.open(Path::new("/s/runs/20251120-121500123-01ab03/values")).unwrap().len().unwrap() < 20_000
    );
}

#[test]
fn a_run_is_found_by_what_a_person_says_and_lives_as_long_as_its_writer() {
    let (disk, layout, writer) = begin();
    let runs = Runs::new(disk, layout);
    assert_eq!(runs.find("last").unwrap().id(), &id());
    assert_eq!(runs.find("2025").unwrap().id(), &id());
    assert!(matches!(runs.find("2026"), Err(Error::NotFound { .. })));
    assert!(runs.find("last").unwrap().is_alive().unwrap());
    drop(writer);
    assert!(!runs.find("last").unwrap().is_alive().unwrap());
    assert_eq!(runs.find("last").unwrap().facts().unwrap(), run_facts());
}

#[test]
fn a_flipped_byte_is_an_error_and_no_value() {
    let (disk, layout, mut writer) = begin();
    writer.declare(&facts(1, "x"), &text("a value")).unwrap();
    writer.sync().unwrap();
    let run = Runs::new(disk.clone(), layout).open(&id()).unwrap();
    let (values, dir) = ("/s/runs/20251120-121500123-01ab03/values", "/s/runs/20251120-121500123-01ab03");
    disk.remove_file(Path::new(values)).unwrap();
    disk.create_append(Path::new(values)).unwrap().append(b"a valuf").unwrap();
    assert!(matches!(run.value(1, 0), Err(Error::Corrupt { .. })), "{dir}");
}
