//! Export: every device of an app, written line by line as the client takes them.
//!
//! A task of its own reads the cursor, because a future that is dropped in the middle of a read
//! throws its database connection away; a client that goes away merely closes the channel.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use jraze_domain::{device::Device, ids::AppId};
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::{StorageError, devices::Devices};
use tokio::sync::mpsc;

use super::ServiceError;

/// Size of a piece, in bytes: large enough that the channel does not matter.
const PIECE: usize = 64 << 10;
/// Pieces written ahead of the client.
const AHEAD: usize = 4;

/// Opens the export; `line` writes one device, without the line's end.
pub(crate) async fn open(
    devices: &Devices,
    app: AppId,
    lifecycle: &Lifecycle,
    line: impl Fn(Device, &mut Vec<u8>) + Send + 'static,
) -> Result<BoxStream<'static, std::io::Result<Bytes>>, ServiceError> {
    let mut export = devices.export(app, None).await?;
    let (sender, receiver) = mpsc::channel::<Result<Bytes, StorageError>>(AHEAD);
    lifecycle.spawn(async move {
        let mut piece = Vec::with_capacity(PIECE + 4096);
        loop {
            let next = export.next().await;
            let last = matches!(next, Ok(None) | Err(_));
            if let Ok(Some(device)) = next {
                line(device, &mut piece);
                piece.push(b'\n');
            } else if let Err(error) = next {
                // The client sees the download break off, which is the only honest end.
                tracing::error!(%error, "an export broke off");
                sender.send(Err(error)).await.ok();
                return;
            }
            if piece.len() >= PIECE || (last && !piece.is_empty()) {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE + 4096));
                if sender.send(Ok(full.into())).await.is_err() {
                    return; // nobody reads any more
                }
            }
            if last {
                return;
            }
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece.map_err(std::io::Error::other), receiver))
    });
    Ok(pieces.boxed())
}
