//! Live updates: streams and sockets.

use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client of `/api/v1/events`.
struct Client {
    body: Body,
    text: String,
}

/// One event of a stream.
#[derive(Debug, Default)]
struct Heard {
    id: String,
    kind: String,
    data: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    /// The event with the job's id.
    fn short(&self) -> String {
        let json = self.json();
        format!("{} {}", json["event"].as_str().unwrap(), json["jobId"].as_str().unwrap_or("-"))
    }
}

impl Client {
    async fn open(place: &Place, query: &str, token: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(format!("/api/v1/events{query}")).header(header::HOST, "localhost");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = place.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event; none at the stream's end.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut heard = Heard::default();
                for line in event.lines() {
                    let (field, value) = line.split_once(':').unwrap();
                    let value = value.trim_start().to_owned();
                    match field {
                        "id" => heard.id = value,
                        "event" => heard.kind = value,
                        "data" => heard.data = value,
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if !heard.data.is_empty() {
                    return Some(heard);
                }
                continue;
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("something comes")?.unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// The next so many events in short.
    async fn hear(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            told.push(self.next().await.expect("the stream goes on").short());
        }
        told
    }
}

#[tokio::test]
async fn a_jobs_life_is_heard_with_its_tenant() {
    let place = Place::open(Vec::new());
    let mut client = Client::open(&place, "", "", None).await;
    let job = json!({"name": "n", "opts": {"jobId": "a", "tenant": "acme"}});
    place.post("queues/work/jobs", Some(job)).await;
    place.complete(1).await;
    let mut told = Vec::new();
    while told.len() < 4 {
        let json = client.next().await.unwrap().json();
        assert_eq!((&json["tenantId"], &json["queue"]), (&json!("acme"), &json!("work")));
        told.push(json);
    }
    let words: Vec<_> =
        told.iter().map(|json| (json["event"].as_str().unwrap(), json["status"].as_str())).collect();
    let expected = [
        ("added", None),
        ("waiting", Some("waiting")),
        ("active", Some("active")),
        ("completed", Some("completed")),
    ];
    assert_eq!(words, expected);
    assert_eq!(told[3]["result"], json!({"n": 1}));
}

#[tokio::test]
async fn a_client_that_comes_back_hears_what_it_missed_once() {
    let place = Place::open(Vec::new());
    let mut client = Client::open(&place, "?queue=work", "", None).await;
    place.fill(0..3).await;
    let first = client.next().await.unwrap();
    assert_eq!(first.short(), "added j0");
    drop(client);
    place.fill(3..5).await;
    let mut client = Client::open(&place, "?queue=work", "", Some(&first.id)).await;
    place.fill(5..6).await;
    let told = client.hear(11).await;
    let expected: Vec<_> =
        (0..6).flat_map(|n| [format!("added j{n}"), format!("waiting j{n}")]).skip(1).collect();
    assert_eq!(told, expected);
    let bad = Request::get("/api/v1/events").header(header::HOST, "localhost").header("last-event-id", "%%%");
    assert_eq!(place.send(bad.body(Body::empty()).unwrap()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn whatever_a_client_missed_is_made_up_for() {
    let place = Place::open(Vec::new());
    let mut client = Client::open(&place, "", "", None).await;
    place.fill(0..1).await;
    let first = client.next().await.unwrap();
    drop(client);
    // More than one reading of the stream gives, and more than a slow client may lie behind.
    for batch in 1..5 {
        place.fill(batch * 1000..batch * 1000 + 1000).await;
    }
    let mut client = Client::open(&place, "", "", Some(&first.id)).await;
    let told = client.hear(8001).await;
    assert_eq!((told[0].as_str(), told[8000].as_str()), ("waiting j0", "waiting j4999"));
    place.fill(9000..9001).await;
    assert_eq!(client.hear(2).await, ["added j9000", "waiting j9000"]);
}

#[tokio::test]
async fn clients_hear_their_queues_and_tenants_alone() {
    let place = Place::open(tokens());
    let mut bound = Client::open(&place, "", "acme", None).await;
    let mut chosen = Client::open(&place, "?tenant=other", "viewer", None).await;
    for (id, tenant) in [("a", "acme"), ("b", "other"), ("c", "acme")] {
        let job = json!({"name": "n", "opts": {"jobId": id, "tenant": tenant}});
        place.ask(Method::POST, "/api/v1/queues/work/jobs", "admin", Some(job)).await;
    }
    assert_eq!(bound.hear(4).await, ["added a", "waiting a", "added c", "waiting c"]);
    assert_eq!(chosen.hear(2).await, ["added b", "waiting b"]);
    let foreign = place.ask(Method::GET, "/api/v1/events?tenant=other", "acme", None).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let unknown = place.ask(Method::GET, "/api/v1/events?queue=wrk", "viewer", None).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_client_that_cannot_keep_up_is_told_so_and_let_go() {
    let place = Place::open(Vec::new());
    let mut slow = Client::open(&place, "", "", None).await;
    let mut quick = Client::open(&place, "", "", None).await;
    // Two updates a job, and more than are kept.
    let (jobs, mut heard) = (3000, 0);
    for batch in 0..jobs / 500 {
        place.fill(batch * 500..(batch + 1) * 500).await;
        heard += quick.hear(1000).await.len();
    }
    assert_eq!(heard, jobs * 2);
    let last = slow.next().await.unwrap();
    assert!(last.kind == "dropped" && last.data.contains("too slow"), "{last:?}");
    assert!(slow.next().await.is_none());
}

/// A server with the routes on a real port, until `stop` fires.
async fn serve(place: &Place, stop: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = place.router.clone();
    tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
    });
    format!("ws://{address}/ws")
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(url: &str, headers: &[(&'static str, &str)]) -> Result<Socket, StatusCode> {
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

async fn told(socket: &mut Socket) -> Value {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("something comes").unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_socket_hears_until_the_host_stops() {
    let closing = CancellationToken::new();
    let place = Place::open_until(Vec::new(), closing.clone());
    let url = serve(&place, CancellationToken::new()).await;
    let mut socket = connect(&format!("{url}?queue=work"), &[]).await.unwrap();
    // What a client says means nothing.
    socket.send(Message::text("hello")).await.unwrap();
    place.fill(0..1).await;
    assert_eq!(told(&mut socket).await["event"], "added");
    assert_eq!(told(&mut socket).await["status"], "waiting");
    closing.cancel();
    let last = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    let Message::Close(Some(frame)) = last else { panic!("{last:?}") };
    assert_eq!(frame.reason.as_str(), "the host stops");
}

#[tokio::test]
async fn a_socket_needs_a_token_and_its_own_site() {
    let place = Place::open(tokens());
    let url = serve(&place, CancellationToken::new()).await;
    assert_eq!(connect(&url, &[]).await.unwrap_err(), StatusCode::UNAUTHORIZED);
    assert!(connect(&url, &[("authorization", "Bearer viewer")]).await.is_ok());
    assert!(connect(&url, &[("sec-websocket-protocol", "jobcell, bearer.viewer")]).await.is_ok());
    let site = [("sec-websocket-protocol", "jobcell, bearer.viewer"), ("origin", "http://evil.example")];
    assert_eq!(connect(&url, &site).await.unwrap_err(), StatusCode::FORBIDDEN);
    let plain = place.ask(Method::GET, "/ws", "viewer", None).await;
    assert!(plain.status.is_client_error(), "{}", plain.json);
}
