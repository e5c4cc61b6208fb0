//! Which request gets which answer. Everything is asked for by GET and changes nothing, but for what a person says of a kept
//! picture and wants taught from them: that is a POST, by who knows the token and from this page alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::access::Refusal;
use super::history::History;
use super::query::Query;
use super::server::Shared;
use super::{events, kept, teach, video};
use crate::publish::pictures::{Question, Scene, soon};
use crate::publish::sensors::Readings;
use crate::publish::wire::unix_seconds;

pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Longer without a turn is no waiting any more.
const ALIVE: Duration = Duration::from_secs(30);
/// How long somebody waits who guesses tokens.
const WRONG_TOKEN: Duration = Duration::from_millis(300);
/// How long a map may be in coming, which takes the next frame that is classified.
const NEXT_FRAME: Duration = Duration::from_secs(2);
/// Of what a person says, in bytes: a judgement of a thousand pictures.
const LARGEST_BODY: usize = 64 << 10;
/// How long it may be in coming.
const BODY: Duration = Duration::from_secs(10);

/// What a page from here may do: nothing but talk to here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const DRAWING: &str = include_str!("page/draw.js");
const KEPT: &str = include_str!("page/kept.js");
const TEACH: &str = include_str!("page/teach.js");

pub async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let mut answer = match shared.guard.check(request.headers()) {
        Ok(()) => route(shared, request).await,
        Err(refusal) => refused(refusal).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let own = HeaderValue::from_static("same-origin");
    headers.insert("cross-origin-resource-policy", own);
    Ok(answer)
}

async fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Host => text(
            StatusCode::MISDIRECTED_REQUEST,
            "This machine is not called so. Names that a reverse proxy passes on belong into `hosts` in [http].",
        ),
        Refusal::Site => text(StatusCode::FORBIDDEN, "Another site's page asks."),
        Refusal::Token => {
            tokio::time::sleep(WRONG_TOKEN).await;
            let mut answer = text(
                StatusCode::UNAUTHORIZED,
                "The token is missing or wrong: it is the password, with any name.",
            );
            let how = HeaderValue::from_static("Basic realm=\"resnetd\", charset=\"UTF-8\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, how);
            answer
        }
    }
}

async fn route(shared: &Arc<Shared>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    if request.method() == Method::POST && matches!(path, "/snapshots" | "/teach") {
        return change(shared, request).await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET.");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return answer;
    }
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(reason) => return text(StatusCode::BAD_REQUEST, reason),
    };
    match path {
        "/" => full(StatusCode::OK, HTML, PAGE),
        "/page.css" => full(StatusCode::OK, "text/css; charset=utf-8", STYLE),
        "/page.js" => full(StatusCode::OK, JAVASCRIPT, SCRIPT),
        "/draw.js" => full(StatusCode::OK, JAVASCRIPT, DRAWING),
        "/kept.js" => full(StatusCode::OK, JAVASCRIPT, KEPT),
        "/teach.js" => full(StatusCode::OK, JAVASCRIPT, TEACH),
        "/events" => lasting("text/event-stream", events::stream(shared)),
        "/state" => state(shared),
        "/metrics" => full(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            shared.metrics.text(),
        ),
        "/healthz" => health(shared),
        "/stream.mjpg" | "/snapshot.jpg" | "/why" => {
            match camera(shared, query.camera.as_deref()) {
                Some(camera) => of_camera(shared, path, camera, &query).await,
                None => text(
                    StatusCode::NOT_FOUND,
                    "There is no such camera; /state names them.",
                ),
            }
        }
        _ => {
            let (shared, path) = (Arc::clone(shared), path.to_owned());
            waiting(move || kept(&shared, &path, query.before.as_deref())).await
        }
    }
}

/// Does what may wait for a disk beside this thread, which serves everybody.
async fn waiting(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "This went wrong."))
}

/// What lies in the folder of pictures, or comes of it.
fn kept(shared: &Shared, path: &str, before: Option<&str>) -> Answer {
    let nothing = || text(StatusCode::NOT_FOUND, "There is no such page here.");
    let Some(snapshots) = &shared.inside.snapshots else {
        return nothing();
    };
    if let ("/teach", Some(lessons)) = (path, &shared.lessons) {
        return teach::show(lessons);
    }
    match path.strip_prefix("/snapshots") {
        Some("") => kept::list(snapshots, before, shared.lessons.is_some()),
        Some(file) if file.starts_with('/') => kept::picture(snapshots, &file[1..]),
        _ => nothing(),
    }
}

