//! Each way in which programs save is one tick of the right path, and their temp files are none.

use crate::stage::Stage;

fn one_modify(line: &str) {
    let mut stage = Stage::with(&[("f", "old\n"), ("other", "other content\n")]);
    let ticks = stage.during(|stage| stage.sh(line));
    assert_eq!(ticks, ["modify f"], "{line}");
    stage.assert_recorded();
}

#[test]
fn a_save_in_place_by_the_shell_is_one_modify() {
    for line in [
        "echo new > f",
        "echo more >> f",
        "truncate -s 1 f",
        "cp other f",
        "cp -p --remove-destination other f",
        "sed -i s/old/new/ f",
        "echo new > .f.tmp; mv .f.tmp f",
        "mv f f~; echo new > f; rm f~",
        "cp f f.bak; echo new > f; rm f.bak",
        "ln other g; rm f; echo new > f; rm g",
        "dd if=other of=f conv=notrunc status=none",
    ] {
        one_modify(line);
    }
}
