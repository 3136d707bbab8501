//! The harness against itself: the real clients with workers of their own, a server that comes and goes.

use jobcell_tests::{Answer, Bull, Client, Receiver, RedisServer, Resp};
use serde_json::json;

#[test]
fn every_client_works_its_own_queue() {
    for client in Client::EVERY {
        let redis = RedisServer::with_password("of-the-test");
        let bull = Bull::start(*client, &redis);
        bull.listen("work");
        bull.work("work", json!({"name": "theirs"}));
        let id = bull.add("work", "noop", json!({"i": 3}), json!({}));
        let result = bull.finished("work", &id).unwrap();
        assert!(result["i"] == 3 && result["by"].is_string(), "{client}: {result}");
        assert_eq!(bull.wait_event("work", "completed", &id)["returnvalue"], result, "{client}");
        assert_eq!(bull.state("work", &id), "completed", "{client}");
        assert_eq!(redis.hash(&format!("bull:work:{id}"))["name"], "noop");
    }
}

#[test]
fn a_call_that_a_client_rejects_is_its_message() {
    for client in Client::EVERY {
        let redis = RedisServer::start();
        let bull = Bull::start(*client, &redis);
        let request = json!({"on": "job", "queue": "work", "id": "7", "method": "getState", "args": []});
        assert_eq!(bull.try_call(request), Err("no job 7 in work".to_owned()), "{client}");
    }
}

#[test]
fn a_server_keeps_what_it_acknowledged() {
    let mut redis = RedisServer::start();
    redis.client().run(&["SET", "key", "value"]);
    redis.down();
    assert!(Resp::connect(redis.port(), None).is_err());
    redis.up();
    assert_eq!(redis.client().run(&["GET", "key"]).text().as_deref(), Some("value"));
}

#[test]
fn a_receiver_answers_in_order() {
    use std::io::{Read, Write};
    let receiver = Receiver::start([Answer::new(503), Answer::new(200).header("X-Last", "1").body("done")]);
    let place = receiver.url().replace("http://", "");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut stream = std::net::TcpStream::connect(&place).unwrap();
        write!(stream, "POST /x HTTP/1.1\r\ncontent-length: 2\r\nA: b\r\n\r\n{{}}").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        statuses.push(answer.split_whitespace().nth(1).unwrap().to_owned());
    }
    assert_eq!(statuses, ["503", "200", "200"]);
    let heard = receiver.wait_for(3);
    assert_eq!((heard[0].header("a"), heard[0].json()), (Some("b"), json!({})));
}
