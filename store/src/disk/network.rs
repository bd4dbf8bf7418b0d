//! Which filesystems live on another machine.
//!
//! The decision is pure: it sees a magic number and a type's name, and asks nobody. Locks, `O_APPEND` and fsync mean
//! less on such a filesystem than the journal needs, and another host may write to it unseen.

use super::{Disk, RealDisk, Space, Veil};

/// `f_type` of everything that is served through FUSE; only the mount's type tells more.
pub(super) const FUSE: u32 = 0x6573_5546;

const BY_MAGIC: &[(u32, &str)] = &[
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564C, "ncp"),
    (0x0116_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
    (0x0BD0_0BD0, "lustre"),
    (0x1983_0326, "beegfs"),
    (0x4750_4653, "gpfs"),
];

const BY_MOUNT_TYPE: &[&str] = &[
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.mount-s3",
    "fuse.mountpoint-s3",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.blobfuse",
    "fuse.blobfuse2",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.juicefs",
    "fuse.seaweedfs",
    "fuse.weed",
    "fuse.mfs",
    "fuse.curlftpfs",
    "fuse.davfs",
    "fuse.davfs2",
    "fuse.smbnetfs",
    "fuse.cifs",
    "fuse.nfs",
    "fuse.gvfsd-fuse",
    "fuse.kio-fuse",
    "fuse.google-drive-ocamlfuse",
    "fuse.vmhgfs-fuse",
];

/// The name of a network filesystem, or `None` for a local one. `mount_type` is the type that mountinfo shows.
#[must_use]
pub fn network_name(magic: u32, mount_type: Option<&str>) -> Option<&'static str> {
    if magic == FUSE {
        let mounted = mount_type?;
        return BY_MOUNT_TYPE.iter().copied().find(|&name| name == mounted);
    }
    BY_MAGIC.iter().find(|&&(known, _)| known == magic).map(|&(_, name)| name)
}

/// The type of the filesystem with this device number in the text of `/proc/self/mountinfo`.
pub(super) fn mount_type(mountinfo: &str, major: u32, minor: u32) -> Option<&str> {
    let device = format!("{major}:{minor}");
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let same = mount.split(' ').nth(2) == Some(device.as_str());
        same.then(|| filesystem.split(' ').next()).flatten()
    })
}

/// The disk of this machine as it would be on a network filesystem, for tests of those who must refuse one.
#[derive(Debug, Clone, Copy)]
pub struct PretendedNetwork {
    pub(super) name: &'static str,
}

impl Veil for PretendedNetwork {
    fn beneath(&self) -> &dyn Disk {
        &RealDisk
    }

    fn alter_space(&self, space: Space) -> Space {
        Space { network: Some(self.name.to_owned()), ..space }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems_of_other_machines_are_named() {
        assert_eq!(network_name(0x6969, Some("nfs4")), Some("nfs"));
        assert_eq!(network_name(0x517B, None), Some("smb"));
        assert_eq!(network_name(0xFF53_4D42, Some("cifs")), Some("cifs"));
        assert_eq!(network_name(0xFE53_4D42, Some("cifs")), Some("smb2"));
        assert_eq!(network_name(FUSE, Some("fuse.sshfs")), Some("fuse.sshfs"));
        assert_eq!(network_name(FUSE, Some("fuse.rclone")), Some("fuse.rclone"));
    }

    #[test]
    fn local_filesystems_are_not() {
        for (magic, mount_type) in [
            (0xEF53, "ext4"),
            (0x0102_1994, "tmpfs"),
            (0x9123_683E, "btrfs"),
            (0x5846_5342, "xfs"),
            (FUSE, "fuseblk"),
            (FUSE, "fuse"),
            (FUSE, "fuse.gocryptfs"),
        ] {
            assert_eq!(network_name(magic, Some(mount_type)), None, "{mount_type}");
        }
        assert_eq!(network_name(FUSE, None), None);
    }

    #[test]
    fn a_mount_is_found_by_its_device_whatever_optional_fields_it_has() {
        let mountinfo = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
             61 27 0:52 / /mnt/a\\040b rw shared:7 master:2 - fuse.sshfs host:/ rw,user_id=0\n";
        assert_eq!(mount_type(mountinfo, 0, 52), Some("fuse.sshfs"));
        assert_eq!(mount_type(mountinfo, 254, 0), Some("ext4"));
        assert_eq!(mount_type(mountinfo, 0, 5), None);
    }
}
