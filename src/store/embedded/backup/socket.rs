//! Backups of a store that a process has open, handed out to others on this machine.
//!
//! One process alone can have the file open. redb has a mode in which others may read it meanwhile; each commit, and each
//! read, then locks parts of the file and looks whether another has changed it. So the process that has it open listens on a socket beside the
//! file, which is its owner's alone as the file is, and writes a backup to whoever connects.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{BackupError, back_up};
use crate::store::embedded::file::DatabaseFile;

/// The socket, in the store's folder.
const NAME: &str = "textledger.sock";

/// Processes that may wait for their turn; one more waits outside.
const WAITING_MAX: u32 = 8;

/// How long a process may take nothing of its backup: what it sees of the store takes up room in the file meanwhile.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long nobody is accepted after that failed, most often for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Connects to the process that has the store in `folder` open. What can be read there is a backup, once its turn has come.
pub fn ask(folder: &Path) -> io::Result<net::UnixStream> {
    net::UnixStream::connect(folder.join(NAME))
}

/// Listens for processes that want a backup. Dropping it takes the socket away.
pub struct Socket {
    file: Arc<DatabaseFile>,
    path: PathBuf,
    listener: UnixListener,
    idle_max: Duration,
}

impl Socket {
    /// Listens beside `file`. Within a runtime.
    pub(super) fn listen(file: Arc<DatabaseFile>) -> io::Result<Self> {
        let path = file.path().with_file_name(NAME);
        // One that is there is a killed process's: nobody else has the file open.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(&path)?;
        // Before it listens nobody can connect.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { file, path, listener: socket.listen(WAITING_MAX)?, idle_max: IDLE_MAX })
    }

    /// Hands out backups, one after another, until `stop`, which breaks off the one that is under way.
    pub async fn serve(&self, stop: &CancellationToken) {
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            let handed_out = match accepted {
                Ok((stream, _)) => self.hand_out(stream, stop).await,
                Err(error) => {
                    stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                    Err(error.into())
                }
            };
            match handed_out {
                Ok(()) => tracing::info!("a backup was made"),
                Err(BackupError::File(error)) => {
                    tracing::warn!(%error, "a backup was not handed out whole");
                }
                Err(error) => {
                    let mend = "restore a former backup, or look for what is wrong with the disk";
                    tracing::error!(%error, mend, "a backup could not be made");
                }
            }
        }
    }

    /// Writes a backup to `stream`, or a part of one, which whoever reads it can tell from a whole one.
    async fn hand_out(&self, stream: UnixStream, stop: &CancellationToken) -> Result<(), BackupError> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(self.idle_max))?;
        let (file, output) = (self.file.clone(), stream.try_clone()?);
        let mut writing = tokio::task::spawn_blocking(move || back_up(&file, output));
        let written = match stop.run_until_cancelled(&mut writing).await {
            Some(written) => written,
            None => {
                stream.shutdown(Shutdown::Both)?;
                writing.await
            }
        };
        written.map_err(io::Error::other)?
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // If it stays, the next process takes it for a killed one's.
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{
        clock::SystemClock,
        store::embedded::{EmbeddedStore, backup::tests::fill},
    };

    /// More than waits in the kernel for whoever reads a socket, in bytes.
    const LARGE: usize = 8 << 20;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_takes_nothing_of_a_backup_is_left_and_a_stop_waits_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap();
        fill(&store, LARGE).await;
        let mut socket = store.listen_for_backups().unwrap();
        socket.idle_max = Duration::from_secs(2);
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let stop = stop.clone();
            async move {
                socket.serve(&stop).await;
                drop(socket);
            }
        });
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let read = |mut stream: net::UnixStream| {
            tokio::task::spawn_blocking(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                bytes
            })
        };
        let idle = ask(folder.path()).unwrap();
        // It is served after the idle one, and so once that was left.
        let second = read(ask(folder.path()).unwrap()).await.unwrap();
        let mut whole = Vec::new();
        store.back_up(&mut whole).unwrap();
        assert!(second == whole, "{} bytes of {}", second.len(), whole.len());
        assert!(read(idle).await.unwrap().len() < whole.len());

        let mut under_way = ask(folder.path()).unwrap();
        under_way.read_exact(&mut [0]).unwrap();
        stop.cancel();
        serving.await.unwrap();
        assert_eq!(ask(folder.path()).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
