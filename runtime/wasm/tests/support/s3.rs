//! As much of S3 as blobs need: put, get with a range, head, delete and a list, in one bucket.

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
    assert!(request.header("authorization")?.contains("AWS4-HMAC-SHA256 Credential=id/"));
    let key = path.strip_prefix("/bucket")?.trim_start_matches('/').to_owned();
    Some(match method {
        "PUT" => {
            let kind = request.header("content-type").unwrap_or_default().to_owned();
            objects.insert(key, (request.body.clone(), kind));
            reply("200 OK", "etag: \"tag\"\r\n", b"", false)
        }
        "POST" if query == "delete" => {
            let text = String::from_utf8(request.body.clone()).unwrap();
            let key = text.split_once("<Key>")?.1.split_once("</Key>")?.0;
            objects.remove(key);
            let done = format!("<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>");
            reply("200 OK", "", done.as_bytes(), false)
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

fn found(request: &Received, body: &[u8], kind: &str, head: bool) -> Vec<u8> {
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
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().replace("%2F", "/")
    };
    let (prefix, after) = (value("prefix"), value("start-after"));
    let keys = objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let contents: String = keys
        .map(|(key, (body, _))| {
            format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-20T11:00:00.000Z</LastModified>\
                 <ETag>tag</ETag></Contents>",
                body.len()
            )
        })
        .collect();
    format!("<ListBucketResult>{contents}<IsTruncated>false</IsTruncated></ListBucketResult>")
}

fn reply(status: &str, headers: &str, body: &[u8], head: bool) -> Vec<u8> {
    let mut reply =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    if !head {
        reply.extend_from_slice(body);
    }
    reply
}
