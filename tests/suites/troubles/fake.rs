//! What answers where Redis should be, and is something else.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Says this to everybody who says something, and hangs up where that is nothing.
pub(super) struct Fake(u16);

impl Fake {
    /// A server of another kind.
    pub(super) fn answering(answer: &'static str) -> Self {
        Self::serving(move |mut client| {
            let mut heard = [0; 4096];
            while matches!(client.read(&mut heard), Ok(1..)) && client.write_all(answer.as_bytes()).is_ok() {}
        })
    }

    /// One that says this to everybody and hangs up.
    pub(super) fn refusing(words: &'static str) -> Self {
        Self::serving(move |mut client| {
            if client.write_all(words.as_bytes()).is_ok() && client.shutdown(Shutdown::Write).is_ok() {
                // Closing before everything is read would take the words back.
                let _ = client.read_to_end(&mut Vec::new());
            }
        })
    }

    /// One that takes connections and never says anything, as a firewall that swallows everything.
    pub(super) fn silent() -> Self {
        Self::serving(|mut client| {
            let mut heard = [0; 4096];
            while matches!(client.read(&mut heard), Ok(1..)) {}
        })
    }

    /// A pooler before the Redis at this port that lends a connection on which somebody has subscribed. What that one
    /// was answered gets through to the next client where `leaks`.
    pub(super) fn pooler(redis: u16, leaks: bool) -> Self {
        Self::serving(move |client| {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", redis)) else { return };
            let asked = b"*2\r\n$9\r\nSUBSCRIBE\r\n$11\r\njob_updates\r\n";
            let answer = b"*3\r\n$9\r\nsubscribe\r\n$11\r\njob_updates\r\n:1\r\n";
            if server.write_all(asked).is_err()
                || (!leaks && server.read_exact(&mut vec![0; answer.len()]).is_err())
            {
                return;
            }
            let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
            let back = thread::spawn(move || copy(server, client));
            copy(from, to);
            // It ends with its server's side.
            let _ = back.join();
        })
    }

    fn serving(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("its address").port();
        // It ends with the process of the tests.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let serve = serve.clone();
                thread::spawn(move || serve(client));
            }
        });
        Self(port)
    }

    pub(super) fn port(&self) -> String {
        self.0.to_string()
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // One side that has gone ends the other.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}
