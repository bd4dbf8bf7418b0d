//! Bytes of any number, had in every way in which a kernel gives them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use tickfs_store::{Content, Meta};
use tickfs_tests::mount::{Mounted, Project, file, rel};

use crate::sample::{has, noise, shell_command};

/// Sizes around what pages, requests, windows and chunks of contents hold.
const SIZES: [usize; 12] =
    [0, 1, 4_095, 4_096, 4_097, 65_537, 131_072, 1_048_576, 1_048_577, 4_194_304, 4_194_305, 9_000_001];

fn name(size: usize) -> String {
    format!("of-{size}.bin")
}

/// One of noise, which is stored as it is, and one of text, which is not.
fn bytes(size: usize) -> Vec<u8> {
    if size % 2 == 1 {
        return noise(size);
    }
    (0..).flat_map(|n: u32| format!("line {n}\n").into_bytes()).take(size).collect()
}

fn sized() -> Option<(Project, Mounted)> {
    let project = Project::without_base();
    project.put_base(SIZES.map(|size| (rel(name(size)), bytes(size))).into());
    let mounted = project.mount()?;
    Some((project, mounted))
}

fn old(mounted: &Mounted, size: usize) -> std::path::PathBuf {
    mounted.path(&format!("branches/main/@0/{}", name(size)))
}

#[test]
fn a_file_of_any_size_is_read_whole() {
    let Some((_project, mounted)) = sized() else { return };
    for size in SIZES {
        let path = old(&mounted, size);
        assert!(fs::read(&path).unwrap() == bytes(size), "{size}");
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.len(), meta.blocks()), (size as u64, size.div_ceil(4096) as u64 * 8));
    }
}

#[test]
fn a_file_of_any_size_is_read_at_random() {
    let Some((_project, mounted)) = sized() else { return };
    let mut random = fastrand::Rng::with_seed(11);
    for size in SIZES {
        let (file, bytes) = (File::open(old(&mounted, size)).unwrap(), bytes(size));
        for _ in 0..60 {
            let from = random.usize(0..size + 10);
            let len = [1, 17, 4_096, 100_000, 1 << 20, 3 << 20][random.usize(0..6)];
            let mut got = vec![0xaa; len];
            let read = file.read_at(&mut got, from as u64).unwrap();
            let wanted = &bytes[from.min(size)..(from + len).min(size)];
            assert!(&got[..read] == wanted, "{len} bytes at {from} of {size}: {read} came");
        }
    }
}

#[test]
fn a_file_is_read_past_the_page_cache() {
    if !has("dd") {
        return;
    }
    let Some((project, mounted)) = sized() else { return };
    for size in SIZES {
        let out = project.scratch().join("direct");
        let script = format!("dd if=\"$FILE\" of={} iflag=direct bs=64k status=none", out.display());
        let done =
            shell_command(project.scratch(), &script).env("FILE", old(&mounted, size)).output().unwrap();
        assert!(done.status.success(), "{size}: {done:?}");
        assert!(fs::read(&out).unwrap() == bytes(size), "{size}");
    }
}

