//! Which file systems keep the blocks of a file that was overwritten in place.

use std::path::Path;

use rustix::fs::statfs;

/// Magic numbers of statfs(2), from linux/magic.h.
const KEEPERS: [(u64, &str); 9] = [
    (0x9123_683e, "btrfs writes every change to a new place and keeps the old one"),
    (0x2fc1_2fc1, "zfs writes every change to a new place and keeps the old one"),
    (0xca45_1a4e, "bcachefs writes every change to a new place and keeps the old one"),
    (0xf2f5_2010, "f2fs is a log: an overwritten block stays until it is collected"),
    (0x794c_7630, "overlayfs may keep the first version of a file in a lower layer"),
    (0x6969, "nfs leaves it to a server that is out of reach whether overwriting overwrites"),
    (0xff53_4d42, "cifs leaves it to a server that is out of reach whether overwriting overwrites"),
    (0xfe53_4d42, "smb leaves it to a server that is out of reach whether overwriting overwrites"),
    (0x6573_5546, "fuse leaves it to a program that is out of reach whether overwriting overwrites"),
];
const EXT4: u64 = 0xef53;

/// Why overwriting a file in this directory may leave its old bytes on the device; `None` where it does not.
pub fn keeps_old_blocks(dir: &Path) -> Option<String> {
    let magic = statfs(dir).ok()?.f_type as u64;
    let advice = "put it on ext4 (data=ordered) or xfs";
    if let Some((_, reason)) = KEEPERS.iter().find(|(keeper, _)| *keeper == magic & 0xffff_ffff) {
        return Some(format!("{reason}; {advice}"));
    }
    if magic == EXT4 && is_data_journal(dir) {
        return Some(format!(
            "ext4 with data=journal writes contents to its journal too, which is not overwritten; {advice}"
        ));
    }
    None
}

/// Whether the mount that holds the directory journals contents.
fn is_data_journal(dir: &Path) -> bool {
    let (Ok(dir), Ok(mounts)) = (dir.canonicalize(), std::fs::read_to_string("/proc/self/mounts")) else {
        return false;
    };
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, at, _, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(at).then_some((at.len(), options))
    });
    let nearest = holding.max_by_key(|(depth, _)| *depth);
    nearest.is_some_and(|(_, options)| options.split(',').any(|option| option == "data=journal"))
}
