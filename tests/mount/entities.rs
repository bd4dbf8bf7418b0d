//! Each live entity is one file of the mount's views: JSON that a person reads, and whole whenever it is read.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tickfs_tests::mount::Project;

fn temp_files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(temp_files(&entry.path())),
            false => found.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    found.retain(|name| name.contains("tmp"));
    found
}

/// Shows EL-72. Of handoffs there are none yet.
#[test]
fn each_entity_is_one_json_file_and_never_seen_by_half() {
    let project = Project::new(&[("a", "zero\n")]);
    let Some(mounted) = project.mount() else { return };
    let put = |step: u64| {
        let document = json!({ "step": step, "steps": vec![step; 500] });
        let document = document.as_object().unwrap().clone();
        project.mutate(move |m| m.put_document("plan", &document));
    };
    put(0);
    project.save("a", "one\n");
    let views = ["branches/main/branch.json", "ticks/1/tick.json", "state/plan/@HEAD"];
    let read = |view: &str| -> Value {
        let text = fs::read_to_string(mounted.path(view)).unwrap_or_else(|e| panic!("{view}: {e}"));
        assert!(text.starts_with("{\n  \"") && text.ends_with("\n}\n"), "{view} is not pretty: {text}");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{view}: {e}: {text}"));
        if let Some(steps) = value["steps"].as_array() {
            assert!(steps.iter().all(|step| *step == value["step"]), "two revisions in one: {text}");
        }
        value
    };
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                views.iter().for_each(|view| drop(read(view)));
                reads += 1;
            }
            reads
        });
        for step in 1..=60 {
            put(step);
            project.save("a", format!("{step}\n"));
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 0);
    assert_eq!(read("state/plan/@HEAD")["step"], 60);
    assert_eq!(read("branches/main/branch.json")["label"], "main");
    assert_eq!(temp_files(project.store().layout().dir()), Vec::<String>::new());
}
