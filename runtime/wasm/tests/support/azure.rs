//! As much of Azure Blob Storage as blobs need, in one container.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::s3::{decoded, escaped, found, reply};
use super::server::{Received, receive};

type Objects = BTreeMap<String, (Vec<u8>, String)>;

/// The container called `container`; it ends with the runtime.
pub(crate) struct Container {
    pub(crate) address: SocketAddr,
    objects: Arc<Mutex<Objects>>,
}

impl Container {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, objects) = (listener.local_addr().unwrap(), Arc::<Mutex<Objects>>::default());
        let shared = Arc::clone(&objects);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, objects }
    }

    /// Puts a blob past all who ask.
    pub(crate) fn put(&self, key: &str, body: &str) {
        self.objects.lock().unwrap().insert(key.to_owned(), (body.into(), String::new()));
    }

    /// The keys as Azure has them, with their content types.
    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        self.objects.lock().unwrap().iter().map(|(key, (_, kind))| (key.clone(), kind.clone())).collect()
    }
}

async fn serve(stream: TcpStream, objects: Arc<Mutex<Objects>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = receive(&mut stream).await?;
        let answer = answer(&request, &mut objects.lock().unwrap())?;
        stream.write_all(&answer).await.ok()?;
    }
}

fn answer(request: &Received, objects: &mut Objects) -> Option<Vec<u8>> {
    let mut words = request.line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    assert_eq!(request.header("authorization"), Some("Bearer azure-token"));
    let key = decoded(path.strip_prefix("/container")?.trim_start_matches('/'));
    Some(match method {
        "PUT" => {
            assert_eq!(request.header("x-ms-blob-type"), Some("BlockBlob"));
            let kind = request.header("x-ms-blob-content-type").unwrap_or_default().to_owned();
            objects.insert(key, (request.body.clone(), kind));
            reply("201 Created", "etag: \"tag\"\r\n", b"", false)
        }
        "POST" if query.contains("comp=batch") => {
            let text = String::from_utf8(request.body.clone()).unwrap();
            let deleted = text.split_once("DELETE /container/")?.1.split_once(' ')?.0;
            objects.remove(&decoded(deleted));
            let body = "--b\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\n\
                        HTTP/1.1 202 Accepted\r\n\r\n\r\n--b--\r\n";
            reply("202 Accepted", "content-type: multipart/mixed; boundary=b\r\n", body.as_bytes(), false)
        }
        "GET" if query.contains("comp=list") => reply("200 OK", "", list(query, objects).as_bytes(), false),
        "GET" | "HEAD" => match objects.get(&key) {
            None => reply("404 Not Found", "", b"", false),
            Some((body, kind)) => found(request, body, kind, method == "HEAD"),
        },
        _ => return None,
    })
}

fn list(query: &str, objects: &Objects) -> String {
    let value = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(own, _)| own == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let (prefix, from) = (value("prefix"), value("startFrom"));
    let keys = objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key >= from);
    let blobs: String = keys
        .map(|(key, (body, kind))| {
            format!(
                "<Blob><Name>{}</Name><Properties><Last-Modified>Fri, 20 Nov 2026 11:00:00 GMT</Last-Modified>\
                 <Etag>tag</Etag><Content-Length>{}</Content-Length><Content-Type>{kind}</Content-Type></Properties></Blob>",
                escaped(key),
                body.len()
            )
        })
        .collect();
    format!("<EnumerationResults><Blobs>{blobs}</Blobs></EnumerationResults>")
}
