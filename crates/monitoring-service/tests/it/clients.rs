//! Hostile clients against the real program, over raw sockets. Each gets a precise error; none gets a 5xx, stops the program or sees a
//! secret. No Kafka is needed. Slow clients are tested in `http-listener`, single bad fields in `routes`.

use crate::program::{JSON, Program};

fn start(request: &str, headers: &str) -> Vec<u8> {
    format!("{request} HTTP/1.1\r\nhost: x\r\n{headers}").into_bytes()
}

#[test]
fn too_large_heads_get_a_bare_answer() {
    let program = Program::start(&[]);
    let big = "a".repeat(64 * 1024);
    let get = |headers: &str| start("GET /alerts", headers);
    let parameters = format!("GET /alerts?{}", "a=1&".repeat(100_000));
    for (what, bytes, statuses) in [
        (
            "a header",
            get(&format!("x-big: {big}\r\n\r\n")),
            &[431][..],
        ),
        (
            "headers",
            get(&("x-a: b\r\n".repeat(8192) + "\r\n")),
            &[431],
        ),
        (
            "101 headers",
            get(&("x-a: b\r\n".repeat(101) + "\r\n")),
            &[431],
        ),
        ("a path", start(&format!("GET /{big}"), "\r\n"), &[414, 431]),
        (
            "100,000 parameters",
            start(&parameters, "\r\n"),
            &[414, 431],
        ),
        (
            "a method",
            start(&format!("{big} /alerts"), "\r\n"),
            &[400, 431],
        ),
    ] {
        program.send_bad_head(what, &bytes).is_bare(statuses, what);
    }
    program.finish("");
}