/// What a person says of pictures, or wants taught from them.
async fn change(shared: &Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (shared, path) = (Arc::clone(shared), request.uri().path().to_owned());
    let Some(snapshots) = shared.inside.snapshots.clone() else {
        return text(StatusCode::NOT_FOUND, "No pictures are kept here.");
    };
    if !shared.guard.may_change(request.headers()) {
        return text(
            StatusCode::FORBIDDEN,
            "Only this page may change something, and only where [http] has a `token_file`.",
        );
    }
    let body = Limited::new(request.into_body(), LARGEST_BODY).collect();
    let Ok(Ok(body)) = tokio::time::timeout(BODY, body).await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "Too much, or too slow.");
    };
    let body = body.to_bytes();
    waiting(move || match (path.as_str(), &shared.lessons) {
        ("/snapshots", _) => kept::judge(&snapshots, &body),
        (_, Some(lessons)) => teach::change(lessons, &snapshots, &body),
        (_, None) => text(
            StatusCode::NOT_FOUND,
            "Nothing is taught here: the program has no state directory ($STATE_DIRECTORY, which systemd sets).",
        ),
    })
    .await
}

/// The one that is asked for, else the first; `None` if there is none such.
fn camera(shared: &Shared, asked: Option<&str>) -> Option<String> {
    let cameras = shared.inside.hub.cameras();
    cameras
        .into_iter()
        .find(|name| asked.is_none_or(|asked| asked == name))
}

async fn of_camera(shared: &Arc<Shared>, path: &str, camera: String, query: &Query) -> Answer {
    match path {
        "/stream.mjpg" => lasting(
            &format!("multipart/x-mixed-replace; boundary={}", video::BOUNDARY),
            video::stream(shared, camera),
        ),
        "/snapshot.jpg" => snapshot(shared, &camera).await,
        _ => why(shared, &camera, query).await,
    }
}

async fn snapshot(shared: &Shared, camera: &str) -> Answer {
    match video::snapshot(shared, camera).await {
        Some(picture) => {
            let bytes = Bytes::copy_from_slice(&picture.jpeg);
            full(StatusCode::OK, "image/jpeg", bytes)
        }
        None => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "No frame comes from this camera now.",
        ),
    }
}

async fn why(shared: &Shared, camera: &str, query: &Query) -> Answer {
    let question = Question {
        camera,
        region: query.region.as_deref(),
        class_id: query.class_id,
    };
    if let Some(why) = soon(NEXT_FRAME, || shared.inside.pictures.why(question)).await {
        return json(&why);
    }
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "No frame is classified now, or this network does not end with an average and an int8 layer.",
    )
}

fn health(shared: &Shared) -> Answer {
    let idle = shared.inside.telemetry.since_turn();
    if idle < ALIVE {
        text(StatusCode::OK, "The inference loop turns.")
    } else {
        let why = format!(
            "The inference loop has not turned for {:.0} s.",
            idle.as_secs_f32()
        );
        full(StatusCode::SERVICE_UNAVAILABLE, PLAIN, why)
    }
}

/// What `/state` says.
#[derive(Serialize)]
struct Now<'a> {
    version: &'static str,
    /// Unix seconds.
    now: f64,
    /// The socket's messages that a new subscriber gets.
    messages: Vec<&'a RawValue>,
    cameras: Vec<About>,
    celsius: Option<f64>,
    throttled: Option<bool>,
    resident_bytes: Option<u64>,
    subscribers: u64,
    history: &'a History,
}

#[derive(Serialize)]
struct About {
    camera: String,
    captured: u64,
    dropped: u64,
    still: u64,
    unreadable: u64,
    scene: Option<Scene>,
}

fn state(shared: &Shared) -> Answer {
    let (welcome, _) = shared.inside.hub.welcome();
    let cameras = { shared.inside.telemetry.cameras() }
        .into_iter()
        .map(|(camera, frames)| About {
            captured: frames.captured.get(),
            dropped: frames.dropped.get(),
            still: frames.still.get(),
            unreadable: frames.unreadable.get(),
            scene: shared.inside.pictures.scene(&camera),
            camera,
        });
    let Readings {
        celsius,
        slowed,
        resident,
    } = shared.readings();
    json(&Now {
        version: env!("CARGO_PKG_VERSION"),
        now: unix_seconds(SystemTime::now()),
        messages: { welcome.iter() }
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect(),
        cameras: cameras.collect(),
        celsius,
        throttled: slowed,
        resident_bytes: resident,
        subscribers: shared.inside.hub.subscribers.get(),
        history: &shared.history(),
    })
}

pub fn text(status: StatusCode, line: &'static str) -> Answer {
    full(status, PLAIN, line)
}

/// Why something was not done.
pub fn refusal(status: StatusCode, error: &impl ToString) -> Answer {
    full(status, PLAIN, error.to_string())
}

pub fn json(value: &impl Serialize) -> Answer {
    // these types have no map whose keys are no strings
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    full(StatusCode::OK, "application/json", bytes)
}

pub fn full(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()).boxed_unsync());
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn lasting(kind: &str, parts: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    let frames = parts.map(|part| Ok(Frame::data(part)));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    if let Ok(kind) = HeaderValue::from_str(kind) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}
