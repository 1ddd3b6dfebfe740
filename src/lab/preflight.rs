//! What a lab needs of this machine, looked at before anything is made.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::process::getuid;

use super::layout::{LONGEST_DIR, RunAs};
use crate::problem::Problem;

/// The programs and files that a lab is made of.
#[derive(Clone, Debug)]
pub struct Tools {
    pub libvirtd: PathBuf,
    pub qemu: PathBuf,
    pub qemu_img: PathBuf,
    pub haproxy: PathBuf,
    pub mkfs_ext4: PathBuf,
    pub busybox: PathBuf,
    /// The guest agent that guests run.
    pub agent: PathBuf,
    pub kernel: PathBuf,
    /// `/lib/modules/RELEASE`.
    pub modules: PathBuf,
}

/// What is missing, each with the Debian package that brings it.
fn look() -> Result<Tools, Vec<(String, &'static str)>> {
    let mut missing = Vec::new();
    let mut program = |name: &str, package| {
        let found = find_program(name);
        if found.is_none() {
            missing.push((name.to_owned(), package));
        }
        found.unwrap_or_default()
    };
    let libvirtd = program("libvirtd", "libvirt-daemon-system");
    let qemu = program("qemu-system-x86_64", "qemu-system-x86");
    let qemu_img = program("qemu-img", "qemu-utils");
    let haproxy = program("haproxy", "haproxy");
    let mkfs_ext4 = program("mkfs.ext4", "e2fsprogs");
    let busybox = program("busybox", "busybox-static");
    let agent = program("qemu-ga", "qemu-guest-agent");
    program("setpriv", "util-linux");
    if !busybox.as_os_str().is_empty() && !is_static(&busybox) {
        missing.push(("a statically linked busybox".to_owned(), "busybox-static"));
    }
    let cloud_kernel = find_kernel();
    if cloud_kernel.is_none() {
        missing.push((
            "Debian's cloud kernel (/boot/vmlinuz-*-cloud-amd64 and its modules)".to_owned(),
            "linux-image-cloud-amd64",
        ));
    }
    let (kernel, modules) = cloud_kernel.unwrap_or_default();
    if missing.is_empty() {
        Ok(Tools {
            libvirtd,
            qemu,
            qemu_img,
            haproxy,
            mkfs_ext4,
            busybox,
            agent,
            kernel,
            modules,
        })
    } else {
        Err(missing)
    }
}

/// # Errors
/// Names everything that is missing and the line that installs it.
pub fn tools() -> Result<Tools, Problem> {
    look().map_err(|missing| {
        let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
        let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        packages.sort_unstable();
        packages.dedup();
        let sudo = if getuid().is_root() { "" } else { "sudo " };
        Problem::failed(
            "The lab was not started.",
            format!("This machine lacks {}.", names.join(", ")),
            format!("{sudo}apt-get install {}", packages.join(" ")),
        )
    })
}

/// The system folders are looked at too: a user's `PATH` often lacks `sbin`.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// A dynamically linked program names its loader in its first page.
fn is_static(program: &Path) -> bool {
    fs::read(program).is_ok_and(|bytes| {
        let head = &bytes[..bytes.len().min(4096)];
        !head.windows(8).any(|window| window == b"ld-linux")
    })
}

/// Kernels that a guest can boot, the best first: Debian's for clouds is the smallest.
const KERNEL_FLAVOURS: [&str; 4] = ["-cloud-amd64", "-kvm", "-generic", "-amd64"];

/// The newest kernel of the best flavour that has its modules beside it.
fn find_kernel() -> Option<(PathBuf, PathBuf)> {
    let mut kernels: Vec<(usize, PathBuf, PathBuf)> = fs::read_dir("/boot")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let release = name.to_str()?.strip_prefix("vmlinuz-")?;
            let modules = Path::new("/lib/modules").join(release);
            let flavour = KERNEL_FLAVOURS
                .iter()
                .position(|flavour| release.ends_with(flavour))?;
            let fits = modules.join("modules.dep").is_file();
            fits.then(|| (KERNEL_FLAVOURS.len() - flavour, entry.path(), modules))
        })
        .collect();
    kernels.sort();
    kernels.pop().map(|(_, kernel, modules)| (kernel, modules))
}

/// Checks that a lab can live in `dir`: the name fits into socket paths and settings, and nobody else's files are there.
///
/// # Errors
/// Says which rule `dir` breaks.
pub fn folder(dir: &Path, run_as: RunAs) -> Result<(), Problem> {
    let refuse = |why: String| {
        Err(Problem::refused(
            "The lab was not started.",
            why,
            "Give another folder with --dir, for example /tmp/sc-lab.",
        ))
    };
    let text = dir.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    if !dir.is_absolute() || !text.chars().all(plain) || text.contains("/../") {
        return refuse(format!(
            "{text:?} is not a plain absolute path (letters, digits, '/', '.', '_', '-')."
        ));
    }
    if text.len() > LONGEST_DIR {
        return refuse(format!(
            "{text} has {} letters; UNIX socket paths leave room for {LONGEST_DIR}.",
            text.len()
        ));
    }
    for above in dir.ancestors().skip(1) {
        let Ok(meta) = fs::metadata(above) else {
            continue;
        };
        if run_as.is_another() && meta.permissions().mode() & 0o001 == 0 {
            return refuse(format!(
                "{} lets nobody else in, and root's lab runs as the user nobody.",
                above.display()
            ));
        }
    }
    match fs::symlink_metadata(dir) {
        Ok(meta) if !meta.is_dir() => refuse(format!("{text} is not a folder.")),
        Ok(meta) if meta.uid() != getuid().as_raw() => {
            refuse(format!("{text} belongs to someone else."))
        }
        Ok(_) => {
            if is_unused(dir) || dir.join("lab.json").is_file() {
                Ok(())
            } else {
                refuse(format!("{text} holds other files."))
            }
        }
        Err(_) => Ok(()),
    }
}

/// Empty, or only locked: an `up` that was ended before it wrote its record leaves no more than that.
pub fn is_unused(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_short_folders_of_our_own_are_taken() {
        let run_as = RunAs::choose();
        for refused in [
            "relative",
            "/tmp/with space",
            "/tmp/a,b",
            "/tmp/$(reboot)",
            "/tmp/../etc",
            "/tmp/a-folder-whose-name-is-much-too-long",
            "/etc",
            "/dev/null",
        ] {
            assert!(folder(Path::new(refused), run_as).is_err(), "{refused}");
        }
        assert!(folder(Path::new("/tmp/scl-gone"), run_as).is_ok());
    }
}
