//! Reading and writing PEM files.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::Error;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only the owner: keys, and what contains keys.
    Owner,
    /// Everybody: certificates.
    Everybody,
}

/// A certificate chain or bundle, and the key to the first certificate.
#[derive(Debug)]
pub struct Pair {
    /// The certificate first, then those that vouch for it.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

/// The file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { action: "read", path: path.to_owned(), source })
}

/// The file's bytes, or `None` if there is no such file.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { action: "read", path: path.to_owned(), source }),
    }
}

/// All certificates of a PEM file; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    certificates_in(&read(path)?).ok_or_else(|| Error::Pem { path: path.to_owned(), wanted: "certificate" })
}

/// All certificates of a PEM text; `None` if there are none, or one is broken.
pub fn certificates_in(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// A certificate as PEM text (RFC 7468).
pub fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    // Sixty-four characters a line; all of them ASCII.
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// A certificate chain and its key from two files, which may be the same.
pub fn pair(certificates_file: &Path, key_file: &Path) -> Result<Pair, Error> {
    let certificates = certificates(certificates_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?).map_err(|error| {
        Error::unusable(key_file.display().to_string(), format!("no private key in it: {error}"))
    })?;
    Ok(Pair { certificates, key })
}

/// Makes a folder that only the owner can look into, and those above it, unless it is there.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| Error::File {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

/// Writes a file as a whole: whoever reads the path, even after a crash, sees the old contents or the new ones.
pub fn write(path: &Path, contents: &str, access: Access) -> Result<(), Error> {
    let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let mut draft_name = std::ffi::OsString::from(".");
    draft_name.push(name);
    draft_name.push(".new");
    let draft = path.with_file_name(draft_name);
    // A draft left by a crash could have another mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o644,
    };
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).map_err(failed)?;
    file.write_all(contents.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keys_are_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/key");
        make_folder(path.parent().unwrap()).unwrap();
        for (contents, access, mode) in [
            ("one", Access::Everybody, 0o644),
            ("two", Access::Owner, 0o600),
            ("three", Access::Everybody, 0o644),
        ] {
            write(&path, contents, access).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
            // The umask may only take away.
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !mode, 0);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no drafts are left");
    }

    #[test]
    fn a_certificate_is_written_as_it_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let certificate = CertificateDer::from(vec![7; length]);
            let pem = to_pem(&certificate);
            assert_eq!(certificates_in(pem.as_bytes()).unwrap(), [certificate]);
            assert!(pem.lines().all(|line| line.len() <= 64));
        }
    }

    #[test]
    fn a_file_without_what_it_should_hold_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.crt");
        write(&path, "nothing", Access::Everybody).unwrap();
        assert!(matches!(certificates(&path), Err(Error::Pem { wanted: "certificate", .. })));
        assert!(matches!(certificates(&folder.path().join("none")), Err(Error::File { action: "read", .. })));
        assert!(read_if_there(&folder.path().join("none")).unwrap().is_none());
    }
}
