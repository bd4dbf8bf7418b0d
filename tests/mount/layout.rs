//! What lies where.

use std::fs;

use tickfs_tests::mount::Project;

fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_found_as_it_was_at_each_tick() {
    let project = Project::new(&[("src/app.py", "one\n"), ("README", "of the project\n")]);
    let Some(mounted) = project.mount() else { return };
    let first = project.save("src/app.py", "two\n");
    let second = project.save("src/app.py", "three\n");
    let at =
        |point: &str| fs::read_to_string(mounted.path(&format!("branches/main/{point}/src/app.py"))).unwrap();
    assert_eq!(at("@0"), "one\n");
    assert_eq!(at(&format!("@{first}")), "two\n");
    assert_eq!(at(&format!("@{second}")), "three\n");
    assert_eq!(at("@HEAD"), "three\n");
    let link = |name: &str| fs::read_link(mounted.path(name)).unwrap();
    assert_eq!(link("branches/main/@HEAD").to_str(), Some("@2"));
    assert_eq!(link("now").to_str(), Some("branches/main/@2"));
    assert_eq!(fs::read_to_string(mounted.path("now/src/app.py")).unwrap(), "three\n");
    assert_eq!(names(&mounted.path("branches/main/@1")), ["README", "src"]);
    assert_eq!(
        names(&mounted.path("branches/main")),
        ["@0", "@1", "@2", "@HEAD", "README", "branch.json", "log"]
    );
    assert!(fs::read_to_string(mounted.path("README")).unwrap().contains("branches/main/@42"));
    assert_eq!(names(&mounted.path("ticks")), ["1", "2", "README"]);
    assert_eq!(names(&mounted.path("ticks/2")), ["after", "before", "diff", "tick.json", "tree"]);
    assert_eq!(names(&mounted.path("files")), ["README", "src"]);
    assert_eq!(names(&mounted.path("files/src/app.py")), ["@0.py", "@1.py", "@2.py", "@HEAD.py"]);
    assert_eq!(fs::read_to_string(mounted.path("files/src/app.py/@HEAD.py")).unwrap(), "three\n");
    // A directory that was listed lists what came later too.
    project.save("src/new.py", "new\n");
    assert_eq!(names(&mounted.path("ticks")), ["1", "2", "3", "README"]);
    assert_eq!(names(&mounted.path("files/src")), ["app.py", "new.py"]);
    assert_eq!(names(&mounted.path("branches/main/@HEAD/src")), ["app.py", "new.py"]);
}
