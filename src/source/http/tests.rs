//! A camera in a thread that answers each connection as a test says: well, badly, slowly, not at all.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use super::*;
use crate::source::stream::MAX_FRAME;

/// Longer than anything here should take, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(20);
const TURN: Duration = Duration::from_millis(50);

/// One JPEG in form, of 64x48.
const JPEG: &[u8] =
    b"\xff\xd8\xff\xc0\x00\x0a\x08\x00\x30\x00\x40\x01\x01\x11\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00abc\xff\xd9";

/// Answers the connections, one after the other, by `answers` in turn; after the last one it is gone. Gives the
/// port and what each connection asked for.
fn serve(answers: Vec<Box<dyn FnOnce(&mut TcpStream) + Send>>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, requests) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            let _ = asked.send(String::from_utf8(request).unwrap());
            answer(&mut socket);
        }
    });
    (port, requests)
}

fn says(text: impl Into<Vec<u8>>) -> Box<dyn FnOnce(&mut TcpStream) + Send> {
    let text = text.into();
    // The other side may have had enough.
    Box::new(move |socket| {
        let _ = socket.write_all(&text);
    })
}

fn stream(parts: &[&[u8]]) -> Vec<u8> {
    let head =
        b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=\"--x\"\r\n\r\n";
    let part = |part: &&[u8]| {
        let head = b"--x\r\nContent-Type: image/jpeg\r\n\r\n";
        [&head[..], part, b"\r\n"].concat()
    };
    [head.to_vec(), parts.iter().flat_map(part).collect()].concat()
}

fn camera(port: u16, path: &str) -> Http {
    let url = Url::parse(&format!("//u:p@127.0.0.1:{port}{path}")).unwrap();
    let short = Duration::from_millis(20);
    Http::with(url, Backoff::between(short, short), Duration::from_secs(1))
}

/// The next event that is no timeout, which comes within the caller's time.
fn event(http: &mut Http) -> Event {
    let mut frame = Frame::empty();
    let end = Instant::now() + LONG;
    loop {
        let event = http.next(&mut frame, TURN);
        if event != Event::Timeout {
            return event;
        }
        assert!(Instant::now() < end, "nothing happened: {:?}", http.state);
    }
}

fn lost(http: &mut Http) -> String {
    for _ in 0..100 {
        if let Event::Lost(why) = event(http) {
            return why;
        }
    }
    panic!("it was not lost");
}

#[test]
fn a_camera_that_ends_is_lost_and_comes_back() {
    let whole = stream(&[JPEG, JPEG]);
    let (port, requests) = serve(vec![says(whole.clone()), says(whole)]);
    let mut http = camera(port, "/a?b=c");
    for _ in 0..2 {
        assert_eq!(
            (event(&mut http), event(&mut http)),
            (Event::Frame, Event::Frame)
        );
        assert_eq!(lost(&mut http), "the camera ended the connection");
        let request = requests.recv().unwrap();
        assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("Authorization: Basic dTpw\r\n"),
            "{request}"
        );
    }
    while !lost(&mut http).contains("no connection to") {}
}

#[test]
fn torn_pictures_are_dropped_and_the_stream_goes_on() {
    let bytes = stream(&[JPEG, &JPEG[..26], JPEG, b"\xff\xd8\xff\xffgarbage", JPEG]);
    let (port, _requests) = serve(vec![says(bytes)]);
    let mut http = camera(port, "/");
    let mut frame = Frame::empty();
    let mut frames = 0;
    let end = Instant::now() + LONG;
    loop {
        match http.next(&mut frame, TURN) {
            Event::Frame => frames += 1,
            Event::Lost(_) => break,
            _ => {}
        }
        assert!(Instant::now() < end);
    }
    assert_eq!((frames, http.torn), (3, 2));
    assert_eq!(frame.data, JPEG);
}

