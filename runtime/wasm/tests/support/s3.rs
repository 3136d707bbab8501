//! As much of S3 as blobs need: put, get with a range, head, delete and a list, in one bucket. Google's store speaks the
//! same, but for how a request says who sends it and how objects are deleted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Received, receive};

type Objects = Arc<Mutex<BTreeMap<String, (Vec<u8>, String)>>>;

/// The bucket called `bucket`; it ends with the runtime.
pub(crate) struct Bucket {
    pub(crate) address: SocketAddr,
    objects: Objects,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, objects) = (listener.local_addr().unwrap(), Objects::default());
        let shared = Arc::clone(&objects);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, objects }
    }

    /// Puts an object past all who ask.
    pub(crate) fn put(&self, key: &str, body: &str) {
        self.objects.lock().unwrap().insert(key.to_owned(), (body.into(), String::new()));
    }

    /// The keys as S3 has them, with their content types.
    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        self.objects.lock().unwrap().iter().map(|(key, (_, kind))| (key.clone(), kind.clone())).collect()
    }
}

async fn serve(stream: TcpStream, objects: Objects) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = receive(&mut stream).await?;
        let answer = answer(&request, &mut objects.lock().unwrap())?;
        stream.write_all(&answer).await.ok()?;
    }
}

fn answer(request: &Received, objects: &mut BTreeMap<String, (Vec<u8>, String)>) -> Option<Vec<u8>> {
    let mut words = request.line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let authorization = request.header("authorization")?;
    let is_google = authorization == "Bearer google-token";
    assert!(is_google || authorization.contains("AWS4-HMAC-SHA256 Credential=id/"), "{authorization}");
    let key = decoded(path.strip_prefix("/bucket")?.trim_start_matches('/'));
    Some(match method {
        "PUT" => {
            let kind = request.header("content-type").unwrap_or_default().to_owned();
            objects.insert(key, (request.body.clone(), kind));
            reply("200 OK", "etag: \"tag\"\r\n", b"", false)
        }
        "POST" if query == "delete" => {
            let text = String::from_utf8(request.body.clone()).unwrap();
            let key = text.split_once("<Key>")?.1.split_once("</Key>")?.0;
            objects.remove(&unescaped(key));
            let done = format!("<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>");
            reply("200 OK", "", done.as_bytes(), false)
        }
        "DELETE" if is_google => {
            objects.remove(&key);
            reply("204 No Content", "", b"", false)
        }
        "GET" if query.contains("list-type=2") => reply("200 OK", "", list(query, objects).as_bytes(), false),
        "GET" | "HEAD" => match objects.get(&key) {
            None => reply("404 Not Found", "", b"", false),
            Some((body, kind)) => found(request, body, kind, method == "HEAD"),
        },
        _ => return None,
    })
}

const DATES: &str = "last-modified: Fri, 20 Nov 2026 11:00:00 GMT\r\netag: \"tag\"\r\n";

pub(super) fn found(request: &Received, body: &[u8], kind: &str, head: bool) -> Vec<u8> {
    let headers = format!("{DATES}content-type: {kind}\r\n");
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = range else { return reply("200 OK", &headers, body, head) };
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    if from >= body.len() {
        return reply("416 Range Not Satisfiable", "", b"", false);
    }
    let to = to.min(body.len() - 1);
    let headers = format!("{headers}content-range: bytes {from}-{to}/{}\r\n", body.len());
    reply("206 Partial Content", &headers, &body[from..=to], head)
}

fn list(query: &str, objects: &BTreeMap<String, (Vec<u8>, String)>) -> String {
    let value = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(own, _)| own == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let (prefix, after) = (value("prefix"), value("start-after"));
    let keys = objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let contents: String = keys
        .map(|(key, (body, _))| {
            format!(
                "<Contents><Key>{}</Key><Size>{}</Size><LastModified>2026-11-20T11:00:00.000Z</LastModified>\
                 <ETag>tag</ETag></Contents>",
                escaped(key),
                body.len()
            )
        })
        .collect();
    format!("<ListBucketResult>{contents}<IsTruncated>false</IsTruncated></ListBucketResult>")
}

pub(super) fn reply(status: &str, headers: &str, body: &[u8], head: bool) -> Vec<u8> {
    let mut reply =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    if !head {
        reply.extend_from_slice(body);
    }
    reply
}

/// A path as the store's names of it.
pub(super) fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}
