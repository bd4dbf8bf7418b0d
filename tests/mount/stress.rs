//! stress-ng, as far as it only reads, while ticks arrive. `STRESS_SECONDS` says for how long.

use std::sync::atomic::{AtomicBool, Ordering};

use tickfs_fs::Operation;

use crate::sample::{assert_same_trees, scene, shell_command};

#[test]
fn everything_still_holds_after_stress() {
    let Some(scene) = scene(&["stress-ng"]) else { return };
    let seconds = std::env::var("STRESS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_u32);
    let done = AtomicBool::new(false);
    let over = "--fstat-dir branches/main/@HEAD/";
    let (project, counters) = (&scene.project, scene.mounted.mount().counters());
    let before = counters.get(Operation::Failed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                project.save("src/deep/changing.txt", format!("{n}\n"));
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        // A segment of the journal may be sealed, and then has another name.
        let script = format!(
            "stress-ng --quiet --timeout {seconds} --temp-path \"$SCRATCH\" --fstat 2 {over} & one=$!; \
             stress-ng --quiet --timeout {seconds} --temp-path \"$SCRATCH\" --fstat 2 --fstat-dir files/src/app.py & other=$!; \
             while [ $SECONDS -lt {seconds} ]; do \
                 find . -path ./ticks -prune -o -path ./files -prune -o -path ./events/journal -prune -o -type f -print0 | xargs -0 -P 4 -n 20 cat >/dev/null; \
             done; wait $one; wait $other"
        );
        let mut command = shell_command(scene.mounted.root(), &script);
        let output = command.env("SCRATCH", project.scratch()).output();
        done.store(true, Ordering::Relaxed);
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    });
    assert_eq!(counters.get(Operation::Failed), before);
    assert_same_trees(&scene.old, &scene.plain);
}