#[test]
fn malformed_heads_get_a_bare_answer() {
    let program = Program::start(&[]);
    let get = |headers: &str| start("GET /alerts", headers);
    let post = |headers: &str| start("POST /alerts/evaluate", headers);
    let hello = [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        &[0; 64],
    ]
    .concat();
    let digits = "9".repeat(40);
    for (what, bytes) in [
        ("a NUL in the path", start("GET /al\0erts", "\r\n")),
        ("a NUL in a header", get("x-a: a\0b\r\n\r\n")),
        ("a header without a name", get(": b\r\n\r\n")),
        ("a space before the colon", get("x-a : b\r\n\r\n")),
        ("a folded line", get("x-a: b\r\n c\r\n\r\n")),
        (
            "two lengths",
            post("content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ),
        ("a negative length", post("content-length: -1\r\n\r\n")),
        (
            "an endless length",
            post(&format!("content-length: {digits}\r\n\r\n")),
        ),
        (
            "a hidden end",
            post("transfer-encoding: chunked, gzip\r\n\r\n"),
        ),
        ("HTTP/0.9", b"GET /alerts\r\n\r\n".to_vec()),
        (
            "HTTP/3.0",
            b"GET /alerts HTTP/3.0\r\nhost: x\r\n\r\n".to_vec(),
        ),
        ("TLS", hello),
        ("noise", (0..=255).cycle().take(4096).collect()),
    ] {
        program.send_bad_head(what, &bytes).is_bare(&[400], what);
    }
    // HTTP/2 without negotiation: an HTTP/1 answer may not be possible.
    assert!(
        program
            .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .is_none_or(|answer| answer.status == 400)
    );
    program.finish("");
}

#[test]
fn too_large_or_broken_bodies_are_refused_unread() {
    let program = Program::start(&[]);
    let send = |head: &str, body: &[u8]| {
        program
            .send(&[&start("POST /alerts/evaluate", head)[..], body].concat())
            .expect("an answer")
    };
    let declared = format!("{JSON}content-length: 1000000000\r\n\r\n");
    send(&declared, b"").is_about(413, "body", "1 GB declared");
    send(&declared, &vec![b' '; 200_000]).is_about(413, "body", "1 GB declared and begun");
    let expecting = format!("{JSON}expect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n");
    send(&expecting, b"").is_about(413, "body", "1 GB asked for");
    let chunked = format!("{JSON}transfer-encoding: chunked\r\n\r\n");
    let chunk = [&b"4000\r\n"[..], &[b' '; 0x4000], b"\r\n"].concat();
    send(&chunked, &chunk.repeat(40)).is_about(413, "body", "640 KiB in chunks without an end");
    send(&chunked, b"zz\r\nab\r\n0\r\n\r\n").is_problem(400, "chunks without a size");
    send(&chunked, b"ffffffffffffffffff\r\nab").is_problem(400, "a chunk beyond numbers");
    let short = start(
        "POST /alerts/evaluate",
        &format!("{JSON}content-length: 50\r\n\r\n{{\"status\":"),
    );
    if let Some(answer) = program.send_and_end(&short) {
        answer.is_problem(400, "a body that ends early");
    }
    // Both a length and chunks: the rest must not be read as a request.
    let smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = send(
        &format!("{JSON}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"),
        smuggled,
    );
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(!answer.body.contains("HELP"), "{}", answer.body);
    program.finish("");
}

#[test]
fn odd_requests_get_their_usual_answer() {
    let program = Program::start(&[]);
    program
        .get("/<script>alert(1)</script>")
        .is_bare(&[400], "markup as it is");
    for target in [
        "/%3Cscript%3E",
        "/alerts%2fstatus",
        "/%61lerts",
        "/alerts/../metrics/..",
        "//alerts",
        "/alerts//status",
        "/Alerts",
        "/alerts;x=1",
        "/..%2f..%2fetc%2fpasswd",
        "/%00",
        "/%ff",
    ] {
        let problem = program.get(target).is_problem(404, target);
        assert!(!problem.to_string().contains("script"), "{problem}");
    }
    // Bytes that are not ASCII: refused by hyper or unknown to the router.
    let answer = program.get(b"/\xff\xfe");
    assert!(matches!(answer.status, 400 | 404), "{}", answer.body);
    for method in [
        "BREW", "get", "TRACE", "PROPFIND", "DELETE", "CONNECT", "OPTIONS",
    ] {
        let answer = program
            .send(&start(
                &format!("{method} /alerts"),
                "connection: close\r\n\r\n",
            ))
            .expect("an answer");
        answer.is_problem(405, method);
        assert_eq!(answer.header("allow"), "GET,HEAD", "{method}");
    }
    for (what, request, status) in [
        ("HTTP/1.0", "GET /health/live HTTP/1.0\r\n\r\n", 200),
        (
            "no host",
            "GET /health/live HTTP/1.1\r\nconnection: close\r\n\r\n",
            200,
        ),
        (
            "absolute form",
            "GET http://elsewhere.example/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            200,
        ),
        (
            "all of the server",
            "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            404,
        ),
        (
            "a proxy",
            "CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            404,
        ),
        (
            "an upgrade",
            "GET /health/live HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\r\n",
            200,
        ),
        (
            "a body to a GET",
            "GET /health/live HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
            200,
        ),
        (
            "bare line ends",
            "GET /health/live HTTP/1.1\nhost: x\nconnection: close\n\n",
            200,
        ),
        (
            "a strange trace",
            "GET /health/live HTTP/1.1\r\nhost: x\r\ntraceparent: 00-zz-\r\nx-request-id: <b>\r\nconnection: close\r\n\r\n",
            200,
        ),
    ] {
        let answer = program
            .send(request.as_bytes())
            .unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert!(!answer.header("x-request-id").contains('<'), "{what}");
    }
    let head = program
        .send(&start("HEAD /alerts", "connection: close\r\n\r\n"))
        .expect("an answer");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    program.finish("");
}

#[test]
fn no_odd_path_or_token_opens_a_guarded_route() {
    let token = "correct-horse-battery";
    let program = Program::start(&[("API_TOKEN", token)]);
    for target in [
        "/alerts",
        "/health",
        "/health/live/",
        "/health/live/../../alerts",
        "/%68ealth/live",
        "/health/live%00",
        "/health/live;x",
        "/HEALTH/LIVE",
        "//health/live",
        "/nothing",
        "http://x/alerts",
        "/alerts?/health/live",
    ] {
        let answer = program.get(target);
        answer.is_about(401, "Authorization", target);
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{target}");
    }
    for shown in [
        "a-guess-at-the-token",
        "correct-horse-batter",
        "correct-horse-battery1",
        "CORRECT-HORSE-BATTERY",
        "",
        "\u{e9}",
        "correct-horse-battery\tx",
    ] {
        for scheme in ["Bearer ", "Basic ", "bearer", "Bearer  Bearer ", ""] {
            let request = start(
                "GET /alerts",
                &format!("authorization: {scheme}{shown}\r\nconnection: close\r\n\r\n"),
            );
            program.send(&request).expect("an answer").is_about(
                401,
                "Authorization",
                &format!("{scheme}{shown}"),
            );
        }
    }
    let twice = format!(
        "authorization: Bearer a-guess-at-the-token\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    program
        .send(&start("GET /alerts", &twice))
        .expect("an answer")
        .is_about(401, "Authorization", "two tokens");
    // A token in the query would be logged, so it is not accepted.
    program
        .get(format!("/alerts?access_token={token}"))
        .is_about(401, "Authorization", "in the query");
    for open in [
        "/health/live",
        "/health/ready",
        "http://x/health/live",
        "/health/live?x",
    ] {
        assert_eq!(program.get(open).status, 200, "{open}");
    }
    program.finish(token);
}
