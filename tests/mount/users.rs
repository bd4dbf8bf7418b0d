//! Only the user who mounted reads it, unless others are let in; and an ordinary user can mount.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use tickfs_store::ids::UnixMillis;
use tickfs_tests::mount::{BASE_TIME, Project, directory, file, rel, skipped};

use crate::sample::has;
use crate::serving::Served;

/// Whoever is nobody in particular.
const NOBODY: u32 = 65_534;

/// What others may look into, as far as the directories around the mount are concerned.
fn open_project() -> Option<Project> {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can be another user");
        return None;
    }
    if !has("setpriv") {
        return None;
    }
    let project = Project::without_base();
    project.mutate(|m| {
        let text = |text: &str| tickfs_store::Content::Bytes(text.into());
        m.base(&rel(""), &directory(), tickfs_store::Content::None)?;
        m.base(&rel("public"), &file(UnixMillis(BASE_TIME)), text("for all\n"))?;
        let secret = tickfs_store::Meta { mode: 0o100_600, ..file(UnixMillis(BASE_TIME)) };
        m.base(&rel("secret"), &secret, text("for the owner\n"))?;
        m.finish_base("00000000-0000-4000-8000-000000000001")
    });
    fs::set_permissions(project.scratch(), Permissions::from_mode(0o755)).unwrap();
    fs::write(project.scratch().join("beside"), "for all\n").unwrap();
    Some(project)
}

fn as_nobody() -> String {
    format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups")
}

fn by_nobody(program: &str, path: &Path) -> Output {
    let script = format!("exec {} {program} \"$1\"", as_nobody());
    Command::new("sh").arg("-c").arg(script).arg("sh").arg(path).env("LC_ALL", "C").output().unwrap()
}

fn is_denied(output: &Output) -> bool {
    !output.status.success()
        && output.stdout.is_empty()
        && String::from_utf8_lossy(&output.stderr).contains("Permission denied")
}

#[test]
fn another_user_is_refused() {
    let Some(project) = open_project() else { return };
    let Some(mounted) = project.mount() else { return };
    let beside = by_nobody("cat", &project.scratch().join("beside"));
    assert_eq!(beside.stdout, b"for all\n", "the way to the mount is open: {beside:?}");
    for (program, name) in [
        ("ls", ""),
        ("stat", "branches"),
        ("cat", "README"),
        ("cat", "branches/main/@0/public"),
        ("cat", "branches/main/@0/secret"),
        ("readlink", "now"),
    ] {
        // Twice: a name that the kernel keeps from the first time is no way in.
        let path = mounted.path(name);
        assert!(fs::symlink_metadata(&path).is_ok());
        let refused = by_nobody(program, &path);
        let silent = program == "readlink" && !refused.status.success() && refused.stdout.is_empty();
        assert!(silent || is_denied(&refused), "{program} {name}: {refused:?}");
    }
}

#[test]
fn others_who_are_let_in_read_what_the_modes_let_them_read() {
    let Some(project) = open_project() else { return };
    let options = tickfs_fs::Options { allow_other: true, ..Default::default() };
    let Some(mounted) = project.mount_with(options) else { return };
    project.save("later", "for all\n");
    let tree = mounted.path("branches/main/@1");
    assert_eq!(by_nobody("cat", &tree.join("public")).stdout, b"for all\n");
    assert_eq!(by_nobody("cat", &tree.join("later")).stdout, b"for all\n");
    assert!(is_denied(&by_nobody("cat", &tree.join("secret"))));
    // Generated files are for the user who mounted.
    for generated in ["ticks/1/diff", "branches/main/log", "events/events.jsonl", "stats.json"] {
        assert!(is_denied(&by_nobody("cat", &mounted.path(generated))), "{generated}");
        assert!(fs::read(mounted.path(generated)).is_ok(), "{generated}");
    }
    let touched = by_nobody("touch", &tree.join("public"));
    assert!(!touched.status.success());
}

/// Through fusermount3, which asks for nothing but that the user may open the device. Not every machine lets them; so this is
/// tried where another node stands for it, in a mount namespace that nobody else sees.
#[test]
fn an_ordinary_user_mounts_and_nobody_else_reads() {
    let programs = ["fusermount3", "unshare", "nsenter", "cp"];
    if !tickfs_tests::mount::can_mount() || !programs.iter().all(|program| has(program)) {
        return;
    }
    let Some(project) = open_project() else { return };
    let (home, node) = (project.scratch().join("home"), project.scratch().join("fuse"));
    let point = home.join("history");
    fs::create_dir_all(&point).unwrap();
    let copied =
        Command::new("cp").arg("-a").arg(project.store().layout().dir()).arg(home.join("store")).status();
    assert!(copied.unwrap().success());
    let program = home.join("served");
    fs::copy(env!("CARGO_BIN_EXE_served"), &program).unwrap();
    give(&home);
    let script = format!(
        "mknod -m 666 $NODE c 10 229 && mount --bind $NODE /dev/fuse && exec {} $SERVED $STORE $POINT",
        as_nobody()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", &script]).env("NODE", &node).env("SERVED", &program);
    command.env("STORE", home.join("store")).env("POINT", &point);
    let served = Served::start(&mut command, &point);

    let inside = |user: &str, script: &str| {
        let script = format!("exec {user} {script}");
        let mut command = Command::new("nsenter");
        command.arg("-t").arg(served.id().to_string()).args(["--mount", "sh", "-c", &script]);
        command.env("LC_ALL", "C").env("POINT", &point).output().unwrap()
    };
    let nobody = as_nobody();
    let public = inside(&nobody, "cat $POINT/branches/main/@0/public");
    assert_eq!(public.stdout, b"for all\n", "{public:?}");
    // What was recorded of others is as much the user's as the rest of the store.
    assert_eq!(inside(&nobody, "cat $POINT/branches/main/@0/secret").stdout, b"for the owner\n");
    let said = String::from_utf8(inside(&nobody, "cat /proc/self/mountinfo").stdout).unwrap();
    let line = said.lines().find(|line| line.contains(point.to_str().unwrap())).unwrap();
    assert!(
        line.contains(" - fuse.tickfs tickfs ro,user_id=65534") && line.contains(" ro,nosuid,nodev"),
        "{line}"
    );
    // Not even root, who is another user.
    assert!(is_denied(&inside("", "ls $POINT")));
    let touched = inside(&nobody, "touch $POINT/branches/main/@0/public");
    assert!(String::from_utf8_lossy(&touched.stderr).contains("Read-only file system"), "{touched:?}");
    assert!(served.stop(), "it unmounts as the user who mounted");
}

fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
    assert_eq!(fs::symlink_metadata(path).unwrap().uid(), NOBODY);
}