#[test]
fn a_file_is_mapped() {
    if !has("python3") {
        return;
    }
    let Some((project, mounted)) = sized() else { return };
    let script = "\
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
    # From the end on, so that nothing is read ahead.
    for at in range((len(m) - 1) // 4096 * 4096, -1, -4096):
        m[at]
    open(sys.argv[2], 'wb').write(m)
with mmap.mmap(fd, 0, access=mmap.ACCESS_COPY) as m:
    m[0] = (m[0] + 1) % 256
try:
    mmap.mmap(fd, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    sys.exit('a shared mapping may be written')
except PermissionError:
    pass
";
    let program = project.scratch().join("map.py");
    fs::write(&program, script).unwrap();
    for size in SIZES.into_iter().filter(|&size| size > 0) {
        let out = project.scratch().join("mapped");
        let mut command = std::process::Command::new("python3");
        let done = command.arg(&program).arg(old(&mounted, size)).arg(&out).output().unwrap();
        assert!(done.status.success(), "{size}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(fs::read(&out).unwrap() == bytes(size), "{size}");
        assert!(
            fs::read(old(&mounted, size)).unwrap() == bytes(size),
            "{size}: a private mapping changed it"
        );
    }
}

#[test]
fn a_file_is_copied_out_by_the_kernel_alone() {
    let Some((project, mounted)) = sized() else { return };
    for size in SIZES {
        let from = File::open(old(&mounted, size)).unwrap();
        let sent = project.scratch().join("sent");
        let to = File::create(&sent).unwrap();
        let mut left = size;
        while left > 0 {
            let came = rustix::fs::sendfile(&to, &from, None, left).unwrap();
            assert!(came > 0, "{left} of {size} bytes never came");
            left -= came;
        }
        assert!(fs::read(&sent).unwrap() == bytes(size), "sendfile of {size}");

        let to = File::create(project.scratch().join("range")).unwrap();
        let mut place = 0;
        match rustix::fs::copy_file_range(&from, Some(&mut place), &to, None, size) {
            // Between two filesystems a kernel may say that it does not, and then everybody copies by hand.
            Err(Errno::XDEV) => {}
            done => assert!(done.is_ok(), "copy_file_range of {size}: {done:?}"),
        }
        let copied = project.scratch().join("copied");
        assert_eq!(fs::copy(old(&mounted, size), &copied).unwrap(), size as u64);
        assert!(fs::read(&copied).unwrap() == bytes(size), "copy of {size}");
    }
}

#[test]
fn a_large_file_that_changes_in_the_middle_is_had_as_it_was_each_time() {
    let Some((project, mounted)) = sized() else { return };
    let size = *SIZES.last().unwrap();
    let mut versions = vec![bytes(size)];
    for n in 0..4 {
        let mut next = versions.last().unwrap().clone();
        next[size / 2 + n * 1_000..][..100].fill(b'0');
        next.truncate(size - n);
        project.save(&name(size), &next);
        versions.push(next);
    }
    for (tick, wanted) in versions.iter().enumerate() {
        let path = mounted.path(&format!("branches/main/@{tick}/{}", name(size)));
        assert!(fs::read(path).unwrap() == *wanted, "tick {tick}");
    }
}

const GIB: u64 = 1 << 30;
const SPARSE: u64 = 5 * GIB + 12_345;
/// Two pages of data, the rest is holes.
const DATA: [u64; 2] = [8_192, 4 * GIB + 65_536];

/// A sparse file as it is read: nothing but zeros, and a mark in each page of data.
struct Sparse {
    at: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = usize::try_from(SPARSE - self.at).unwrap_or(usize::MAX).min(buffer.len());
        buffer[..len].fill(0);
        for data in DATA {
            let from = data.max(self.at);
            for at in from..(data + 4_096).min(self.at + len as u64) {
                buffer[usize::try_from(at - self.at).unwrap()] = b'd';
            }
        }
        self.at += len as u64;
        Ok(len)
    }
}

#[test]
fn a_sparse_file_of_5_gb_keeps_its_data_its_holes_and_its_size() {
    let [first, second] = DATA;
    let [behind_first, behind_second] = DATA.map(|data| data + 4_096);
    let holes =
        vec![(0, first), (behind_first, second - behind_first), (behind_second, SPARSE - behind_second)];
    let project = Project::new(&[("x", "")]);
    project.mutate(move |m| {
        let meta = Meta { holes, ..file(m.now()) };
        m.save(&rel("sparse"), &meta, Content::Stream { reader: &mut Sparse { at: 0 }, size: SPARSE })
    });
    let Some(mounted) = project.mount() else { return };
    let tree = mounted.path("branches/main/@1");
    let meta = fs::metadata(tree.join("sparse")).unwrap();
    assert_eq!((meta.len(), meta.blocks()), (SPARSE, 16));
    let file = File::open(tree.join("sparse")).unwrap();
    let mut got = [0; 4_098];
    for data in DATA {
        assert_eq!(file.read_at(&mut got, data - 1).unwrap(), 4_098);
        assert!(got[0] == 0 && got[4_097] == 0 && got[1..4_097].iter().all(|&b| b == b'd'), "at {data}");
    }
    assert_eq!(file.read_at(&mut got, SPARSE - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut got, SPARSE).unwrap(), 0);
    for (place, wanted) in [
        (SeekFrom::Data(0), Ok(first)),
        (SeekFrom::Data(first + 5), Ok(first + 5)),
        (SeekFrom::Hole(first), Ok(behind_first)),
        (SeekFrom::Hole(behind_first + 77), Ok(behind_first + 77)),
        (SeekFrom::Data(behind_first), Ok(second)),
        (SeekFrom::Data(behind_second), Err(Errno::NXIO)),
        (SeekFrom::Hole(SPARSE), Err(Errno::NXIO)),
        (SeekFrom::End(-5), Ok(SPARSE - 5)),
    ] {
        assert_eq!(rustix::fs::seek(&file, place), wanted, "{place:?}");
    }
    // Whoever asks for holes copies the data alone, and at once.
    for script in ["cp --sparse=auto sparse \"$TO\"", "tar -c --sparse sparse | tar -x -C \"$TO\""] {
        let to = project.scratch().join("to");
        fs::create_dir(&to).unwrap();
        let done = shell_command(&tree, script).env("TO", &to).output().unwrap();
        assert!(done.status.success(), "{script}: {done:?}");
        assert_sparse_copy(&to.join("sparse"), script);
        fs::remove_dir_all(&to).unwrap();
    }
}

fn assert_sparse_copy(copy: &Path, script: &str) {
    let meta = fs::metadata(copy).unwrap();
    assert_eq!(meta.len(), SPARSE, "{script}");
    assert!(meta.blocks() <= 64, "{script} made {} blocks", meta.blocks());
    let file = File::open(copy).unwrap();
    for data in DATA {
        let mut got = [0; 4_096];
        file.read_exact_at(&mut got, data).unwrap();
        assert!(got.iter().all(|&b| b == b'd'), "{script}");
    }
}