#[test]
fn a_camera_that_drips_or_says_nothing_is_lost_in_time() {
    let drip = |socket: &mut TcpStream| {
        for byte in stream(&[JPEG]).iter().cycle() {
            if socket.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    };
    let nothing = |socket: &mut TcpStream| {
        let _ = socket.read(&mut [0]);
    };
    let (port, _requests) = serve(vec![Box::new(drip), Box::new(nothing)]);
    let mut http = camera(port, "/");
    for _ in 0..2 {
        assert_eq!(lost(&mut http), "no picture for 1 seconds");
        // The same reason is given again while it pauses.
        http.state = State::Paused(Paused::until(Instant::now()));
    }
}

#[test]
fn a_camera_of_single_pictures_is_asked_again_and_not_too_often() {
    let answer = || {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            JPEG.len()
        );
        says([head.as_bytes(), JPEG].concat())
    };
    let (port, _requests) = serve((0..4).map(|_| answer()).collect());
    let mut http = camera(port, "/snapshot.jpg");
    let begin = Instant::now();
    for _ in 0..4 {
        assert_eq!(event(&mut http), Event::Frame);
    }
    assert!(begin.elapsed() >= 3 * POLL, "{:?}", begin.elapsed());
}

#[test]
fn redirects_are_followed_three_times_and_not_elsewhere() {
    let to = |location: &str| {
        says(format!(
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n"
        ))
    };
    let (port, requests) = serve(vec![to("/1"), to("/2"), to("/3"), says(stream(&[JPEG]))]);
    let mut http = camera(port, "/");
    assert_eq!(event(&mut http), Event::Frame);
    let paths: Vec<String> = requests
        .iter()
        .take(4)
        .map(|r| r.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(paths, ["/", "/1", "/2", "/3"]);

    let (port, _requests) = serve((0..4).map(|_| to("/again")).collect());
    assert!(lost(&mut camera(port, "/")).contains("more than 3 times"));
    let (port, _requests) = serve(vec![to("https://elsewhere/")]);
    assert!(lost(&mut camera(port, "/")).contains("exec:ffmpeg"));
}

#[test]
fn what_is_no_camera_is_said_to_be_what_it_is() {
    for (answer, expected) in [
        ("HTTP/1.1 401 No\r\n\r\n", "USER:PASSWORD@HOST"),
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=\"x\"\r\n\r\n",
            "exec:ffmpeg",
        ),
        ("HTTP/1.1 404 No\r\n\r\n", "path of its MJPEG stream"),
        ("HTTP/1.1 503 No\r\n\r\n", "too many others"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>",
            "it gives text/html",
        ),
        ("RTSP/1.0 200 OK\r\n\r\n", "speaks no HTTP"),
        ("220 mail\r\n", "speaks no HTTP"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
            "chunks are damaged",
        ),
    ] {
        let (port, _requests) = serve(vec![says(answer)]);
        let why = lost(&mut camera(port, "/"));
        assert!(why.contains(expected), "{answer}: {why}");
    }
}

#[test]
fn heads_and_bodies_come_in_pieces_of_any_size() {
    let chunks = |bytes: &[u8]| {
        let coded = bytes.chunks(5).flat_map(|chunk| {
            [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
        });
        [coded.collect(), b"0\r\n\r\n".to_vec()].concat()
    };
    let chunked = [
        &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTRANSFER-ENCODING: Chunked\r\n\r\n"[..],
        &chunks(&[JPEG, b"--x", JPEG].concat()),
    ]
    .concat();
    for (bytes, over) in [(stream(&[JPEG, JPEG]), false), (chunked, true)] {
        for size in [1, 2, 3, 7, 50, 1000] {
            let mut response = Response::default();
            let mut frame = Frame::empty();
            let mut frames = 0;
            for piece in bytes.chunks(size) {
                response.push(piece).unwrap();
                while response.next(&mut frame).unwrap() {
                    frames += 1;
                    assert_eq!(frame.data, JPEG);
                }
            }
            assert_eq!(
                (frames, response.is_over()),
                (2, over),
                "in pieces of {size}"
            );
        }
    }
}

#[test]
fn an_endless_head_or_picture_is_bounded() {
    let mut response = Response::default();
    let mut result = response.push(b"HTTP/1.1 200 OK\r\nX: ");
    for _ in 0..100 {
        result = result.and_then(|()| response.push(&[b'x'; 1000]));
    }
    assert_eq!(result, Err(AnswerError::LongHead));

    let mut response = Response::default();
    response.push(&stream(&[&JPEG[..26]])).unwrap();
    let mut frame = Frame::empty();
    for _ in 0..2 * MAX_FRAME / 10_000 {
        response.push(&[1; 10_000]).unwrap();
        assert_eq!(response.next(&mut frame), Ok(false));
    }
    assert!(response.torn() > 0);
}
