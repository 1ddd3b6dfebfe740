//! Where a lab keeps its files, and as whom its hosts run.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::getuid;

/// `nobody`: session-mode libvirt refuses to run as root, and this user exists without `useradd`.
const NOBODY: u32 = 65_534;

/// The agent's socket of a clone has the longest path,
/// `…/secondary/c/libvirt/qemu/channel/target/domain-99-sc-01234567-0123/org.qemu.guest_agent.0`, and a UNIX socket's
/// path ends at 107 bytes.
pub const LONGEST_DIR: usize = 17;

/// The folder of one lab.
#[derive(Clone, Debug)]
pub struct Layout {
    pub dir: PathBuf,
}

impl Layout {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    pub fn record(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub fn surge(&self) -> PathBuf {
        self.dir.join("surge.json")
    }

    pub fn load_state(&self) -> PathBuf {
        self.dir.join("load.json")
    }

    pub fn log(&self, process: &str) -> PathBuf {
        self.dir.join(format!("{process}.log"))
    }

    /// Kernel and initramfs, read by both hosts and written by none.
    pub fn boot(&self) -> PathBuf {
        self.dir.join("boot")
    }

    pub fn kernel(&self) -> PathBuf {
        self.boot().join("vmlinuz")
    }

    pub fn initramfs(&self) -> PathBuf {
        self.boot().join("initramfs.gz")
    }

    pub fn host(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn libvirt_socket(&self, host: &str) -> PathBuf {
        self.host(host).join("r/libvirt/libvirt-sock")
    }

    pub fn uri(&self, host: &str) -> String {
        format!(
            "qemu:///session?socket={}",
            self.libvirt_socket(host).display()
        )
    }

    pub fn haproxy(&self) -> PathBuf {
        self.dir.join("haproxy")
    }

    pub fn haproxy_socket(&self) -> PathBuf {
        self.haproxy().join("admin.sock")
    }
}

/// As whom hosts and balancer run: the caller, or `nobody` when the caller is root.
#[derive(Clone, Copy, Debug)]
pub struct RunAs(Option<u32>);

impl RunAs {
    pub fn choose() -> Self {
        Self(getuid().is_root().then_some(NOBODY))
    }

    pub fn is_another(self) -> bool {
        self.0.is_some()
    }

    /// `program` in a session of its own, with this user's rights and an empty environment.
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new("setsid");
        if let Some(uid) = self.0 {
            command
                .arg("setpriv")
                .args([format!("--reuid={uid}"), format!("--regid={uid}")])
                .arg("--clear-groups");
        }
        command
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/");
        command
    }

    /// Makes a folder that this user alone may enter.
    pub fn private_dir(self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        self.give(path)
    }

    /// Hands a file or folder over to this user.
    pub fn give(self, path: &Path) -> io::Result<()> {
        chown(path, self.0, self.0)
    }
}

/// Writes a whole file or none, readable by all.
///
/// # Errors
/// As the file system says.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    fs::write(&unfinished, content)?;
    fs::rename(&unfinished, path)
}
