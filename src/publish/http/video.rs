//! A camera's picture, moving (multipart/x-mixed-replace, one JPEG a part) or not. The newest one wins: a reader that is slow
//! sees fewer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::server::Shared;
use crate::publish::pictures::{Picture, soon};

/// Between the parts.
pub const BOUNDARY: &str = "resnetd-frame";
/// How long a single picture may be in coming.
const PATIENCE: Duration = Duration::from_secs(3);

/// The next picture that comes, if one comes soon.
pub async fn snapshot(shared: &Shared, camera: &str) -> Option<Picture> {
    let pictures = &shared.inside.pictures;
    // what is kept may be as old as the last time that somebody looked
    let old = pictures.number(camera);
    soon(PATIENCE, || pictures.newest(camera, old)).await
}

/// Pictures as they come, until the camera is not watched any more.
pub fn stream(shared: &Arc<Shared>, camera: String) -> impl Stream<Item = Bytes> + use<> {
    stream::unfold(
        (Arc::clone(shared), camera, 0),
        |(shared, camera, after)| async move {
            loop {
                if let Some(picture) = shared.inside.pictures.newest(&camera, after) {
                    return Some((part(&picture), (shared, camera, picture.number)));
                }
                shared.inside.pictures.scene(&camera)?;
                tokio::time::sleep(shared.frame_time / 2).await;
            }
        },
    )
}

fn part(picture: &Picture) -> Bytes {
    let length = picture.jpeg.len();
    let head = format!(
        "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\nX-Timestamp: {:.3}\r\n\r\n",
        picture.captured_at
    );
    let mut part = Vec::with_capacity(head.len() + length + 2);
    part.extend_from_slice(head.as_bytes());
    part.extend_from_slice(&picture.jpeg);
    part.extend_from_slice(b"\r\n");
    part.into()
}
