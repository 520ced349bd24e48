//! How a tool on the same machine gets an export out of a node that has its folder open: by a socket in that folder. Whoever may open the
//! socket may read the folder's files, which hold the same.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use fanfold_fold::{Offset, SessionKey};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

use super::check::{Checked, check};
use super::export::{Exporter, Wanted};
use super::format::Decoder;

/// What the socket is called.
pub(crate) const CONTROL: &str = "control.sock";

/// Bytes of a request.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// How long a tool may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a tool may take nothing of what it asked for. The next one waits for it.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// Bytes on the way to a tool.
const SENT_BYTES: usize = 64 << 10;

/// After a connection that could not be taken, as where there are too many open files.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Serves one tool after another until the process ends. A folder whose path is too long for a socket has none.
pub(crate) async fn serve(data: &Path, exporter: Exporter) {
    let path = data.join(CONTROL);
    // Of a node that died: nobody else has the folder open.
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            return tracing::warn!(%error, path = %path.display(), "no backup while the node runs: it has no control socket");
        }
    };
    if let Err(error) = std::fs::set_permissions(&path, Permissions::from_mode(0o600)) {
        tracing::warn!(%error, "the control socket has the folder's permissions");
    }
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a tool can't be served");
                tokio::time::sleep(AFTER_REFUSAL).await;
                continue;
            }
        };
        match answer(stream, &exporter).await {
            Ok(summary) => tracing::info!(sessions = summary.sessions, records = summary.records, "exported"),
            // The tool sees a file that is cut.
            Err(error) => tracing::warn!(error = &*error as &dyn std::error::Error, "not exported"),
        }
    }
}

pub(super) async fn answer(stream: UnixStream, exporter: &Exporter) -> anyhow::Result<super::export::Summary> {
    let (read, write) = stream.into_split();
    let mut line = String::new();
    let mut request = BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(PATIENCE, request.read_line(&mut line)).await.context("no request in time")??;
    let wanted: Wanted = serde_json::from_str(&line).context("the request can't be read")?;
    let (mut to, from) = tokio::io::duplex(SENT_BYTES);
    let exported = async move { anyhow::Ok(exporter.export(&wanted, &mut to, |_| {}).await?) };
    let (summary, ()) = tokio::try_join!(exported, send(from, write))?;
    Ok(summary)
}

/// Hands on what there is, as long as it is taken.
async fn send(mut from: DuplexStream, mut to: OwnedWriteHalf) -> anyhow::Result<()> {
    let mut buffer = vec![0; SENT_BYTES];
    loop {
        let got = from.read(&mut buffer).await?;
        let mut rest = &buffer[..got];
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let taken = tokio::time::timeout(STANDSTILL_MAX, to.write(rest)).await;
            rest = &rest[taken.context("the tool has stopped reading")??..];
        }
    }
}

/// Has the node export into a file, and checks what comes while it is written. `None`: no node listens.
pub(crate) async fn export_from_node(
    data: &Path,
    wanted: &Wanted,
    out: File,
    each: impl FnMut(&SessionKey, Offset) + Send + 'static,
) -> anyhow::Result<Option<Checked>> {
    let (path, request) = (data.join(CONTROL), serde_json::to_string(wanted)?);
    let exported = tokio::task::spawn_blocking(move || {
        let Ok(mut stream) = StdStream::connect(&path) else { return Ok(None) };
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut out = Tee { from: stream, to: out };
        let checked = check(Decoder::open(&mut out)?, each)?;
        out.to.flush()?;
        Ok(Some(checked))
    });
    exported.await?
}

/// Writes what is read.
struct Tee {
    from: StdStream,
    to: File,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.from.read(buffer)?;
        self.to.write_all(&buffer[..got])?;
        Ok(got)
    }
}
