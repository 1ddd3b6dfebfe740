//! The guests' image: Debian's kernel, busybox and a few scripts, put together here; no binary is committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, write::GzEncoder};

use super::{layout::Layout, preflight::Tools};
use crate::problem::Problem;

/// What a guest needs of the kernel, each loaded after what it depends on.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_balloon",
    // The guest agent's port.
    "virtio_console",
    // ext4 asks for this checksum without naming it as a dependency.
    "crc32c_generic",
    "ext4",
    "button",
    "evdev",
];

const SCRIPTS: [(&str, &str); 11] = [
    ("init", include_str!("guest/init")),
    ("bin/writer", include_str!("guest/writer")),
    ("bin/verify", include_str!("guest/verify")),
    ("bin/power-off", include_str!("guest/power-off")),
    // What the guest agent runs when it is asked to shut down.
    ("sbin/shutdown", include_str!("guest/shutdown")),
    // What busybox's acpid runs for the power button.
    ("etc/acpi/PWRF/00000080", include_str!("guest/power-button")),
    ("www/cgi-bin/work", include_str!("guest/cgi/work")),
    ("www/cgi-bin/who", include_str!("guest/cgi/who")),
    ("www/cgi-bin/verify", include_str!("guest/cgi/verify")),
    ("www/cgi-bin/fail", include_str!("guest/cgi/fail")),
    ("www/cgi-bin/setfail", include_str!("guest/cgi/setfail")),
];

const FOLDERS: [&str; 15] = [
    "bin",
    "data",
    "dev",
    "etc",
    "etc/acpi",
    "etc/acpi/PWRF",
    "lib",
    "lib/modules",
    "proc",
    "run",
    "sbin",
    "sys",
    "tmp",
    "www",
    "www/cgi-bin",
];

/// Puts kernel and initramfs into the lab, where both hosts can read them.
///
/// # Errors
/// When one of their parts cannot be read or written.
pub fn build(layout: &Layout, tools: &Tools) -> Result<(), Problem> {
    put_together(layout, tools).map_err(|error| {
        Problem::failed(
            "The guests' image was not built.",
            error.to_string(),
            "Check that the kernel in /boot is readable (sudo chmod +r /boot/vmlinuz-*-cloud-amd64).",
        )
    })
}

fn put_together(layout: &Layout, tools: &Tools) -> io::Result<()> {
    fs::create_dir_all(layout.boot())?;
    let kernel = read(&tools.kernel)?;
    fs::write(layout.kernel(), kernel)?;

    let mut archive = Archive::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    archive.file("bin/busybox", 0o755, &read(&tools.busybox)?)?;
    for applet in applets(&tools.busybox)? {
        archive.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    archive.program("bin/qemu-ga", &tools.agent)?;
    let mut order = String::new();
    for (name, content) in modules(&tools.modules)? {
        archive.file(&format!("lib/modules/{name}"), 0o644, &content)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("lib/modules/order", 0o644, order.as_bytes())?;
    for (path, script) in SCRIPTS {
        archive.file(path, 0o755, script.as_bytes())?;
    }
    let packed = archive.finish()?.finish()?;
    fs::write(layout.initramfs(), packed)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn applets(busybox: &Path) -> io::Result<Vec<String>> {
    let output = Command::new(busybox).arg("--list").output()?;
    let list = String::from_utf8_lossy(&output.stdout);
    Ok(list
        .lines()
        .filter(|applet| *applet != "busybox" && !applet.contains('/'))
        .map(ToOwned::to_owned)
        .collect())
}

/// The files that the loader would map for `program`, the loader itself included.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "ldd {}: {}",
            program.display(),
            output.status
        )));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

/// The modules in the order in which they load, with their content; those that are built in are left out.
fn modules(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let dependencies = String::from_utf8_lossy(&read(&folder.join("modules.dep"))?).into_owned();
    let by_name: BTreeMap<String, (&str, &str)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (module_name(file), (file, needs)))
        .collect();
    let mut files: Vec<&str> = Vec::new();
    for wanted in MODULES {
        let Some((file, needs)) = by_name.get(wanted) else {
            continue;
        };
        // The list names the deepest dependency last.
        for needed in needs.split_whitespace().rev().chain([*file]) {
            if !files.contains(&needed) {
                files.push(needed);
            }
        }
    }
    files
        .into_iter()
        .map(|file| {
            Ok((
                format!("{}.ko", module_name(file)),
                unpacked(&folder.join(file))?,
            ))
        })
        .collect()
}

/// `virtio_blk` of `kernel/drivers/block/virtio_blk.ko.xz`; the kernel takes `-` and `_` for one.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

/// Newer Debian and Ubuntu kernels pack their modules.
fn unpacked(file: &Path) -> io::Result<Vec<u8>> {
    let tool = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return read(file),
    };
    let output = Command::new(tool).arg("-dc").arg(file).output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(io::Error::other(format!(
            "{tool} -dc {}: {}",
            file.display(),
            output.status
        )))
    }
}

/// A cpio archive in the `newc` format that the kernel unpacks (Documentation/driver-api/early-userspace).
struct Archive<W: Write> {
    out: W,
    written: usize,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            inode: 0,
        }
    }

    fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, 0o040_755, &[])
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, 0o100_000 | mode, content)
    }

    /// A program with the libraries that it is linked to, where its loader looks for them.
    fn program(&mut self, path: &str, program: &Path) -> io::Result<()> {
        self.file(path, 0o755, &read(program)?)?;
        let mut made: BTreeSet<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
        for library in libraries(program)? {
            let inside = library.strip_prefix("/").unwrap_or(&library);
            let mut folders: Vec<&Path> = inside.ancestors().skip(1).collect();
            // The empty path at the top is the archive itself.
            folders.pop();
            for folder in folders.into_iter().rev() {
                if made.insert(folder.to_owned()) {
                    self.folder(&folder.to_string_lossy())?;
                }
            }
            self.file(&inside.to_string_lossy(), 0o755, &read(&library)?)?;
        }
        Ok(())
    }

    fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, 0o120_777, target.as_bytes())
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let name_size = path.len() + 1;
        // magic, inode, mode, uid, gid, links, mtime, size, device, special device, name's size, checksum
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}{path}\0",
            self.inode,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            0
        );
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len();
        let pad = self.written.next_multiple_of(4) - self.written;
        self.out.write_all(&[0; 3][..pad])?;
        self.written += pad;
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_one_that_cpio_reads() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin").unwrap();
        archive.file("bin/tool", 0o755, b"12345").unwrap();
        archive.symlink("bin/link", "tool").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("archive");
        fs::write(&file, bytes).unwrap();
        let listed = Command::new("busybox")
            .args(["cpio", "-i", "-t", "-F"])
            .arg(&file)
            .output();
        let Ok(listed) = listed else {
            eprintln!("SKIPPED the_archive_is_one_that_cpio_reads: no busybox");
            return;
        };
        assert_eq!(
            String::from_utf8_lossy(&listed.stdout),
            "bin\nbin/tool\nbin/link\n"
        );
    }

    #[test]
    fn a_module_is_known_however_it_is_packed() {
        assert_eq!(
            module_name("kernel/drivers/net/virtio_net.ko.zst"),
            "virtio_net"
        );
        assert_eq!(module_name("kernel/fs/ext4/ext4.ko"), "ext4");
        assert_eq!(
            module_name("kernel/drivers/virtio/virtio-ring.ko.xz"),
            "virtio_ring"
        );
    }
}
