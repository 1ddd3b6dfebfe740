//! The settings file: read at the start, written when an operator changes it here.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::policy::DEFAULT_TOML;

/// Where the settings stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFile(PathBuf);

/// Why new settings were not written.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    #[error("{0} was changed by somebody else meanwhile")]
    Changed(String),
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
}

impl SettingsFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its text; written with the defaults where it is not there.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub fn open(&self) -> io::Result<String> {
        match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = self.0.parent() {
                    fs::create_dir_all(folder)?;
                }
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&self.0)?
                    .write_all(DEFAULT_TOML.as_bytes())?;
                Ok(DEFAULT_TOML.to_owned())
            }
            read => read,
        }
    }

    /// Puts `text` in the place of `was`, whole or not at all.
    ///
    /// # Errors
    /// When the file no longer says `was`, or cannot be written.
    pub fn keep(&self, was: &str, text: &str) -> Result<(), NotKept> {
        let failed = |source| NotKept::File {
            path: self.0.display().to_string(),
            source,
        };
        if fs::read_to_string(&self.0).map_err(failed)? != was {
            return Err(NotKept::Changed(self.0.display().to_string()));
        }
        // What a link points to is written, not the link; others keep their right to read.
        let path = self.0.canonicalize().map_err(failed)?;
        let rights = fs::metadata(&path).map_err(failed)?.permissions();
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        new.write_all(text.as_bytes())
            .and_then(|()| new.as_file().set_permissions(rights))
            .and_then(|()| new.as_file().sync_all())
            .map_err(failed)?;
        new.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = SettingsFile::new(folder.path().join("inner/settings.toml"));
        let was = file.open().unwrap();
        assert_eq!(was, DEFAULT_TOML);
        file.keep(&was, "[health]\n").unwrap();
        assert_eq!(file.open().unwrap(), "[health]\n");
        assert!(matches!(file.keep(&was, ""), Err(NotKept::Changed(_))));
        assert_eq!(file.open().unwrap(), "[health]\n");
        let left = fs::read_dir(folder.path().join("inner")).unwrap().count();
        assert_eq!(left, 1);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.toml");
        fs::write(&real, "a").unwrap();
        let link = folder.path().join("settings.toml");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        SettingsFile::new(&link).keep("a", "b").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "b");
    }
}
